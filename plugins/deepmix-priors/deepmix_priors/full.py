"""A mixture of Gaussians with full covariances."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn

from deepmix.contracts import DensityPrior, NoOptions, PriorPlacement
from deepmix.maths import Dims, Gaussian

MIN_VARIANCE = 1e-3
"""Floor of a component's variances when it is placed; the codes have variance 1."""


@final
class FullPrior(DensityPrior):
    """Gaussians with learned full covariances and weights; what `mixture` is with diagonal ones.

    The precision of each component is A A^T, with A lower triangular and positive on its diagonal:

        log N(z; mu, (A A^T)^-1) = log |A| - M/2 log 2 pi - |A^T (z - mu)|^2 / 2
    """

    def __init__(self, dims: Dims, options: NoOptions) -> None:
        super().__init__()
        n_components, latent_dim = dims.n_components, dims.latent_dim
        self.mean_KM = nn.Parameter(torch.randn(n_components, latent_dim))
        self.log_diagonal_KM = nn.Parameter(torch.zeros(n_components, latent_dim))
        self.below_KMM = nn.Parameter(torch.zeros(n_components, latent_dim, latent_dim))
        self.logit_K = nn.Parameter(torch.zeros(n_components))

    def factor(self) -> Tensor:
        """Return A, (K, M, M)."""
        return self.below_KMM.tril(-1) + torch.diag_embed(self.log_diagonal_KM.exp())

    def log_weights(self) -> Tensor:
        """Return the log softmax of the logits."""
        return self.logit_K.log_softmax(0)

    def log_prob(self, z_LNHM: Tensor) -> Tensor:
        """Return the log-density of each component."""
        y_LNKM = torch.einsum("lnkm,kmj->lnkj", z_LNHM - self.mean_KM, self.factor())
        constant = z_LNHM.shape[-1] * math.log(2.0 * math.pi)
        return self.log_diagonal_KM.sum(-1) - 0.5 * (constant + y_LNKM.square().sum(-1))

    def kl(self, posterior: Gaussian, z_LNHM: Tensor) -> Tensor:
        """Return the KL in closed form, for q = N(m, diag(v)).

        KL = 1/2 [ sum_j v_j |A_j|^2 + |A^T (m - mu)|^2 - M - sum_j log v_j ] - log |A|, with A_j the rows of A
        """
        factor_KMM = self.factor()
        trace_NK = (posterior.log_var.exp() * factor_KMM.square().sum(-1)).sum(-1)
        y_NKM = torch.einsum("nkm,kmj->nkj", posterior.mean - self.mean_KM, factor_KMM)
        free_NH = posterior.log_var.sum(-1) + posterior.mean.shape[-1]
        return 0.5 * (trace_NK + y_NKM.square().sum(-1) - free_NH) - self.log_diagonal_KM.sum(-1)

    def sample(self, n_rows: int, component: int, generator: torch.Generator) -> Tensor:
        """Return mu + A^-T e, with e standard normal."""
        mean_M = self.mean_KM[component]
        noise_MR = torch.randn(len(mean_M), n_rows, generator=generator, device=mean_M.device, dtype=mean_M.dtype)
        return mean_M + torch.linalg.solve_triangular(self.factor()[component].mT, noise_MR, upper=True).mT

    @torch.no_grad()
    def place(self, components: Gaussian, weight_K: Tensor) -> None:
        """Adopt the clusters' moments, without correlations."""
        self.mean_KM.copy_(components.mean)
        self.log_diagonal_KM.copy_(-0.5 * components.log_var)
        self.below_KMM.zero_()
        self.logit_K.copy_(weight_K.log())

    @torch.no_grad()
    def place_on(self, start: PriorPlacement) -> None:
        """Adopt the clusters' covariances too; a cluster with no more rows than dimensions gets no correlations."""
        self.place(start.components, start.weight_K)
        latent_dim = start.z_NM.shape[1]
        for k in range(len(start.weight_K)):
            rows = start.label_N == k
            if int(rows.sum()) <= latent_dim:
                continue
            weight_R = None if start.weight_N is None else start.weight_N[rows].double()
            covariance = torch.cov(start.z_NM[rows].double().mT, correction=0, aweights=weight_R)
            covariance = covariance.reshape(latent_dim, latent_dim)
            covariance.diagonal().add_(MIN_VARIANCE)
            factor_MM = torch.linalg.cholesky(torch.linalg.inv(covariance))
            self.log_diagonal_KM[k] = factor_MM.diagonal().log().to(self.log_diagonal_KM.dtype)
            self.below_KMM[k] = factor_MM.tril(-1).to(self.below_KMM.dtype)
