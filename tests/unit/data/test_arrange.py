from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from deepmix.data import Rows, SplitOptions, arrange_rows
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


def test_images_are_flattened():
    assert arrange_rows(np.random.default_rng(0).random((9, 4, 5)), None, OPTIONS).x.shape == (9, 20)


@pytest.mark.parametrize(
    "labels",
    [np.array([0.0, np.nan, 1.0, 1.0]), np.array(["a", "", "b", "b"]), np.array(["a", None, "b", "b"], object)],
)
def test_missing_labels_are_named(labels):
    with pytest.raises(UsageError, match="row 2 has no label"):
        arrange_rows(np.eye(4), labels, OPTIONS)


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
