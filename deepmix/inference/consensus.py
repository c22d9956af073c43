"""The consensus of several seeds' clusters: built from their assignments, and applied to new rows by their models.

Clusters have other numbers for every seed, so those of each seed are matched one to one to those of the most central
seed (Hungarian method); then every row is in the cluster that most seeds vote for, and the fraction of them is its
certainty. This is the voting of Dudoit and Fridlyand (2003, Bagging to improve the accuracy of a clustering
procedure), over seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from scipy.optimize import linear_sum_assignment

from deepmix import metrics, runs
from deepmix.data import TableSchema
from deepmix.errors import UsageError, option
from deepmix.inference.loaded import NO_CLUSTER, LoadedRun, open_run
from deepmix.maths import Array, Inference
from deepmix.runs import Consensus, Evaluation, HeadFigures

HEAD = "consensus"
"""What takes a head's place in a consensus."""

DECIMALS = 6
"""Decimals of the certainty in assignments.csv."""

TIE = 1e-9
"""By how much the central clustering's vote exceeds the others'."""


def write_consensus(folder: runs.RunFolder) -> Consensus | None:
    """Write the folder `consensus` of a folder of finished seeds; None, and nothing is written, for a single seed.

    Raises:
        DeepmixError: a file is missing or damaged.

    """
    seeds = list(folder.read(runs.Summary).seeds)
    if len(seeds) < 2:
        return None
    folders = [runs.RunFolder(folder.path / f"seed-{seed}") for seed in seeds]
    config = folders[0].read(runs.RunConfig)
    head = config.requested.heads[0]
    tables = [runs.read_assignments(one, config) for one in folders]
    clusters = [table[head] for table in tables]
    n_clusters = max(config.n_clusters, max(int(cluster_N.max()) + 1 for cluster_N in clusters))
    central, maps = match_seeds(clusters, n_clusters)
    vote_NK = votes([map_K[cluster_N] for map_K, cluster_N in zip(maps, clusters, strict=True)], central, n_clusters)
    cluster_N, certainty_N = vote_NK.argmax(axis=1), vote_NK.max(axis=1)
    means = [certainty_N[cluster_N == k] for k in range(n_clusters)]
    record = Consensus(
        seeds=seeds,
        head=head,
        central=seeds[central],
        clusters={str(seed): map_K.tolist() for seed, map_K in zip(seeds, maps, strict=True)},
        sizes=np.bincount(cluster_N, minlength=n_clusters).tolist(),
        certainty=[float(one.mean()) if len(one) else None for one in means],
        mean_certainty=float(certainty_N.mean()),
    )
    target = runs.RunFolder(folder.path / runs.CONSENSUS_FOLDER)
    target.path.mkdir(exist_ok=True)
    target.write(record)
    table: dict[str, Any] = {name: tables[0][name] for name in ("row", "name", "split") if name in tables[0]}
    table |= {"cluster": cluster_N, "certainty": np.round(certainty_N, DECIMALS)}
    table |= {name: tables[0][name] for name in ("weight", "label") if name in tables[0]}
    target.write_table(runs.ASSIGNMENTS, list(table), zip(*table.values(), strict=True))
    if config.data.labels:
        target.write_json(runs.METRICS, {"format": runs.FORMAT, **_figures(table, n_clusters).to_json()})
    return record


def match_seeds(clusters: Sequence[Array], n_clusters: int) -> tuple[int, list[Array]]:
    """Return the most central of S clusterings, and for each of them the central cluster of each of its clusters.

    Args:
        clusters: S times the rows' clusters, (N,) int64 in [0, K).
        n_clusters: K.

    Returns:
        The number of the clustering with the largest mean agreement with the others, and S maps, (K,) int64.

    """
    agreement_SS = np.array([[metrics.clustering_accuracy(one, other) for other in clusters] for one in clusters])
    central = int(agreement_SS.mean(axis=1).argmax())
    maps = []
    for cluster_N in clusters:
        pairs = cluster_N * n_clusters + clusters[central]
        counts_KK = np.bincount(pairs, minlength=n_clusters**2).reshape(n_clusters, n_clusters)
        maps.append(linear_sum_assignment(counts_KK, maximize=True)[1])
    return central, maps


def votes(clusters: Sequence[Array], central: int, n_clusters: int) -> Array:
    """Return the fraction of S matched clusterings that put each row in each cluster, (N, K).

    The central one counts a little more, so that it decides where others tie. A negative cluster is not a vote.
    """
    vote_NK = np.zeros((len(clusters[0]), n_clusters))
    for number, cluster_N in enumerate(clusters):
        inside = np.flatnonzero(cluster_N >= 0)
        vote_NK[inside, cluster_N[inside]] += 1.0 + (TIE if number == central else 0.0)
    return vote_NK / (len(clusters) + TIE)


def _figures(table: Mapping[str, Any], n_clusters: int) -> Evaluation:
    """Return the consensus' metrics by side, laid out as those of a head."""
    side_N, label_N, cluster_N = np.array(table["split"]), np.array(table["label"]), table["cluster"]
    weight_N = np.array(table["weight"], dtype=np.float64) if "weight" in table else None
    sides = {}
    for side in ("train", "test"):
        own_N = side_N == side
        clustering = metrics.Clustering(
            cluster_N[own_N], label_N[own_N], weight_N=None if weight_N is None else weight_N[own_N]
        )
        scores = metrics.measure(clustering, label_N[own_N] != "")
        sides[side] = HeadFigures(scores, np.bincount(cluster_N[own_N], minlength=n_clusters).tolist())
    return Evaluation({HEAD: sides}, {})


def open_clusters(path: Path, device: str = "auto") -> LoadedRun | ConsensusRun:
    """Return what gives new rows their clusters: the run in a folder, or the consensus of several seeds.

    Raises:
        UsageError: there is neither, or a run of the consensus is missing or not finished.
        DeepmixError: a file is damaged, or a plugin that a run needs is missing.

    """
    return ConsensusRun(path, device) if (path / runs.CONSENSUS).is_file() else open_run(path, device)


@final
class ConsensusRun:
    """The models of several seeds, which vote on the clusters of new rows."""

    def __init__(self, path: Path, device: str = "auto") -> None:
        """Open the runs of all seeds; raises what `open_clusters` raises."""
        self.record = runs.RunFolder(path).read(Consensus)
        folders = {seed: path.resolve().parent / f"seed-{seed}" for seed in self.record.seeds}
        missing = [folder.name for folder in folders.values() if not folder.is_dir()]
        if missing:
            raise UsageError(
                f"the consensus in '{path}' needs the runs that it was made from beside it, but there is no "
                f"'{missing[0]}'; move it back, or use the folder of one run"
            )
        self._runs = [open_run(folder, device) for folder in folders.values()]
        for run in self._runs:
            run.head(self.record.head)
        self._central = list(self.record.seeds).index(self.record.central)
        self._maps = [np.array(self.record.clusters[str(seed)]) for seed in self.record.seeds]
        self.n_components = len(self.record.sizes)
        first = self._runs[self._central]
        self.config, self.n_columns = first.config, first.n_columns
        self.prepare, self.encode, self.as_frame = first.prepare, first.encode, first.as_frame
        self.read_format = first.read_format
        self.outlier_scores = first.outlier_scores

    @property
    def schema(self) -> TableSchema | None:
        """What each column of the training table is; None where the runs were trained on an array."""
        return self._runs[self._central].schema

    def head(self, name: str | None = None) -> str:
        """Return what gives the clusters; raises a UsageError for the name of a head."""
        if name is not None:
            raise UsageError(
                f"a consensus has no heads, it is made from the clusters of '{self.record.head}'; leave out "
                f"{option('head')}, or use the folder of one run"
            )
        return HEAD

    def infer(self, prepared: Any, first_row: int = 0, *, flag_strange: bool = False) -> Inference:
        """Return the votes on prepared rows as log q(y|x), with the latents and bounds of the central seed's model.

        Args:
            prepared: as for `LoadedRun.infer`.
            first_row: number of the first row in the whole data, from 0, for messages.
            flag_strange: as for `LoadedRun.infer`.

        """
        inferences = [run.infer(prepared, first_row, flag_strange=flag_strange) for run in self._runs]
        matched = []
        for run, map_K, inference in zip(self._runs, self._maps, inferences, strict=True):
            cluster_N = run.clusters(inference, self.record.head)
            known_N = (cluster_N >= 0) & (cluster_N < len(map_K))
            matched.append(np.where(known_N, map_K[np.where(known_N, cluster_N, 0)], NO_CLUSTER))
        vote_NK = votes(matched, self._central, self.n_components)
        with np.errstate(divide="ignore"):
            log_vote_NK = np.log(vote_NK)
        first = inferences[self._central]
        return Inference(log_vote_NK, first.latent_NM, bound_N=first.bound_N)

    def clusters(self, inference: Inference, head: str | None = None, outliers: float | None = None) -> Array:
        """Return the clusters with most votes, (N,) int64; -1 where a row fits none, as for `LoadedRun.clusters`."""
        self.head(head)
        flagged_N = self._runs[self._central].clusters(inference, None, outliers) == NO_CLUSTER
        voted_N = np.isfinite(inference.log_q_NK).any(axis=1) & ~flagged_N
        return np.where(voted_N, inference.log_q_NK.argmax(axis=1), NO_CLUSTER)
