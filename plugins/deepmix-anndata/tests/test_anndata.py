from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from deepmix_anndata import H5ad, LibraryMlp, LibraryNegativeBinomial, write_results
from deepmix_anndata.reading import log_shares
from deepmix_anndata.writing import _encode, _write_array, _write_column
from scipy import sparse
from scipy.stats import nbinom
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from deepmix.data import CellBlock
from deepmix.errors import DeepmixError, UsageError
from deepmix.maths import Dims
from deepmix.testing import check_encoder, check_likelihood

COUNTS = np.array([[3, 0, 1], [0, 0, 0], [5, 5, 10], [0, 2, 0]], dtype=np.float32)


def write_strings(group: h5py.Group, name: str, words: list[str]) -> None:
    _write_array(group, name, np.array(words, dtype=h5py.string_dtype()), "string-array")


def write_h5ad(path: Path, x: object, kind: np.ndarray, **layers: np.ndarray) -> Path:
    """Write an .h5ad file as anndata writes it: X, layers, and the column `kind` of obs."""
    with h5py.File(path, "w") as file:
        if sparse.issparse(x):
            matrix = file.create_group("X")
            _encode(matrix, f"{x.format}_matrix", "0.1.0")
            matrix.attrs["shape"] = x.shape
            for name in ("data", "indices", "indptr"):
                matrix[name] = getattr(x, name)
        else:
            _write_array(file, "X", x)
        for name, values in layers.items():
            _write_array(file.require_group("layers"), name, values)
        for name, letter, size in (("obs", "cell", x.shape[0]), ("var", "gene", x.shape[1])):
            table = file.create_group(name)
            _encode(table, "dataframe", "0.2.0")
            table.attrs["_index"] = "_index"
            table.attrs["column-order"] = np.array([], dtype=h5py.string_dtype())
            write_strings(table, "_index", [f"{letter}{number}" for number in range(size)])
        _write_column(file["obs"], "kind", kind)
        file["obs"].attrs["column-order"] = np.array(["kind"], dtype=h5py.string_dtype())
    return path


@pytest.mark.parametrize("stored", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_a_matrix_labels_and_names_are_read(tmp_path, stored):
    path = write_h5ad(tmp_path / "a.h5ad", stored(COUNTS), np.array([4, -1, 7, 4]), twice=2 * COUNTS)
    with h5py.File(path, "r+") as file:
        _write_array(file.create_group("raw"), "X", 3 * COUNTS[:, :2])
        file.create_group("raw/var").attrs["_index"] = "_index"
        write_strings(file["raw/var"], "_index", ["first", "second"])
    rows = H5ad(H5ad.Options(values="stored")).read(path, "kind")
    x = rows.x[:]
    assert sparse.issparse(x) == (stored is not np.asarray)
    values = x.toarray() if sparse.issparse(x) else x
    assert values.dtype == rows.x.dtype == np.float32
    assert np.array_equal(values, COUNTS)
    assert rows.labels.tolist() == ["4", None, "7", "4"]
    assert rows.columns == ["gene0", "gene1", "gene2"]
    assert rows.row_names == ["cell0", "cell1", "cell2", "cell3"]
    assert H5ad(H5ad.Options()).read(path, "other").labels is None
    assert np.array_equal(H5ad(H5ad.Options(layer="twice", values="stored")).read(path, None).x[:], 2 * COUNTS)
    raw = H5ad(H5ad.Options(layer="raw", values="stored")).read(path, None)
    assert np.array_equal(raw.x[:], 3 * COUNTS[:, :2])
    assert raw.columns == ["first", "second"]


def test_counts_become_logarithms_of_shares(tmp_path):
    expected = np.log1p(COUNTS / np.maximum(COUNTS.sum(axis=1, keepdims=True), 1) * 3)
    for number, stored in enumerate((COUNTS, sparse.csr_matrix(COUNTS))):
        path = write_h5ad(tmp_path / f"{number}.h5ad", stored, np.zeros(4, dtype=int))
        x = H5ad(H5ad.Options()).read(path, None).x[:]
        np.testing.assert_allclose(x.toarray() if sparse.issparse(x) else x, expected, rtol=1e-6)
    path = write_h5ad(tmp_path / "logs.h5ad", COUNTS + 0.5, np.zeros(4, dtype=int))
    assert np.array_equal(H5ad(H5ad.Options()).read(path, None).x[:], COUNTS + 0.5), "no counts: as stored"
    with pytest.raises(UsageError, match=r"values of 'logs.h5ad' are not counts; use values=stored"):
        H5ad(H5ad.Options(values="log")).read(path, None)


def test_cells_of_a_whole_genome_are_scaled_to_ten_thousand():
    for n_genes, total in ((10_000, 10_000), (10_001, 10_000), (9_999, 9_999)):
        shares = log_shares(np.ones((1, n_genes), dtype=np.float32))
        np.testing.assert_allclose(shares, np.log1p(total / n_genes), rtol=1e-6)


def test_clusters_of_the_logarithms_are_kinds_and_not_depths():
    random = np.random.default_rng(0)
    kind_N = np.repeat([0, 1, 2], [200, 75, 25])
    share_KG = np.exp(random.normal(0.0, 1.0, 200) + random.normal(0.0, 0.6, (3, 200)))
    share_KG /= share_KG.sum(axis=1, keepdims=True)
    total_N = random.permutation(np.geomspace(100.0, 5000.0, 300))
    mean_NG = total_N[:, None] * share_KG[kind_N]
    counts_NG = random.poisson(random.gamma(5.0, mean_NG / 5.0))
    cluster_N = KMeans(3, n_init=10, random_state=0).fit_predict(log_shares(counts_NG))
    assert adjusted_rand_score(kind_N, cluster_N) > 0.95


def test_what_can_not_be_read_is_named(tmp_path):
    path = write_h5ad(tmp_path / "a.h5ad", COUNTS, np.zeros(4, dtype=int), counts=COUNTS)
    with pytest.raises(UsageError, match=r"'a.h5ad' has no layer 'cooked'; name one with layer=NAME: counts"):
        H5ad(H5ad.Options(layer="cooked")).read(path, None)
    (tmp_path / "text.h5ad").write_text("no file of this kind")
    with pytest.raises(DeepmixError, match=r"'text.h5ad' is not an HDF5 file"):
        H5ad(H5ad.Options()).read(tmp_path / "text.h5ad", None)
    with h5py.File(tmp_path / "bare.h5ad", "w") as file:
        file["X"] = COUNTS
    with pytest.raises(DeepmixError, match=r"'bare.h5ad' has no table 'obs'"):
        H5ad(H5ad.Options()).read(tmp_path / "bare.h5ad", None)


def test_results_are_written_into_a_copy_and_replace_earlier_ones(tmp_path):
    path = write_h5ad(tmp_path / "a.h5ad", COUNTS, np.array([1, 2, 2, 1]))
    before = path.read_bytes()
    for first in (5, 2):
        cluster_N, latent_NM = np.array([first, -1, 0, first]), np.arange(8.0).reshape(4, 2) + first
        obs = {"deepmix": cluster_N, "deepmix_probability": np.full(4, 0.5)}
        write_results(path if first == 5 else tmp_path / "b.h5ad", tmp_path / "b.h5ad", obs, {"X_deepmix": latent_NM})
    assert path.read_bytes() == before
    rows = H5ad(H5ad.Options(values="stored")).read(tmp_path / "b.h5ad", "deepmix")
    assert rows.labels.tolist() == ["2", None, "0", "2"]
    with h5py.File(tmp_path / "b.h5ad") as file:
        assert file["obs"].attrs["column-order"].tolist() == ["kind", "deepmix", "deepmix_probability"]
        assert np.array_equal(file["obsm/X_deepmix"][()], latent_NM)


@pytest.mark.skipif(
    importlib.util.find_spec("anndata") is None or int(importlib.metadata.version("pandas").split(".")[0]) > 2,
    reason="anndata is not installed, or pandas is too new for it",
)
def test_anndata_reads_what_is_written_and_is_read(tmp_path):
    import anndata
    import pandas

    names = pandas.Index(["a", "b", "c", "d"])
    kinds = pandas.Categorical(["T", "B", None, "T"])
    anndata.AnnData(sparse.csr_matrix(COUNTS), pandas.DataFrame({"kind": kinds}, names)).write_h5ad(tmp_path / "a.h5ad")
    rows = H5ad(H5ad.Options(values="stored")).read(tmp_path / "a.h5ad", "kind")
    assert np.array_equal(rows.x[:].toarray(), COUNTS)
    assert rows.labels.tolist() == ["T", "B", None, "T"]
    obs = {"deepmix": np.array([1, -1, 0, 1]), "p": np.array([0.5, 0.6, 0.7, 0.8])}
    write_results(tmp_path / "a.h5ad", tmp_path / "b.h5ad", obs, {"X_deepmix": np.ones((4, 2))})
    cells = anndata.read_h5ad(tmp_path / "b.h5ad")
    assert cells.obs["deepmix"].astype(object).fillna("noise").tolist() == ["1", "noise", "0", "1"]
    assert cells.obs["deepmix"].cat.categories.tolist() == ["0", "1"]
    assert cells.obs["p"].tolist() == [0.5, 0.6, 0.7, 0.8]
    assert cells.obs["kind"].tolist()[0] == "T"
    assert np.array_equal(cells.obsm["X_deepmix"], np.ones((4, 2)))


def test_the_likelihood_and_the_encoder_keep_their_contracts():
    check_likelihood(LibraryNegativeBinomial)
    check_encoder(LibraryMlp)


def test_the_likelihood_is_that_of_shares_of_a_total():
    likelihood = LibraryNegativeBinomial(CellBlock("cells", 3)).double()
    x_NC = torch.from_numpy(COUNTS).double()
    likelihood.start(x_NC)
    outputs_RP = torch.tensor([[0.0, 0.0, 0.0], [1.0, -1.0, 0.5]], dtype=torch.float64)
    mean_RC = likelihood.mean(outputs_RP).detach()
    np.testing.assert_allclose(mean_RC[0], COUNTS.mean(axis=0), rtol=1e-6)
    assert float(mean_RC[1].sum()) == pytest.approx(COUNTS.sum(axis=1).mean()), "shares do not change the total"
    r_C = likelihood.log_dispersion_C.exp().detach().numpy()
    row_N = [0, 2]
    own_RC = mean_RC.numpy() * (COUNTS[row_N].sum(axis=1) / COUNTS.sum(axis=1).mean())[:, None]
    expected = nbinom.logpmf(COUNTS[row_N], r_C, r_C / (r_C + own_RC))
    np.testing.assert_allclose(likelihood.log_prob(x_NC[row_N], outputs_RP).detach(), expected, rtol=1e-6)


def test_the_spread_of_the_totals_is_no_dispersion():
    random = np.random.default_rng(0)
    total_N = random.lognormal(7.0, 1.0, size=500)
    x_NC = torch.from_numpy(random.poisson(total_N[:, None] * [0.2, 0.3, 0.5]))
    likelihood = LibraryNegativeBinomial(CellBlock("cells", 3))
    likelihood.start(x_NC)
    assert bool((likelihood.log_dispersion_C > np.log(100.0)).all()), "of Poisson counts"


def test_the_encoder_does_not_see_the_total():
    encoder = LibraryMlp(Dims(n_features=3, n_outputs=4, n_components=2, n_heads=2, latent_dim=2), LibraryMlp.Options())
    x_ND = torch.from_numpy(COUNTS[[0, 2]])
    torch.testing.assert_close(encoder(7.0 * x_ND).mean, encoder(x_ND).mean)
    view = encoder.clustering_view(sparse.csr_matrix(7.0 * COUNTS[[0, 2]])).toarray()
    np.testing.assert_allclose(view, encoder.clustering_view(COUNTS[[0, 2]]), rtol=1e-6)
    np.testing.assert_allclose(np.expm1(view).sum(axis=1), 3, rtol=1e-5)
    np.testing.assert_allclose(encoder.trunk[0](x_ND), view, rtol=1e-6)
    likelihood = LibraryNegativeBinomial(CellBlock("cells", 3))
    np.testing.assert_allclose(likelihood.clustering_view(7.0 * COUNTS[[0, 2]]), view, rtol=1e-6)
    with pytest.raises(UsageError, match="hidden must be widths such as 256-128, got '256,128'"):
        LibraryMlp.Options(hidden="256,128")
