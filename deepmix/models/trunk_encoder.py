"""The encoder that most networks need only give a trunk."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deepmix.contracts import Encoder
from deepmix.maths import Dims, Gaussian


class TrunkEncoder(Encoder):
    """One trunk of any kind, with a mean and a log-variance head per component (supplement's Table 2).

    Args:
        dims: the sizes.
        trunk: a network that returns the features of rows, (N, F), from the rows, (N, D).
        n_trunk_outputs: F, the number of features.

    """

    def __init__(self, dims: Dims, trunk: nn.Module, n_trunk_outputs: int) -> None:
        super().__init__()
        self.dims = dims
        self.trunk = trunk
        self.mean = nn.Linear(n_trunk_outputs, dims.n_heads * dims.latent_dim)
        self.log_var = nn.Linear(n_trunk_outputs, dims.n_heads * dims.latent_dim)

    def forward(self, x_ND: Tensor) -> Gaussian:
        """Return the outputs of all heads."""
        features = self.trunk(x_ND)
        shape = (x_ND.shape[0], self.dims.n_heads, self.dims.latent_dim)
        return Gaussian(self.mean(features).view(shape), self.log_var(features).view(shape))

    def code(self, x_ND: Tensor) -> Tensor:
        """Return the first head's mean."""
        latent_dim = self.dims.latent_dim
        return nn.functional.linear(self.trunk(x_ND), self.mean.weight[:latent_dim], self.mean.bias[:latent_dim])

    @torch.no_grad()
    def place(self, shift_M: Tensor, scale_M: Tensor, log_var: float) -> None:
        """Standardise the first head and copy it to all."""
        n_heads, latent_dim = self.dims.n_heads, self.dims.latent_dim
        weight = self.mean.weight[:latent_dim] / scale_M.unsqueeze(-1)
        bias = (self.mean.bias[:latent_dim] - shift_M) / scale_M
        self.mean.weight.copy_(weight.repeat(n_heads, 1))
        self.mean.bias.copy_(bias.repeat(n_heads))
        self.log_var.weight.zero_()
        self.log_var.bias.fill_(log_var)
