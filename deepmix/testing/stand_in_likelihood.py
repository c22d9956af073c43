"""A likelihood for the tests of models, which takes any numbers and has nothing to learn."""

from __future__ import annotations

import torch
from torch import Tensor

from deepmix.contracts import Likelihood
from deepmix.data import CellBlock


class StandInLikelihood(Likelihood):
    """A Gaussian of variance 1, less its constant; one output per cell, the mean."""

    def __init__(self, block: CellBlock) -> None:
        super().__init__(block)
        self.n_outputs = block.n_cells

    def log_prob(self, x_RC: Tensor, outputs_RP: Tensor) -> Tensor:
        """Return -(x - mean)^2 / 2 of each cell, (R, C)."""
        return -0.5 * (x_RC - outputs_RP).square()

    def mean(self, outputs_RP: Tensor) -> Tensor:
        """Return the means, (R, C)."""
        return outputs_RP

    def sample(self, outputs_RP: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the means with noise of variance 1, (R, C)."""
        return outputs_RP + torch.randn(outputs_RP.shape, generator=generator, dtype=outputs_RP.dtype)
