"""The E-step of a Gaussian mixture on rows with missing cells, which are NaN, in float64.

A diagonal Gaussian factorises over the columns, so missing cells just leave its density and its sums. For full
covariances, with O the seen columns of a row and U the missing ones, a component's density is that of the seen columns,
N(x_O; mean_O, S_OO), and the M-step takes the conditional moments of the others (Ghahramani and Jordan, 1994):

E[x_U | x_O] = mean_U + S_UO S_OO^-1 (x_O - mean_O),  Cov[x_U | x_O] = S_UU - S_UO S_OO^-1 S_OU
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from deepmix.maths.em import MixtureStatistics, row_blocks, weighted_responsibilities
from deepmix.maths.formulas import LOG_2PI


@dataclass(frozen=True)
class Noise:
    """A uniform component over a box: `log_joint` is the logarithm of its weight times its density on whole rows."""

    log_joint: float
    log_range_M: Tensor
    """Logarithms of the box's widths."""

    def log_joint_of(self, seen_NM: Tensor) -> Tensor:
        """Return the logarithm of the weight times the density of the seen cells of each row, (N,)."""
        return self.log_joint + (~seen_NM).to(self.log_range_M.dtype) @ self.log_range_M


def gap_statistics(
    z_NM: Tensor,
    mean_KM: Tensor,
    spread: Tensor,
    log_weight_K: Tensor,
    row_weight_N: Tensor | None,
    noise: Noise,
) -> MixtureStatistics:
    """Return the statistics of rows with missing cells.

    Args:
        z_NM: the rows; a missing cell is NaN.
        mean_KM: the components' means, float64 like the other parameters.
        spread: log-variances, (K, M), or covariances, (K, M, M).
        log_weight_K: the logarithms of the components' weights.
        row_weight_N: the rows' weights; None: 1 each.
        noise: the noise component; its `log_joint` is -inf where there is none.

    """
    blocks = _full_blocks if spread.dim() == 3 else _diagonal_blocks
    total: MixtureStatistics | None = None
    for part in blocks(z_NM, mean_KM, spread, log_weight_K, row_weight_N, noise):
        total = part if total is None else total.plus(part)
    assert total is not None, "there must be at least one row"
    return total


def gap_log_joint(z_NM: Tensor, mean_KM: Tensor, spread: Tensor, log_weight_K: Tensor) -> Tensor:
    """Return log [w_k p(seen cells of z_n | k)], (N, K); the arguments are those of `gap_statistics`."""
    if spread.dim() == 2:
        return _diagonal_log_joint(z_NM.double(), mean_KM, spread, log_weight_K)[0]
    log_joint_NK = mean_KM.new_empty(len(z_NM), len(mean_KM))
    for seen_M, rows in _patterns(z_NM):
        conditional = _Conditional.of(seen_M, mean_KM, spread)
        log_joint_NK[rows] = log_weight_K + conditional.log_prob(z_NM[rows].double())
    return log_joint_NK


def _diagonal_log_joint(
    z_NM: Tensor, mean_KM: Tensor, log_var_KM: Tensor, log_weight_K: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logarithms of the joint densities, the rows with 0 for missing cells, and 1 where a cell is seen.

    The rows must be near the means, because the squares are expanded.
    """
    seen_NM = (~z_NM.isnan()).double()
    center_M = mean_KM.mean(0)
    filled_NM = torch.where(z_NM.isnan(), 0.0, z_NM - center_M)
    mean_KM, precision_KM = mean_KM - center_M, torch.exp(-log_var_KM)
    log_joint_NK = torch.addmm(log_weight_K, filled_NM.square(), precision_KM.T, alpha=-0.5)
    log_joint_NK = torch.addmm(log_joint_NK, filled_NM, (mean_KM * precision_KM).T)
    constant_KM = LOG_2PI + log_var_KM + mean_KM.square() * precision_KM
    return torch.addmm(log_joint_NK, seen_NM, constant_KM.T, alpha=-0.5), filled_NM, seen_NM


def _diagonal_blocks(
    z_NM: Tensor,
    mean_KM: Tensor,
    log_var_KM: Tensor,
    log_weight_K: Tensor,
    row_weight_N: Tensor | None,
    noise: Noise,
) -> Iterator[MixtureStatistics]:
    for rows in row_blocks(z_NM, len(mean_KM) + z_NM.shape[1]):
        log_joint_NK, filled_NM, seen_NM = _diagonal_log_joint(z_NM[rows].double(), mean_KM, log_var_KM, log_weight_K)
        weight_N = None if row_weight_N is None else row_weight_N[rows].double()
        log_noise_N = noise.log_joint_of(seen_NM.bool())
        log_likelihood, r_NK = weighted_responsibilities(log_joint_NK, weight_N, log_noise_N)
        first_KM, second_KM, seen_KM = r_NK.T @ filled_NM, r_NK.T @ filled_NM.square(), r_NK.T @ seen_NM
        about_center = MixtureStatistics(log_likelihood, r_NK.sum(0), first_KM, second_KM, seen_KM)
        yield about_center.about(mean_KM - mean_KM.mean(0))


def _full_blocks(
    z_NM: Tensor,
    mean_KM: Tensor,
    covariance_KMM: Tensor,
    log_weight_K: Tensor,
    row_weight_N: Tensor | None,
    noise: Noise,
) -> Iterator[MixtureStatistics]:
    for seen_M, rows_of_pattern in _patterns(z_NM):
        conditional = _Conditional.of(seen_M, mean_KM, covariance_KMM)
        for block in row_blocks(rows_of_pattern, mean_KM.numel()):
            rows = rows_of_pattern[block]
            z_RM = z_NM[rows].double()
            log_noise = noise.log_joint_of(seen_M.unsqueeze(0))
            weight_R = None if row_weight_N is None else row_weight_N[rows].double()
            log_joint_RK = log_weight_K + conditional.log_prob(z_RM)
            log_likelihood, r_RK = weighted_responsibilities(log_joint_RK, weight_R, log_noise)
            d_KRM = conditional.filled_difference(z_RM)
            weighted_KRM = r_RK.T.unsqueeze(2) * d_KRM
            second_KMM = weighted_KRM.mT @ d_KRM + r_RK.sum(0).view(-1, 1, 1) * conditional.covariance_KMM
            yield MixtureStatistics(log_likelihood, r_RK.sum(0), weighted_KRM.sum(1), second_KMM)


def _patterns(z_NM: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield every set of seen columns, (M,) bool, with the numbers of its rows."""
    patterns, inverse_N = torch.unique(~z_NM.isnan(), dim=0, return_inverse=True)
    order_N = torch.argsort(inverse_N, stable=True)
    counts = torch.bincount(inverse_N, minlength=len(patterns)).tolist()
    yield from zip(patterns, order_N.split(counts), strict=True)


@dataclass(frozen=True)
class _Conditional:
    """K Gaussians conditioned on the seen columns of a row."""

    seen_M: Tensor
    mean_KM: Tensor
    cholesky_KOO: Tensor
    gain_KUO: Tensor
    """S_UO S_OO^-1."""
    covariance_KMM: Tensor
    """Cov[x_U | x_O] in the missing columns, 0 elsewhere."""

    @classmethod
    def of(cls, seen_M: Tensor, mean_KM: Tensor, covariance_KMM: Tensor) -> _Conditional:
        by_row_KOM = covariance_KMM[:, seen_M]
        cross_KOU = by_row_KOM[:, :, ~seen_M]
        cholesky_KOO = torch.linalg.cholesky(by_row_KOM[:, :, seen_M])
        gain_KUO = torch.cholesky_solve(cross_KOU, cholesky_KOO).mT
        missing_U = (~seen_M).nonzero()
        conditional_KMM = torch.zeros_like(covariance_KMM)
        rest_KUU = covariance_KMM[:, ~seen_M][:, :, ~seen_M] - gain_KUO @ cross_KOU
        conditional_KMM[:, missing_U, missing_U.T] = rest_KUU
        return cls(seen_M, mean_KM, cholesky_KOO, gain_KUO, conditional_KMM)

    def log_prob(self, z_RM: Tensor) -> Tensor:
        """Return log N(x_O; mean_O, S_OO), (R, K)."""
        d_KOR = (z_RM[:, self.seen_M] - self.mean_KM[:, self.seen_M].unsqueeze(1)).mT
        y_KOR = torch.linalg.solve_triangular(self.cholesky_KOO, d_KOR, upper=False)
        log_determinant_K = 2.0 * self.cholesky_KOO.diagonal(dim1=1, dim2=2).log().sum(1)
        constant_K = log_determinant_K + LOG_2PI * self.cholesky_KOO.shape[1]
        return -0.5 * (constant_K.unsqueeze(1) + y_KOR.square().sum(1)).T

    def filled_difference(self, z_RM: Tensor) -> Tensor:
        """Return x - mean, (K, R, M), with the conditional means of the missing columns."""
        d_KRM = z_RM - self.mean_KM.unsqueeze(1)
        d_KRM[:, :, ~self.seen_M] = d_KRM[:, :, self.seen_M] @ self.gain_KUO.mT
        return d_KRM
