"""Mixtures fitted to rows with missing values, which are left out exactly: NaN marks them.

Rows are grouped by which of their values are missing. The density of a row is the marginal density of the values that
it has, and EM takes the expectation of the others given these (Ghahramani and Jordan 1994; Little and Rubin, chapter
11). k-means measures distances over the values that a row has (k-POD: Chi, Chi and Baraniuk 2016).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

HELD_ITERATIONS = 5
"""First iterations of EM, in which the initial clusters take the place of q(y|x): regressions need a few to settle."""

MAX_ITERATIONS, TOLERANCE = 1000, 1e-4
"""EM stops when the mean log-likelihood rises by less than this, in nats; k-means when no row changes its cluster."""


TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True)
class Mixture:
    """The parameters of K Gaussians."""

    mean_KF: Tensor
    covariance_KFF: Tensor
    log_weight_K: Tensor


@dataclass(frozen=True)
class Completion:
    """What the Gaussians say of R rows that have the same values missing."""

    row_R: Tensor
    """Numbers of the rows."""
    log_prob_RK: Tensor
    """log p of the values that a row has, under each Gaussian."""
    expected_RKF: Tensor
    """The rows with missing values replaced by their expectation under each Gaussian, given the others."""
    covariance_KFF: Tensor
    """Covariance of the missing values, given the others; 0 in rows and columns of those that are not missing."""


def completions(rows_NF: Tensor, mean_KF: Tensor, covariance_KFF: Tensor) -> Iterator[Completion]:
    """Yield the completion of each group of rows that have the same values missing.

    Args:
        rows_NF: the rows, NaN where a value is missing.
        mean_KF: the Gaussians' means.
        covariance_KFF: their covariances, positive definite.

    """
    pattern_PF, pattern_N = rows_NF.isnan().unique(dim=0, return_inverse=True)
    for number, missing_F in enumerate(pattern_PF):
        row_R, seen_F = (pattern_N == number).nonzero()[:, 0], ~missing_F
        seen_KRS = rows_NF[row_R][:, seen_F] - mean_KF[:, None, seen_F]
        root_KSS = torch.linalg.cholesky(covariance_KFF[:, seen_F][:, :, seen_F])
        scaled_KSR = torch.linalg.solve_triangular(root_KSS, seen_KRS.mT, upper=False)
        log_root_K = root_KSS.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = 0.5 * int(seen_F.sum()) * math.log(2.0 * math.pi)
        log_prob_KR = -0.5 * scaled_KSR.square().sum(-2) - log_root_K[:, None] - constant
        covariance_KSU = covariance_KFF[:, seen_F][:, :, missing_F]
        gain_KSU = torch.cholesky_solve(covariance_KSU, root_KSS)
        expected_RKF = rows_NF[row_R][:, None].repeat(1, len(mean_KF), 1)
        expected_RKF[:, :, missing_F] = (mean_KF[:, None, missing_F] + seen_KRS @ gain_KSU).transpose(0, 1)
        conditional_KFF = torch.zeros_like(covariance_KFF)
        both_FF = missing_F[:, None] & missing_F
        unseen_KUU = covariance_KFF[:, missing_F][:, :, missing_F] - covariance_KSU.mT @ gain_KSU
        conditional_KFF[:, both_FF] = unseen_KUU.flatten(1)
        yield Completion(row_R, log_prob_KR.T, expected_RKF, conditional_KFF)


def fit_full(rows_NF: Tensor, label_N: Tensor, n_components: int, weight_N: Tensor, added: float) -> Mixture:
    """Run EM with full covariances from clusters, of which an empty one starts as wide as the data.

    Args:
        rows_NF: the rows, float64, NaN where a value is missing.
        label_N: their clusters, in [0, K).
        n_components: K.
        weight_N: their weights.
        added: what is added to the variances.

    """
    n_features = rows_NF.shape[1]
    one_hot_NK = torch.nn.functional.one_hot(label_N, n_components).to(rows_NF.dtype)
    mean_KF, variance_KF = observed_moments(rows_NF, one_hot_NK * weight_N[:, None])
    added_FF = added * torch.eye(n_features, dtype=rows_NF.dtype)
    mixture = Mixture(mean_KF, torch.diag_embed(variance_KF) + added_FF, _log_weights(one_hot_NK, weight_N))
    before = -math.inf
    for iteration in range(MAX_ITERATIONS):
        mass_K = torch.zeros_like(mixture.log_weight_K)
        sum_KF, square_KFF = torch.zeros_like(mixture.mean_KF), torch.zeros_like(mixture.covariance_KFF)
        log_likelihood = 0.0
        for part in completions(rows_NF, mixture.mean_KF, mixture.covariance_KFF):
            joint_RK = part.log_prob_RK + mixture.log_weight_K
            log_likelihood += float(weight_N[part.row_R] @ joint_RK.logsumexp(-1))
            q_RK = one_hot_NK[part.row_R] if iteration < HELD_ITERATIONS else joint_RK.softmax(-1)
            q_RK = q_RK * weight_N[part.row_R, None]
            mass_K += q_RK.sum(0)
            centred_RKF = part.expected_RKF - mixture.mean_KF
            sum_KF += torch.einsum("rk,rkf->kf", q_RK, centred_RKF)
            square_KFF += torch.einsum("rk,rkf,rkg->kfg", q_RK, centred_RKF, centred_RKF)
            square_KFF += q_RK.sum(0)[:, None, None] * part.covariance_KFF
        present_K = mass_K > 0.0
        divisor_K = mass_K.clamp(min=TINY)
        shift_KF = sum_KF / divisor_K[:, None]
        covariance_KFF = square_KFF / divisor_K[:, None, None] - shift_KF[:, :, None] * shift_KF[:, None] + added_FF
        mixture = Mixture(
            mixture.mean_KF + shift_KF,
            torch.where(present_K[:, None, None], covariance_KFF, mixture.covariance_KFF),
            _log_of_masses(mass_K),
        )
        log_likelihood /= float(weight_N.sum())
        if iteration > HELD_ITERATIONS and log_likelihood - before < TOLERANCE:
            break
        before = log_likelihood
    return mixture


def fit_diagonal(rows_NF: Tensor, label_N: Tensor, n_components: int, weight_N: Tensor, added: float) -> Mixture:
    """Run EM with diagonal covariances, whose factors of missing values are left out; arguments as in `fit_full`."""
    q_NK = torch.nn.functional.one_hot(label_N, n_components).to(rows_NF.dtype)
    log_weight_K, before = _log_weights(q_NK, weight_N), -math.inf
    for _ in range(MAX_ITERATIONS):
        mean_KF, variance_KF = observed_moments(rows_NF, q_NK * weight_N[:, None])
        variance_KF = variance_KF + added
        joint_NK = diagonal_log_prob(rows_NF, mean_KF, variance_KF) + log_weight_K
        log_likelihood = float(weight_N @ joint_NK.logsumexp(-1) / weight_N.sum())
        if log_likelihood - before < TOLERANCE:
            break
        q_NK, before = joint_NK.softmax(-1), log_likelihood
        log_weight_K = _log_weights(q_NK, weight_N)
    return Mixture(mean_KF, torch.diag_embed(variance_KF), log_weight_K)


def fit_centres(rows_NF: Tensor, label_N: Tensor, n_components: int, weight_N: Tensor) -> tuple[Tensor, float]:
    """Run k-means from clusters; return the centres, (K, F), and the mean square of the values around them."""
    for _ in range(MAX_ITERATIONS):
        one_hot_NK = torch.nn.functional.one_hot(label_N, n_components).to(rows_NF.dtype)
        mean_KF, _ = observed_moments(rows_NF, one_hot_NK * weight_N[:, None])
        nearest_N = -diagonal_log_prob(rows_NF, mean_KF, torch.ones_like(mean_KF))
        before_N, label_N = label_N, nearest_N.argmin(-1)
        if torch.equal(before_N, label_N):
            break
    deviation_NF = (rows_NF - mean_KF[label_N]).square()
    seen_NF = (~rows_NF.isnan()) * weight_N[:, None]
    return mean_KF, float((deviation_NF.nan_to_num() * seen_NF).sum() / seen_NF.sum())


def diagonal_log_prob(rows_NF: Tensor, mean_KF: Tensor, variance_KF: Tensor) -> Tensor:
    """Return the log-density of the values that each row has under diagonal Gaussians, (N, K)."""
    seen_NF, filled_NF = (~rows_NF.isnan()).to(rows_NF.dtype), rows_NF.nan_to_num()
    constant_KF = mean_KF.square() / variance_KF + variance_KF.log() + math.log(2.0 * math.pi)
    squares_NK = filled_NF.square() @ variance_KF.reciprocal().T - 2.0 * filled_NF @ (mean_KF / variance_KF).T
    return -0.5 * (squares_NK + seen_NF @ constant_KF.T)


def observed_moments(rows_NF: Tensor, weight_NK: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted mean and variance of each column's values, (K, F); the whole column's where none has weight.

    Args:
        rows_NF: the rows, NaN where a value is missing.
        weight_NK: each row's weight in each component.

    """
    seen_NF, weight_N1 = (~rows_NF.isnan()).to(rows_NF.dtype), weight_NK.sum(1, keepdim=True)
    column_F = (weight_N1 * rows_NF.nan_to_num()).sum(0) / (weight_N1 * seen_NF).sum(0).clamp(min=TINY)
    centred_NF = (rows_NF - column_F).nan_to_num()  # so that the differences below lose no digits

    def moments(weight_NK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mass_KF = weight_NK.T @ seen_NF
        mean_KF = weight_NK.T @ centred_NF / mass_KF.clamp(min=TINY)
        square_KF = weight_NK.T @ centred_NF.square() / mass_KF.clamp(min=TINY)
        return mass_KF, mean_KF, (square_KF - mean_KF.square()).clamp(min=0.0)

    mass_KF, mean_KF, variance_KF = moments(weight_NK)
    _, whole_1F, spread_1F = moments(weight_N1)
    present_KF = mass_KF > 0.0
    return column_F + torch.where(present_KF, mean_KF, whole_1F), torch.where(present_KF, variance_KF, spread_1F)


def _log_weights(q_NK: Tensor, weight_N: Tensor) -> Tensor:
    return _log_of_masses(weight_N @ q_NK)


def _log_of_masses(mass_K: Tensor) -> Tensor:
    return (mass_K / mass_K.sum()).clamp(min=TINY).log()
