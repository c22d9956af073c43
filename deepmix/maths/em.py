"""EM for Gaussian mixtures: the sums that an E-step leaves to the M-step, in plain PyTorch.

All moments are about the components' current means. With r_nk, the responsibilities times the rows' weights, and
d_nk = z_n - mean_k, the first moments are sum_n r_nk d_nk and the second ones sum_n r_nk d_nk d_nk^T, or the diagonals
of these. So they don't cancel, wherever the data lies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from deepmix.maths.formulas import LOG_2PI

BLOCK_ELEMENTS, DEVICE_BLOCK_ELEMENTS = 1 << 20, 1 << 24
"""Elements of the largest array that a block of rows needs, on the CPU and on other devices."""


@dataclass(frozen=True)
class MixtureStatistics:
    """The sums of an E-step over all rows, in float64."""

    log_likelihood: Tensor
    """sum_n w_n log p(z_n) in nats, ()."""
    responsibility_K: Tensor
    """sum_n r_nk."""
    first_KM: Tensor
    """sum_n r_nk d_nk."""
    second: Tensor
    """sum_n r_nk d_nk^2, (K, M), or sum_n r_nk d_nk d_nk^T, (K, M, M)."""
    seen_KM: Tensor | None = None
    """sum_n r_nk over the rows in which the column is seen; None: these are `responsibility_K` in every column."""

    @property
    def cell_responsibility_KM(self) -> Tensor:
        """The responsibilities behind each first moment."""
        if self.seen_KM is not None:
            return self.seen_KM
        return self.responsibility_K.unsqueeze(1).expand_as(self.first_KM)

    def about(self, step_KM: Tensor) -> MixtureStatistics:
        """Return the moments about means that lie `step_KM` further.

        sum r (d - s) = sum r d - s sum r;  sum r (d - s)(d - s)^T = sum r d d^T - s (sum r d)^T - (sum r (d - s)) s^T
        """
        first_KM = self.first_KM - self.cell_responsibility_KM * step_KM
        if self.second.dim() == 2:
            second = self.second - step_KM * (self.first_KM + first_KM)
        else:
            second = self.second - step_KM.unsqueeze(2) * self.first_KM.unsqueeze(1)
            second = second - first_KM.unsqueeze(2) * step_KM.unsqueeze(1)
        return replace(self, first_KM=first_KM, second=second)

    def plus(self, other: MixtureStatistics) -> MixtureStatistics:
        """Return the sums over both sets of rows, whose moments are about the same means."""
        both_complete = self.seen_KM is None and other.seen_KM is None
        return MixtureStatistics(
            self.log_likelihood + other.log_likelihood,
            self.responsibility_K + other.responsibility_K,
            self.first_KM + other.first_KM,
            self.second + other.second,
            None if both_complete else self.cell_responsibility_KM + other.cell_responsibility_KM,
        )

    def scaled(self, factor: float) -> MixtureStatistics:
        """Return all sums times a factor."""
        return self.map(lambda value: factor * value)

    def map(self, function: Callable[[Tensor], Tensor]) -> MixtureStatistics:
        """Return the function's results for all sums."""
        return MixtureStatistics(
            function(self.log_likelihood),
            function(self.responsibility_K),
            function(self.first_KM),
            function(self.second),
            None if self.seen_KM is None else function(self.seen_KM),
        )


def mixture_statistics(
    z_NM: Tensor,
    mean_KM: Tensor,
    spread: Tensor,
    log_weight_K: Tensor,
    row_weight_N: Tensor | None,
    log_noise: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the fields of `MixtureStatistics` for complete rows, up to `second`.

    p(z) = exp(log_noise) + sum_k w_k N(z; mean_k, covariance_k),  r_nk = row weight * w_k N(z_n; ...) / p(z_n)

    The rows are taken in blocks, so no array has N x K elements. Matrix products do the work, in float64 because the
    squares are expanded.

    Args:
        z_NM: the rows.
        mean_KM: the components' means.
        spread: log-variances, (K, M), or the lower triangular A of the precisions A A^T, (K, M, M).
        log_weight_K: the logarithms of the components' weights.
        row_weight_N: the rows' weights; None: 1 each.
        log_noise: logarithm of the weight times the density of a component with the same density everywhere.

    """
    block = _full_block if spread.dim() == 3 else _diagonal_block
    mean_KM, spread, log_weight_K = mean_KM.double(), spread.double(), log_weight_K.double()
    n_components, n_dimensions = mean_KM.shape
    sums = (
        log_weight_K.new_zeros(()),
        log_weight_K.new_zeros(n_components),
        torch.zeros_like(mean_KM),
        torch.zeros_like(spread),
    )
    elements_per_row = n_components * (n_dimensions if spread.dim() == 3 else 1) + n_dimensions
    for rows in row_blocks(z_NM, elements_per_row):
        weight_N = None if row_weight_N is None else row_weight_N[rows].double()
        for total, part in zip(
            sums, block(z_NM[rows].double(), mean_KM, spread, log_weight_K, weight_N, log_noise), strict=True
        ):
            total += part
    return sums


def row_blocks(rows: Tensor, elements_per_row: int) -> Iterator[slice]:
    """Yield slices that cover the rows; a block needs at most BLOCK_ELEMENTS elements, but has at least one row."""
    most = BLOCK_ELEMENTS if rows.device.type == "cpu" else DEVICE_BLOCK_ELEMENTS
    step = max(1, most // elements_per_row)
    for start in range(0, len(rows), step):
        yield slice(start, min(len(rows), start + step))


def weighted_responsibilities(
    log_joint_NK: Tensor, row_weight_N: Tensor | None, log_noise: Tensor | float
) -> tuple[Tensor, Tensor]:
    """Return sum_n w_n log p(z_n), (), and r_nk, (N, K), from log [w_k N(z_n; mean_k, covariance_k)]."""
    noise_N = torch.as_tensor(log_noise, dtype=log_joint_NK.dtype, device=log_joint_NK.device).expand(len(log_joint_NK))
    log_joint_NK = torch.cat([log_joint_NK, noise_N.unsqueeze(1)], 1)
    log_prob_N, r_NK = log_joint_NK.logsumexp(1), log_joint_NK.softmax(1)[:, :-1]
    if row_weight_N is None:
        return log_prob_N.sum(), r_NK
    return log_prob_N @ row_weight_N, r_NK * row_weight_N.unsqueeze(1)


def _diagonal_block(
    z_NM: Tensor,
    mean_KM: Tensor,
    log_var_KM: Tensor,
    log_weight_K: Tensor,
    row_weight_N: Tensor | None,
    log_noise: float,
) -> tuple[Tensor, ...]:
    center_M = mean_KM.mean(0)
    z_NM, mean_KM = z_NM - center_M, mean_KM - center_M
    square_NM, precision_KM = z_NM.square(), torch.exp(-log_var_KM)
    constant_KM = LOG_2PI + log_var_KM + mean_KM.square() * precision_KM
    log_joint_NK = torch.addmm(log_weight_K - 0.5 * constant_KM.sum(1), square_NM, precision_KM.T, alpha=-0.5)
    log_joint_NK = torch.addmm(log_joint_NK, z_NM, (mean_KM * precision_KM).T)
    log_likelihood, r_NK = weighted_responsibilities(log_joint_NK, row_weight_N, log_noise)
    raw = MixtureStatistics(log_likelihood, r_NK.sum(0), r_NK.T @ z_NM, r_NK.T @ square_NM).about(mean_KM)
    return raw.log_likelihood, raw.responsibility_K, raw.first_KM, raw.second


def _full_block(
    z_NM: Tensor,
    mean_KM: Tensor,
    cholesky_KMM: Tensor,
    log_weight_K: Tensor,
    row_weight_N: Tensor | None,
    log_noise: float,
) -> tuple[Tensor, ...]:
    d_KNM = z_NM - mean_KM.unsqueeze(1)
    lower_KMM = cholesky_KMM.tril()
    log_determinant_K = lower_KMM.diagonal(dim1=1, dim2=2).log().sum(1)
    distance_KN = (d_KNM @ lower_KMM).square().sum(2)
    constant_K = log_weight_K + log_determinant_K - 0.5 * z_NM.shape[1] * LOG_2PI
    log_likelihood, r_NK = weighted_responsibilities(constant_K - 0.5 * distance_KN.T, row_weight_N, log_noise)
    weighted_KNM = r_NK.T.unsqueeze(2) * d_KNM
    return log_likelihood, r_NK.sum(0), weighted_KNM.sum(1), weighted_KNM.mT @ d_KNM
