from __future__ import annotations

import gzip

import numpy as np
import pytest
import torch
from scipy import sparse

from deepmix.data import Rows, SplitOptions, arrange_rows, load_file
from deepmix.errors import UsageError

OPTIONS = SplitOptions()


CPU = torch.device("cpu")


def test_fraction_split_is_seeded_and_covers_every_row_once():
    x = np.random.default_rng(0).normal(size=(1797, 3))
    split = arrange_rows(x, None, OPTIONS)
    assert len(split.test) == 270
    assert np.array_equal(np.sort(np.concatenate([split.train, split.test])), np.arange(1797))
    assert np.array_equal(split.test, arrange_rows(x, None, OPTIONS).test)
    assert not np.array_equal(split.test, arrange_rows(x, None, SplitOptions(split_seed=1)).test)


def test_official_split_keeps_the_first_rows_for_training():
    split = arrange_rows(np.eye(10), None, OPTIONS, n_train=7)
    assert split.train.tolist() == list(range(7))
    assert split.test.tolist() == [7, 8, 9]


@pytest.mark.parametrize(
    ("x", "likelihood", "low", "high"),
    [
        (np.array([[0, 255], [51, 102], [9, 9]], dtype=np.uint8), "bernoulli", 0.0, 1.0),
        (np.array([[0.0, 1.0], [0.5, 0.25], [0.1, 0.2]]), "bernoulli", 0.0, 1.0),
        (np.array([[-1.0, 1.0], [0.5, 0.25], [0.1, 0.2]]), "gaussian", -1.0, 1.0),
    ],
    ids=["bytes", "unit", "signed"],
)
def test_bounded_data_keep_their_shape_and_choose_the_likelihood(x, likelihood, low, high):
    split = arrange_rows(x, None, OPTIONS)
    assert split.likelihood == likelihood
    assert split.x.dtype == np.float32
    assert (split.x.min(), split.x.max()) == (low, high)


def test_other_data_are_standardised_by_the_training_rows():
    x = np.random.default_rng(0).normal(5.0, [1.0, 20.0, 300.0], size=(400, 3))
    split = arrange_rows(x, None, OPTIONS)
    assert split.likelihood == "gaussian"
    np.testing.assert_allclose(split.x[split.train].mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(split.x[split.train].std(axis=0), 1.0, rtol=1e-5)
    assert arrange_rows(x, None, SplitOptions(scale="none")).x == pytest.approx(x.astype(np.float32))


def test_sparse_rows_stay_sparse_and_are_batched_dense():
    x = sparse.random_array((50, 30), density=0.1, rng=np.random.default_rng(0)) * 40
    split = arrange_rows(x.tocsr(), None, OPTIONS)
    assert sparse.issparse(split.x)
    assert split.likelihood == "gaussian"
    assert np.sqrt((split.x[split.train].toarray() ** 2).mean()) == pytest.approx(1.0, rel=1e-5)
    rows = Rows(split.x, split.train, CPU)
    chosen = torch.tensor([3, 0])
    np.testing.assert_array_equal(rows.batch(chosen).numpy(), split.x[split.train[[3, 0]]].toarray())


def test_memory_map_is_read_batch_by_batch_and_gives_the_same_rows(tmp_path):
    x = np.random.default_rng(0).random((40, 5), dtype=np.float32)
    np.save(tmp_path / "x.npy", x)
    split = load_file(tmp_path / "x.npy", None, OPTIONS)
    assert isinstance(split.x, np.memmap)
    rows = Rows(split.x, split.train, CPU)
    np.testing.assert_array_equal(torch.cat(list(rows.in_order(7))).numpy(), x[split.train])


def test_images_are_flattened():
    assert arrange_rows(np.random.default_rng(0).random((9, 4, 5)), None, OPTIONS).x.shape == (9, 20)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("header", [True, False])
def test_csv_gives_the_numbers_and_the_label_names(tmp_path, delimiter, header):
    lines = [delimiter.join(("width", "kind", "height"))] if header else []
    lines += [delimiter.join((str(i / 8), f'"k {i % 3}"', str(1 - i / 8))) for i in range(9)]
    path = tmp_path / "rows.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write("\n".join(lines))
    split = load_file(path, "kind" if header else "2", OPTIONS)
    np.testing.assert_allclose(split.x[:, 0] * 8, np.clip(np.arange(9), 0, 8), atol=1e-6)
    assert split.labels.tolist() == [f"k {i % 3}" for i in range(9)]


def test_csv_values_survive_exactly(tmp_path):
    x = np.random.default_rng(0).random((20, 4)).astype(np.float32)
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(",".join(f"{value:.9g}" for value in row) for row in x))
    np.testing.assert_array_equal(load_file(path, None, OPTIONS).x, x)


@pytest.mark.parametrize("first", [0, 1])
def test_csv_header_of_column_numbers_is_no_row(tmp_path, first):
    x = np.random.default_rng(0).random((20, 3)).astype(np.float32)
    path = tmp_path / "rows.csv"
    header = ",".join(str(first + i) for i in range(3))
    path.write_text("\n".join([header, *(",".join(f"{value:.9g}" for value in row) for row in x)]))
    np.testing.assert_array_equal(load_file(path, None, OPTIONS).x, x)


def test_csv_header_is_known_by_the_label_column(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("5,7,kind\n0.5,0.25,a\n0.75,1,b\n0.5,0.5,a\n")
    split = load_file(path, "kind", OPTIONS)
    assert split.x.shape == (3, 2)
    assert split.labels.tolist() == ["a", "b", "a"]


@pytest.mark.parametrize(
    "labels",
    [np.array([0.0, np.nan, 1.0, 1.0]), np.array(["a", "", "b", "b"]), np.array(["a", None, "b", "b"], object)],
)
def test_missing_labels_are_named(labels):
    with pytest.raises(UsageError, match="row 2 has no label"):
        arrange_rows(np.eye(4), labels, OPTIONS)


def test_column_of_labels_is_flattened():
    assert arrange_rows(np.eye(4), np.arange(4)[:, None], OPTIONS).labels.tolist() == [0, 1, 2, 3]


def test_npz_takes_labels_from_y_or_a_named_key(tmp_path):
    np.savez(tmp_path / "rows.npz", x=np.eye(6), y=np.arange(6), other=np.arange(6)[::-1])
    assert load_file(tmp_path / "rows.npz", None, OPTIONS).labels.tolist() == list(range(6))
    assert load_file(tmp_path / "rows.npz", "other", OPTIONS).labels.tolist() == list(range(5, -1, -1))
    with pytest.raises(UsageError, match="no key 'kind'; it has: x, y, other"):
        load_file(tmp_path / "rows.npz", "kind", OPTIONS)


def test_sparse_npz(tmp_path):
    x = sparse.random_array((20, 8), density=0.3, rng=np.random.default_rng(0), format="csr")
    sparse.save_npz(tmp_path / "rows.npz", sparse.csr_matrix(x))
    np.testing.assert_allclose(load_file(tmp_path / "rows.npz", None, OPTIONS).x.toarray(), x.toarray(), rtol=1e-6)
    sparse.save_npz(tmp_path / "coo.npz", sparse.coo_matrix(x))
    with np.load(tmp_path / "coo.npz") as archive:
        np.savez(tmp_path / "labelled.npz", **archive, y=np.arange(20) % 3, n_train=15)
    split = load_file(tmp_path / "labelled.npz", None, OPTIONS)
    np.testing.assert_allclose(split.x.toarray(), x.toarray(), rtol=1e-6)
    assert split.labels.tolist() == [i % 3 for i in range(20)]
    assert len(split.train) == 15
    with pytest.raises(UsageError, match="no key 'kind'"):
        load_file(tmp_path / "labelled.npz", "kind", OPTIONS)


def test_npy_label_column_by_number(tmp_path):
    np.save(tmp_path / "rows.npy", np.column_stack([np.random.default_rng(0).random((9, 2)), np.arange(9) % 2]))
    split = load_file(tmp_path / "rows.npy", "3", OPTIONS)
    assert split.x.shape == (9, 2)
    assert split.labels.tolist() == [0.0, 1.0] * 4 + [0.0]


def test_parquet(tmp_path):
    pandas = pytest.importorskip("pandas", reason="the parquet extra (pandas, pyarrow) is not installed")
    pytest.importorskip("pyarrow", reason="the parquet extra (pandas, pyarrow) is not installed")
    pandas.DataFrame({"a": [0.0, 0.5, 1.0], "kind": ["x", "y", "x"]}).to_parquet(tmp_path / "rows.parquet")
    split = load_file(tmp_path / "rows.parquet", "kind", OPTIONS)
    assert split.x.ravel().tolist() == [0.0, 0.5, 1.0]
    assert split.labels.tolist() == ["x", "y", "x"]
    with pytest.raises(UsageError, match="not numbers: 'kind'"):
        load_file(tmp_path / "rows.parquet", None, OPTIONS)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix], ids=["dense", "sparse"])
def test_missing_and_infinite_values_are_named(make, bad):
    x = np.ones((5, 4))
    x[0, 0] = 0.0
    x[3, 2] = bad
    with pytest.raises(UsageError, match=f"row 4, column 3 is {bad}"):
        arrange_rows(make(x), None, OPTIONS)
