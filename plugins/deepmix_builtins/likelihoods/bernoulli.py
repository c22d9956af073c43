"""Cells that are 0 or 1, or grey values between."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from deepmix.contracts import Likelihood
from deepmix.data import CellBlock


@final
class BernoulliLikelihood(Likelihood):
    """Bernoulli, for cells in 0..1; each output is a logit (VaDE eq. 12)."""

    support = "unit"

    def __init__(self, block: CellBlock) -> None:
        super().__init__(block)
        self.n_outputs = block.n_cells

    def log_prob(self, x_RC: Tensor, outputs_RP: Tensor) -> Tensor:
        """Return x log mu + (1 - x) log(1 - mu), mu = sigmoid(output), also for x between 0 and 1."""
        return -functional.binary_cross_entropy_with_logits(outputs_RP, x_RC, reduction="none")

    def mean(self, outputs_RP: Tensor) -> Tensor:
        """Return mu."""
        return outputs_RP.sigmoid()

    def sample(self, outputs_RP: Tensor, generator: torch.Generator) -> Tensor:
        """Return zeros and ones."""
        return torch.bernoulli(outputs_RP.sigmoid(), generator=generator)
