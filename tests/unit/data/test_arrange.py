from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from deepmix.data import Rows, SplitOptions, arrange_rows, known_labels, revealed_labels, with_known_labels
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
    np.testing.assert_array_equal(rows.batch(chosen).x_ND.numpy(), split.x[split.train[[3, 0]]].toarray())


def test_images_are_flattened():
    assert arrange_rows(np.random.default_rng(0).random((9, 4, 5)), None, OPTIONS).x.shape == (9, 20)


@pytest.mark.parametrize(
    ("labels", "texts"),
    [
        (np.array([0.0, np.nan, 1.0, 1.5]), ["0", "", "1", "1.5"]),
        (np.array(["a ", " ", "b", "NA"]), ["a", "", "b", ""]),
        (np.array(["a", None, "b", float("nan")], object), ["a", "", "b", ""]),
        (np.array([b"a", b"?", b"b ", b"b"]), ["a", "", "b", "b"]),
        (
            np.array(["2020-01-01", "NaT", "2020-01-01", "2021-01-01"], "datetime64[D]"),
            ["2020-01-01", "", "2020-01-01", "2021-01-01"],
        ),
    ],
    ids=["numbers", "text", "objects", "bytes", "dates"],
)
def test_missing_labels_are_unknown_and_said(labels, texts):
    split = arrange_rows(np.eye(4), labels, OPTIONS)
    assert split.labels.tolist() == texts
    assert split.known.tolist() == [text != "" for text in texts]
    missing = texts.count("")
    assert split.warnings[0] == f"{missing} of 4 rows have no label; they are trained on and not scored"
    assert known_labels(0, split.labels).tolist() == split.known.tolist()


def test_labels_that_are_all_there_keep_their_type():
    split = arrange_rows(np.eye(4), np.array([3, 1, 2, 3]), OPTIONS)
    assert split.labels.dtype.kind == "i"
    assert split.known is None
    assert split.warnings == ()


def test_labels_that_are_all_missing_are_refused():
    with pytest.raises(UsageError, match="no row has a label"):
        arrange_rows(np.eye(4), np.array(["", "NA", "?", "-"]), OPTIONS)


def test_unknown_labels_and_minus_one_are_not_learnt_from():
    split = arrange_rows(np.eye(6), np.array(["a", "", "-1", "b", "a", "b"]), OPTIONS, n_train=5)
    assert with_known_labels(split, 2, None).known.tolist() == [True, False, False, True, True, True]
    assert with_known_labels(split, 0, None).known.tolist() == [True, False, True, True, True, True]
    revealed = revealed_labels(split.labels, with_known_labels(split, 2, None).known, 6, seed=0)
    assert revealed.tolist() == [0, -1, -1, 1, 0, 1]


def test_bytes_of_truth_values_are_not_images():
    x = np.eye(5, dtype=np.uint8)
    split = arrange_rows(x, None, OPTIONS)
    assert split.preparation.scale == "none"
    np.testing.assert_array_equal(split.x, arrange_rows(x.astype(np.float32), None, OPTIONS).x)
    assert arrange_rows(x * 2, None, OPTIONS).preparation.scale == "bytes"


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.float64])
def test_squares_of_small_integers_do_not_overflow(kind):
    x = sparse.csr_matrix(np.full((8, 3), 100, dtype=kind))
    x[0, 0] = 50
    split = arrange_rows(x, None, SplitOptions(scale="standard"))
    expected = np.sqrt((x[split.train].toarray().astype(float) ** 2).mean())
    assert float(split.preparation.spread) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("shape", "requested", "words"),
    [
        ((6, 3, 8, 8), "8x8x3", r"shape \(N, 3, 8, 8\), so its channels come first; move that axis last"),
        ((6, 4, 16), "8x8", "rows have the shape 4x16 and not 8x8"),
        ((6, 5, 4, 2), "10x4", "rows have the shape 5x4x2 and not 10x4"),
    ],
)
def test_an_image_shape_that_fits_only_by_its_product_is_refused(shape, requested, words):
    x = np.random.default_rng(0).random(shape)
    with pytest.raises(UsageError, match=words):
        arrange_rows(x, None, SplitOptions(image_shape=requested))
    flat = x.reshape(len(x), -1)
    assert arrange_rows(flat, None, SplitOptions(image_shape=requested)).image_shape is not None


def test_an_image_shape_that_is_the_rows_own_is_taken():
    x = np.random.default_rng(0).random((6, 4, 16))
    assert arrange_rows(x, None, SplitOptions(image_shape="4x16")).image_shape == (4, 16, 1)
    assert arrange_rows(x[..., None], None, SplitOptions(image_shape="4x16")).image_shape == (4, 16, 1)


def test_column_of_labels_is_flattened():
    assert arrange_rows(np.eye(4), np.arange(4)[:, None], OPTIONS).labels.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix], ids=["dense", "sparse"])
def test_missing_and_infinite_values_are_named(make, bad):
    x = np.ones((5, 4))
    x[0, 0] = 0.0
    x[3, 2] = bad
    with pytest.raises(UsageError, match=f"row 4, column 3 is {bad}"):
        arrange_rows(make(x), None, OPTIONS)
