"""Gaussian mixtures on rows with weights, against scikit-learn's on rows that stand as often as their weight says."""

from __future__ import annotations

import numpy as np
import pytest
from deepmix_builtins.clustering.gaussians import (
    MAX_ITERATIONS,
    WeightedGaussianMixture,
    fit_mixture,
    regularization,
)
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture

K, M = 3, 4
PARAMETERS = ("weights_", "means_", "covariances_", "precisions_cholesky_")


def overlapping_rows(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows of three overlapping groups, the groups with some errors, and whole weights."""
    random = np.random.default_rng(seed)
    label_N = np.arange(120) % K
    z_NM = 2.0 * np.eye(K, M)[label_N] + random.normal(size=(120, M)) * [1.0, 0.5, 2.0, 1.0]
    start_N = np.where(random.random(120) < 0.2, (label_N + 1) % K, label_N)
    return z_NM, start_N, random.integers(1, 5, 120)


@pytest.mark.parametrize("covariance", ["full", "tied", "diag"])
def test_weights_give_the_parameters_of_repeated_rows(covariance):
    z_NM, start_N, weight_N = overlapping_rows()
    weighted = fit_mixture(z_NM, start_N, K, covariance, weight_N.astype(np.float64))
    repeated = fit_mixture(np.repeat(z_NM, weight_N, axis=0), np.repeat(start_N, weight_N), K, covariance)
    unweighted = fit_mixture(z_NM, start_N, K, covariance)
    assert weighted.n_iter_ == repeated.n_iter_ > 2
    assert weighted.lower_bound_ == pytest.approx(repeated.lower_bound_, rel=1e-10)
    for name in PARAMETERS:
        np.testing.assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-8, atol=1e-8)
        assert np.abs(getattr(weighted, name) - getattr(unweighted, name)).max() > 1e-3


@pytest.mark.parametrize("covariance", ["full", "diag"])
def test_the_scale_of_the_weights_does_not_matter_to_em(covariance):
    z_NM, _, weight_N = overlapping_rows(1)
    fits = [
        WeightedGaussianMixture(K, covariance_type=covariance, n_init=2, random_state=4).fit_rows(z_NM, weights)
        for weights in (weight_N.astype(np.float64), weight_N * 1e-9)
    ]
    for name in PARAMETERS:
        np.testing.assert_allclose(getattr(fits[0], name), getattr(fits[1], name), rtol=1e-8, atol=1e-8)


def test_one_component_has_the_weighted_moments():
    z_NM, _, weight_N = overlapping_rows(2)
    weights = weight_N + 0.25
    mixture = WeightedGaussianMixture(1, reg_covar=0.0, random_state=0).fit_rows(z_NM, weights)
    mean_M, covariance_MM = np.average(z_NM, axis=0, weights=weights), np.cov(z_NM.T, bias=True, aweights=weights)
    np.testing.assert_allclose(mixture.means_[0], mean_M, rtol=1e-12)
    np.testing.assert_allclose(mixture.covariances_[0], covariance_MM, rtol=1e-10, atol=1e-12)
    log_density_N = multivariate_normal(mean_M, covariance_MM).logpdf(z_NM)
    assert mixture.lower_bound_ == pytest.approx(np.average(log_density_N, weights=weights), rel=1e-10)


@pytest.mark.parametrize("settings", [{"n_init": 3}, {"covariance_type": "diag"}], ids=str)
def test_without_weights_it_is_scikit_learns_fit(settings):
    z_NM, _, _ = overlapping_rows(3)
    ours = WeightedGaussianMixture(K, max_iter=MAX_ITERATIONS, random_state=7, **settings)
    scikit_learns = GaussianMixture(K, max_iter=MAX_ITERATIONS, random_state=7, **settings)
    np.testing.assert_array_equal(ours.fit_labels(z_NM, None), scikit_learns.fit_predict(z_NM))
    for name in PARAMETERS:
        np.testing.assert_allclose(getattr(ours, name), getattr(scikit_learns, name), rtol=1e-8, atol=1e-8)


def test_a_second_fit_forgets_the_weights_of_the_first():
    z_NM, _, weight_N = overlapping_rows(4)
    mixture = WeightedGaussianMixture(K, random_state=0)
    mixture.fit_rows(z_NM, weight_N.astype(np.float64))
    np.testing.assert_allclose(
        mixture.fit_rows(z_NM[:60], None).means_, GaussianMixture(K, random_state=0).fit(z_NM[:60]).means_, rtol=1e-8
    )


def test_an_empty_cluster_starts_as_wide_as_the_weighted_data():
    z_NM, _, weight_N = overlapping_rows(5)
    weighted = fit_mixture(z_NM, np.zeros(120, dtype=int), 2, "full", weight_N.astype(np.float64))
    repeated = fit_mixture(np.repeat(z_NM, weight_N, axis=0), np.zeros(weight_N.sum(), dtype=int), 2, "full")
    for name in PARAMETERS:
        np.testing.assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-8, atol=1e-8)


def test_regularization_is_a_thousandth_of_the_weighted_variance():
    z_NM, _, weight_N = overlapping_rows(6)
    variance = np.repeat(z_NM, weight_N, axis=0).var(axis=0).mean()
    assert regularization(z_NM, weight_N) == pytest.approx(1e-3 * variance, rel=1e-10)
