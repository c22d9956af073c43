"""Priors: `standard` (nothing to learn) and `mixture` (K Gaussians and their weights)."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn

from deepmix.contracts import NoOptions, Prior
from deepmix.maths import Dims, Gaussian, MixtureParameters


@final
class StandardPrior(Prior):
    """N(0, I) in every component, equal weights; no parameters (k-DVAE, section 3.1)."""

    log_weight_K: Tensor

    def __init__(self, dims: Dims, options: NoOptions) -> None:
        super().__init__()
        log_weight_K = torch.full((dims.n_components,), -math.log(dims.n_components))
        self.register_buffer("log_weight_K", log_weight_K, persistent=False)

    def forward(self) -> MixtureParameters:
        """Return N(0, I) and equal weights."""
        return MixtureParameters(None, self.log_weight_K)

    def place(self, components: Gaussian, weight_K: Tensor) -> None:
        """Keep N(0, I): the codes are already rescaled to unit spread."""


@final
class MixturePrior(Prior):
    """Learned diagonal Gaussians and weights (VaDE eqs. 4 and 5)."""

    def __init__(self, dims: Dims, options: NoOptions) -> None:
        super().__init__()
        shape = (dims.n_components, dims.latent_dim)
        self.mean_KM = nn.Parameter(torch.randn(shape))
        self.log_var_KM = nn.Parameter(torch.zeros(shape))
        self.logit_K = nn.Parameter(torch.zeros(dims.n_components))

    def forward(self) -> MixtureParameters:
        """Return the components and the log softmax of the logits."""
        return MixtureParameters(Gaussian(self.mean_KM, self.log_var_KM), self.logit_K.log_softmax(0))

    @torch.no_grad()
    def place(self, components: Gaussian, weight_K: Tensor) -> None:
        """Adopt the clusters' moments."""
        self.mean_KM.copy_(components.mean)
        self.log_var_KM.copy_(components.log_var)
        self.logit_K.copy_(weight_K.log())
