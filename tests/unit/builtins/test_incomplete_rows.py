"""Mixtures on rows with missing values, against SciPy's marginal densities and fits to complete rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from deepmix_builtins.clustering.incomplete_rows import (
    completions,
    diagonal_log_prob,
    fit_centres,
    fit_diagonal,
    fit_full,
    observed_moments,
)
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture

ADDED = 1e-9


def groups(n_rows: int = 300, n_features: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows of two groups with correlated columns, and each row's group."""
    random = np.random.default_rng(0)
    label_N = np.arange(n_rows) % 2
    root_FF = np.tril(np.full((n_features, n_features), 0.6)) + 0.4 * np.eye(n_features)
    rows = random.normal(size=(n_rows, n_features)) @ root_FF.T + 5.0 * label_N[:, None]
    return torch.from_numpy(rows), torch.from_numpy(label_N)


def with_holes(rows_NF: torch.Tensor, fraction: float = 0.3) -> torch.Tensor:
    random = np.random.default_rng(1)
    missing_NF = torch.from_numpy(random.random(rows_NF.shape) < fraction)
    missing_NF[0] = True  # a row without any value
    return rows_NF.masked_fill(missing_NF, torch.nan)


def test_a_completion_is_the_conditional_gaussian():
    rows_NF = with_holes(groups(40)[0])
    mean_KF = torch.tensor([[0.0, 0.5, 1.0], [5.0, 4.0, 6.0]], dtype=torch.float64)
    root_KFF = torch.tensor(np.random.default_rng(2).normal(size=(2, 3, 3)))
    covariance_KFF = root_KFF @ root_KFF.mT + torch.eye(3)
    visited = []
    for part in completions(rows_NF, mean_KF, covariance_KFF):
        for place, row in enumerate(part.row_R.tolist()):
            x, missing = rows_NF[row].numpy(), rows_NF[row].isnan().numpy()
            visited.append(row)
            for k in range(2):
                m, s = mean_KF[k].numpy(), covariance_KFF[k].numpy()
                seen = ~missing
                expected, covariance, log_prob = x.copy(), np.zeros((3, 3)), 0.0
                if seen.any():
                    log_prob = multivariate_normal(m[seen], s[np.ix_(seen, seen)]).logpdf(x[seen])
                gain = s[np.ix_(missing, seen)] @ np.linalg.inv(s[np.ix_(seen, seen)])
                expected[missing] = m[missing] + gain @ (x[seen] - m[seen])
                covariance[np.ix_(missing, missing)] = s[np.ix_(missing, missing)] - gain @ s[np.ix_(seen, missing)]
                assert float(part.log_prob_RK[place, k]) == pytest.approx(log_prob, abs=1e-12)
                np.testing.assert_allclose(part.expected_RKF[place, k], expected, rtol=1e-10)
                np.testing.assert_allclose(part.covariance_KFF[k], covariance, atol=1e-10)
    assert sorted(visited) == list(range(40))


def test_one_gaussian_maximises_the_likelihood_of_the_values_that_are_there():
    rows_NF = with_holes(groups(60, 2)[0][::2])
    fitted = fit_full(rows_NF, torch.zeros(30, dtype=torch.long), 1, torch.ones(30, dtype=torch.float64), ADDED)

    def minus_log_likelihood(parameters):
        root = np.array([[np.exp(parameters[2]), 0.0], [parameters[3], np.exp(parameters[4])]])
        total = 0.0
        for x in rows_NF.numpy():
            seen = ~np.isnan(x)
            if seen.any():
                covariance = (root @ root.T)[np.ix_(seen, seen)]
                total -= multivariate_normal(parameters[:2][seen], covariance).logpdf(x[seen])
        return total

    best = minimize(minus_log_likelihood, np.zeros(5), method="BFGS").x
    root = np.array([[np.exp(best[2]), 0.0], [best[3], np.exp(best[4])]])
    np.testing.assert_allclose(fitted.mean_KF[0], best[:2], atol=0.02)
    np.testing.assert_allclose(fitted.covariance_KFF[0], root @ root.T, atol=0.03)


@pytest.mark.parametrize("fit", [fit_full, fit_diagonal])
def test_without_missing_values_it_is_scikit_learns_mixture(fit):
    rows_NF, label_N = groups()
    fitted = fit(rows_NF, label_N, 2, torch.ones(300, dtype=torch.float64), ADDED)
    means = np.stack([rows_NF[label_N == k].mean(0) for k in range(2)])
    covariance = "full" if fit is fit_full else "diag"
    reference = GaussianMixture(2, covariance_type=covariance, means_init=means, reg_covar=ADDED, tol=1e-9).fit(rows_NF)
    np.testing.assert_allclose(fitted.mean_KF, reference.means_, atol=0.01)
    expected = reference.covariances_ if fit is fit_full else np.stack([np.diag(v) for v in reference.covariances_])
    np.testing.assert_allclose(fitted.covariance_KFF, expected, atol=0.01)
    np.testing.assert_allclose(fitted.log_weight_K.exp(), reference.weights_, atol=0.01)


@pytest.mark.parametrize("fit", [fit_full, fit_diagonal])
def test_a_row_of_weight_two_is_two_rows(fit):
    rows_NF, label_N = groups(40)
    rows_NF = with_holes(rows_NF)
    weight_N = torch.from_numpy(1.0 + np.arange(40) % 2)
    copies = torch.repeat_interleave(torch.arange(40), weight_N.long())
    weighted = fit(rows_NF, label_N, 2, weight_N, ADDED)
    repeated = fit(rows_NF[copies], label_N[copies], 2, torch.ones(60, dtype=torch.float64), ADDED)
    torch.testing.assert_close(weighted.mean_KF, repeated.mean_KF)
    torch.testing.assert_close(weighted.covariance_KFF, repeated.covariance_KFF)


def test_diagonal_densities_are_products_over_the_values_that_are_there():
    rows_NF, _ = groups(20)
    rows_NF = with_holes(rows_NF)
    mean_KF, variance_KF = torch.tensor([[0.0, 1.0, 2.0]]).double(), torch.tensor([[1.0, 2.0, 3.0]]).double()
    one_by_one_NF = torch.distributions.Normal(mean_KF, variance_KF.sqrt()).log_prob(rows_NF.nan_to_num())
    expected_N = one_by_one_NF.masked_fill(rows_NF.isnan(), 0.0).sum(1)
    torch.testing.assert_close(diagonal_log_prob(rows_NF, mean_KF, variance_KF)[:, 0], expected_N)


def test_moments_are_those_of_the_values_that_are_there():
    rows_NF, label_N = groups(30)
    rows_NF = with_holes(rows_NF) + 1000.0
    mean_KF, variance_KF = observed_moments(rows_NF, torch.nn.functional.one_hot(label_N, 3).double())
    for k in range(2):
        np.testing.assert_allclose(mean_KF[k], np.nanmean(rows_NF[label_N == k], axis=0), rtol=1e-12)
        np.testing.assert_allclose(variance_KF[k], np.nanvar(rows_NF[label_N == k], axis=0), rtol=1e-8)
    np.testing.assert_allclose(mean_KF[2], np.nanmean(rows_NF, axis=0), rtol=1e-12)  # no row is in the third cluster


def test_k_means_measures_over_the_values_that_are_there():
    rows_NF = torch.tensor([[0.0, 0.0], [0.2, torch.nan], [4.0, 4.0], [torch.nan, 4.4]], dtype=torch.float64)
    start_N, weight_N = torch.tensor([0, 1, 1, 0]), torch.tensor([1.0, 1.0, 3.0, 1.0], dtype=torch.float64)
    start_N = torch.tensor([0, 0, 1, 0])
    centre_KF, variance = fit_centres(rows_NF, start_N, 2, weight_N)
    np.testing.assert_allclose(centre_KF, [[0.1, 0.0], [4.0, 4.1]])
    assert variance == pytest.approx((0.01 + 0.01 + 3 * 0.01 + 0.09) / 10.0)
