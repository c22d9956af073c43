"""The consensus of many clusterings as a model without a network: `consensus`.

Each of at most `stored_rows` training rows has a share of the votes for every cluster (`clustering.votes`), and an
isotropic Gaussian around it, as wide as its neighbours are far. So a cluster's density is that of its rows,

    p(x|y) = sum_m r_m(y) N(x; x_m, s_m^2) / sum_m r_m(y),

and q(y|x), the exact posterior, is the mean of the rows' shares, weighted by their Gaussians at x. Missing values are
left out of the Gaussians, which is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import final

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from deepmix.data import narrow
from deepmix.errors import UsageError
from deepmix.maths import Array, Dims, Responsibilities, normalize_log, without_noise
from deepmix.models import Composite

from ..clustering.votes import vote_shares
from .raw import RowMixture

NEIGHBOUR = 5
"""The neighbour whose distance is the width of a row's Gaussian, up to the root of the number of columns."""

LEAST_WIDTH = 1e-3
"""Smallest width relative to the median one, for rows that have copies."""

LEAST_SHARE = 1e-6
"""Added to the shares of the votes, so that no cluster is impossible."""

BLOCK_VALUES = 5_000_000
"""Pairs of a row and a stored row whose distance is computed at a time."""


@dataclass(frozen=True)
class ConsensusOptions:
    """Options of the consensus model."""

    stored_rows: int = field(default=3000, metadata={"help": "training rows that the model stores"})

    def __post_init__(self) -> None:
        if self.stored_rows < 2:
            raise UsageError(f"stored_rows must be at least 2, got {self.stored_rows}")


@final
class ConsensusModel(RowMixture):
    """Consensus of many clusterings of the rows, without a network: votes of neighbouring rows, with certainty."""

    Options = ConsensusOptions
    init = "auto"

    def __init__(self, dims: Dims, likelihood: Composite, options: ConsensusOptions) -> None:
        super().__init__(dims, likelihood, options)
        n_stored, n_columns = options.stored_rows, self.latent_dim
        self.row_MD = _stored(torch.zeros(n_stored, n_columns))
        self.log_width_M = _stored(torch.zeros(n_stored))
        self.log_share_MK = _stored(torch.full((n_stored, dims.n_components), -math.inf))

    @torch.no_grad()
    def place(self, code_NM: Tensor, squared_error_N: Tensor, label_N: Tensor, weight_N: Tensor | None = None) -> None:
        """Store rows with their share of the votes on samples of them; missing values take their cluster's mean.

        Noise is left out.
        """
        label_N, code_NM, weight_N = without_noise(label_N, code_NM, weight_N)
        rows_ND, labels = code_NM.double().cpu(), label_N.cpu()
        weights = torch.ones(len(rows_ND), dtype=rows_ND.dtype) if weight_N is None else weight_N.double().cpu()
        rows_ND = _filled(rows_ND, labels, self.n_components)
        places = np.arange(len(rows_ND))
        if len(places) > len(self.row_MD):
            places = np.sort(np.random.default_rng(0).choice(len(places), len(self.row_MD), replace=False))
        row_MD, weight_M, n_stored = rows_ND[places], weights[places], len(places)
        own_M = labels[places].numpy()
        votes_MK = vote_shares(
            narrow(row_MD.numpy(), 0), own_M, self.n_components, 0, None if weight_N is None else weight_M.numpy()
        )
        share_MK = torch.from_numpy(votes_MK * (1.0 - LEAST_SHARE * self.n_components) + LEAST_SHARE)
        self.row_MD[:n_stored] = row_MD.to(self.row_MD)
        self.log_width_M[:n_stored] = torch.from_numpy(_widths(row_MD.numpy())).log().to(self.log_width_M)
        share_MK *= (weight_M / weight_M.sum())[:, None]
        self.log_share_MK.fill_(-math.inf)
        self.log_share_MK[:n_stored] = share_MK.log().to(self.log_share_MK)
        self.log_weight_K.copy_(share_MK.sum(0).log())
        self.mean_KD.copy_((share_MK.T @ row_MD) / share_MK.sum(0)[:, None])

    def _complete_log_prob(self, x_ND: Tensor) -> tuple[Tensor, Responsibilities]:
        log_prob_NK, _ = self._incomplete_log_prob(x_ND)
        return log_prob_NK, Responsibilities(*normalize_log(log_prob_NK + self.log_weight_K))

    def _incomplete_log_prob(self, rows_NF: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(x|y), (N, K), and each component's expectation of rows with missing values, (N, K, F)."""
        block = max(BLOCK_VALUES // len(self.row_MD), 1)
        parts = [self._of_block(rows_RF) for rows_RF in rows_NF.double().split(block)]
        log_prob_NK, expected_NKF = (torch.cat(values) for values in zip(*parts, strict=True))
        return log_prob_NK.to(rows_NF.dtype), expected_NKF.to(rows_NF.dtype)

    def _of_block(self, rows_RF: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same of some rows, float64; the expectation is that of the rows as they are where none is missing.

        The squared distances are |x|^2 - 2 x m + |m|^2, over the columns that x has.
        """
        row_MF, log_width_M = self.row_MD.double(), self.log_width_M.double()
        missing_RF = rows_RF.isnan()
        known_RF, values_RF = (~missing_RF).double(), rows_RF.nan_to_num(0.0)
        square_RM = values_RF.square().sum(1)[:, None] - 2.0 * values_RF @ row_MF.T + known_RF @ row_MF.square().T
        n_known_R1 = known_RF.sum(1, keepdim=True)
        log_kernel_RM = -0.5 * square_RM.clamp_min(0.0) * torch.exp(-2.0 * log_width_M)
        log_kernel_RM -= n_known_R1 * (log_width_M + 0.5 * math.log(2.0 * math.pi))
        log_kernel_RM = log_kernel_RM.where(self.log_share_MK[:, 0].isfinite(), -math.inf)
        largest_R1 = log_kernel_RM.amax(1, keepdim=True)
        kernel_RM, share_MK = torch.exp(log_kernel_RM - largest_R1), self.log_share_MK.double().exp()
        joint_RK = kernel_RM @ share_MK
        log_prob_RK = joint_RK.log() + largest_R1 - self.log_weight_K.double()
        if not missing_RF.any():
            return log_prob_RK, rows_RF[:, None].expand(-1, self.n_components, -1)
        means = [(kernel_RM * share_M) @ row_MF for share_M in share_MK.T]
        expected_RKF = torch.stack(means, 1) / joint_RK[:, :, None]
        return log_prob_RK, torch.where(missing_RF[:, None], expected_RKF, rows_RF[:, None])

    def _variance_KF(self) -> Tensor:
        """Return the variance of each cluster's rows; the density has no single one, and does not use it."""
        share_MK = self.log_share_MK.exp()
        square_KF = share_MK.T @ self.row_MD.square() / share_MK.sum(0)[:, None]
        return square_KF - self.mean_KD.square()

    @torch.no_grad()
    def prior_sample(self, n_rows: int, component: int, generator: torch.Generator) -> Tensor:
        """Draw stored rows by their share of the component, and add the noise of their Gaussians."""
        share_M = self.log_share_MK[:, component].exp()
        places = torch.multinomial(share_M, n_rows, replacement=True, generator=generator)
        noise_RD = torch.randn(n_rows, self.latent_dim, generator=generator, device=self.row_MD.device)
        return self.row_MD[places] + self.log_width_M[places].exp()[:, None] * noise_RD


def _stored(value: Tensor) -> nn.Parameter:
    """Return a parameter that `place` sets and gradients do not change."""
    return nn.Parameter(value, requires_grad=False)


def _filled(rows_ND: Tensor, label_N: Tensor, n_clusters: int) -> Tensor:
    """Return rows in which missing values are the mean of their cluster, or of all rows where the cluster has none."""
    if not rows_ND.isnan().any():
        return rows_ND
    mean_D = rows_ND.nanmean(0).nan_to_num(0.0)
    mean_KD = torch.stack([rows_ND[label_N == k].nanmean(0) for k in range(n_clusters)])
    mean_KD = mean_KD.where(mean_KD.isfinite(), mean_D)
    return torch.where(rows_ND.isnan(), mean_KD[label_N], rows_ND)


def _widths(rows_MD: Array) -> Array:
    """Return the width of each row's Gaussian, (M,): its neighbour's distance per root of the number of columns."""
    distances, _ = NearestNeighbors(n_neighbors=min(NEIGHBOUR, len(rows_MD) - 1)).fit(rows_MD).kneighbors()
    width_M = distances[:, -1] / math.sqrt(rows_MD.shape[1])
    positive = width_M[width_M > 0.0]
    return np.maximum(width_M, LEAST_WIDTH * (float(np.median(positive)) if len(positive) else 1.0))
