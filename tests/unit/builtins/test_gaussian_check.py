"""The check whether clusters are Gaussians, against scikit-learn's mixtures on made rows."""

from __future__ import annotations

import numpy as np
import pytest
from deepmix_builtins.clustering.auto import AutoInitializer, AutoOptions
from deepmix_builtins.clustering.gaussian_check import _gain, _held_out, gaussian_clusters, likelier_mixture
from sklearn.mixture import GaussianMixture

from deepmix.contracts import TrainingRows
from deepmix.metrics import clustering_accuracy


def gaussians(n_rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of a narrow Gaussian inside a wide one, and each row's Gaussian: no gap divides them."""
    random = np.random.default_rng(0)
    label_N = np.arange(n_rows) % 2
    return random.normal(size=(n_rows, 2)) * np.array([[0.3], [4.0]])[label_N], label_N


def ring(n_rows: int = 300) -> np.ndarray:
    random = np.random.default_rng(0)
    angle_N = 2 * np.pi * random.random(n_rows)
    return np.stack([np.cos(angle_N), np.sin(angle_N)], axis=1) + 0.05 * random.normal(size=(n_rows, 2))


def test_gaussians_are_recognised_and_their_mixture_is_chosen():
    rows, label_N = gaussians()
    assert gaussian_clusters(rows, 2, 0) in ("full", "diag")
    initializer = AutoInitializer(AutoOptions())
    labels = initializer.initial_labels(TrainingRows(rows.astype(np.float32), rows), 2, 0)
    choice = initializer.choice
    assert choice is not None
    assert choice.method in ("gmm-full", "gmm-diag")
    assert [method for method, values in choice.criteria.items() if values["gaussian"] == 1.0] == [choice.method]
    assert clustering_accuracy(label_N, labels) > 0.85


@pytest.mark.parametrize(
    ("rows", "n_clusters"),
    [
        pytest.param(ring(), 2, id="more describe a ring better"),
        pytest.param(np.random.default_rng(0).normal(size=(200, 2)), 3, id="one describes a Gaussian as well"),
        pytest.param(np.random.default_rng(0).normal(size=(12, 2)), 4, id="too few rows"),
        pytest.param(np.repeat(np.eye(3), 20, axis=0)[:, :2], 3, id="copies"),
    ],
)
def test_other_rows_say_nothing(rows, n_clusters):
    assert gaussian_clusters(rows, n_clusters, 0) is None


def test_rings_have_no_such_criterion():
    rows = np.concatenate([ring(), 4.0 * ring()])
    initializer = AutoInitializer(AutoOptions())
    initializer.initial_labels(TrainingRows(rows.astype(np.float32), rows), 2, 0)
    assert initializer.choice is not None
    assert all("gaussian" not in values for values in initializer.choice.criteria.values())


def test_held_out_is_the_likelihood_under_the_other_folds():
    rows, _ = gaussians(80)
    fold_N = np.arange(80) % 4
    added = 1e-3 * rows.var(axis=0).mean() + np.finfo(np.float64).eps
    expected = np.empty(80)
    for fold in range(4):
        mixture = GaussianMixture(2, reg_covar=added, max_iter=100, random_state=0).fit(rows[fold_N != fold])
        expected[fold_N == fold] = mixture.score_samples(rows[fold_N == fold])
    np.testing.assert_allclose(_held_out(rows, fold_N, 2, "full", None, 1), expected)


def test_gain_is_the_mean_and_its_standard_error():
    assert _gain(np.array([1.0, 3.0, 1.0, 3.0]), np.ones(4)) == (2.0, 0.5)
    assert _gain(np.array([1.0, 3.0]), np.array([3.0, 1.0]))[0] == 1.5


def test_weights_count():
    """A ring whose rows weigh next to nothing, around a mixture of two Gaussians."""
    rows, _ = gaussians()
    both = np.concatenate([rows, 30.0 * ring()])
    weight_N = np.where(np.arange(600) < 300, 1.0, 1e-6)
    assert gaussian_clusters(both, 2, 0) is None
    assert gaussian_clusters(both, 2, 0, weight_N) in ("full", "diag")


@pytest.mark.parametrize("covariance", ["full", "diag", "tied"])
def test_a_mixture_in_a_poor_optimum_is_replaced(covariance):
    """The poor optimum shares one Gaussian between two clusters and spends two on another."""
    random, label_N = np.random.default_rng(0), np.arange(240) % 4
    rows = random.normal(size=(240, 2)) + np.array([[0.0, 0.0], [9.0, 0.0], [60.0, 0.0], [60.0, 60.0]])[label_N]
    poor_N = np.select([label_N <= 1, label_N == 2], [0, 1], 2 + (rows[:, 1] > 60.0))
    assert np.array_equal(likelier_mixture(rows, label_N, poor_N, 4, covariance, None), label_N)
    restarted_N = likelier_mixture(rows, poor_N, label_N, 4, covariance, None)
    expected_N = poor_N if covariance == "tied" else label_N
    assert np.array_equal(restarted_N, expected_N)
