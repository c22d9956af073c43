"""Cells that are real numbers with Gaussian noise: one fixed variance, one per column, or one per cell."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn

from deepmix.contracts import Likelihood
from deepmix.data import CellBlock

from .bounds import MAX_LOG_VAR, MIN_LOG_VAR, MIN_VARIANCE
from .draws import standard_normal

LOG_2PI = math.log(2.0 * math.pi)


def gaussian_log_density(x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """Return log N(x; mean, exp(log_var)) of each element: -1/2 [log 2 pi + log v + (x - mu)^2 / v]."""
    return -0.5 * (LOG_2PI + log_var + (x - mean).square() * torch.exp(-log_var))


@final
class GaussianLikelihood(Likelihood):
    """Gaussian with one variance for all cells, fixed at the error that pretraining and the first noise leave."""

    log_var: Tensor

    def __init__(self, block: CellBlock) -> None:
        super().__init__(block)
        self.n_outputs = block.n_cells
        self.register_buffer("log_var", torch.zeros(()))

    def log_prob(self, x_RC: Tensor, outputs_RP: Tensor) -> Tensor:
        """Return log N(x; output, the variance)."""
        return gaussian_log_density(x_RC, outputs_RP, self.log_var.expand_as(outputs_RP))

    def mean(self, outputs_RP: Tensor) -> Tensor:
        """Return the outputs."""
        return outputs_RP

    def sample(self, outputs_RP: Tensor, generator: torch.Generator) -> Tensor:
        """Return the outputs plus noise."""
        return outputs_RP + torch.exp(0.5 * self.log_var) * standard_normal(outputs_RP, generator)

    def location(self, outputs_RP: Tensor) -> Tensor:
        """Return the outputs."""
        return outputs_RP

    def residual(self, x_RC: Tensor, outputs_RP: Tensor) -> Tensor:
        """Return x minus the outputs."""
        return x_RC - outputs_RP

    @torch.no_grad()
    def place(self, residual_variance: float) -> None:
        """Set the variance to its maximum-likelihood value, the mean squared error at the start of training."""
        self.log_var.fill_(math.log(max(residual_variance, MIN_VARIANCE)))


@final
class LearnedGaussianLikelihood(Likelihood):
    """Gaussian whose outputs are means, then log-variances (VaDE eq. 2)."""

    def __init__(self, block: CellBlock) -> None:
        super().__init__(block)
        self.n_outputs = 2 * block.n_cells

    def log_prob(self, x_RC: Tensor, outputs_RP: Tensor) -> Tensor:
        """Return log N(x; mean, exp(log-variance))."""
        mean_RC, log_var_RC = outputs_RP.chunk(2, dim=-1)
        return gaussian_log_density(x_RC, mean_RC, log_var_RC.clamp(MIN_LOG_VAR, MAX_LOG_VAR))

    def mean(self, outputs_RP: Tensor) -> Tensor:
        """Return the means."""
        return outputs_RP.chunk(2, dim=-1)[0]

    def sample(self, outputs_RP: Tensor, generator: torch.Generator) -> Tensor:
        """Return the means plus noise."""
        mean_RC, log_var_RC = outputs_RP.chunk(2, dim=-1)
        spread_RC = torch.exp(0.5 * log_var_RC.clamp(MIN_LOG_VAR, MAX_LOG_VAR))
        return mean_RC + spread_RC * standard_normal(mean_RC, generator)


class ColumnVariance(nn.Module):
    """A learned log-variance for each of C columns, which is 0 and has no gradient until it is placed.

    The gradient is 0 rather than absent so that the optimiser and its saved state are the same in pretraining and in
    training.
    """

    placed: Tensor

    def __init__(self, n_columns: int) -> None:
        super().__init__()
        self.log_var_C = nn.Parameter(torch.zeros(n_columns))
        self.register_buffer("placed", torch.zeros(()))

    def forward(self) -> Tensor:
        """Return the log-variances, (C,), within their bounds."""
        return (self.log_var_C * self.placed).clamp(MIN_LOG_VAR, MAX_LOG_VAR)

    @torch.no_grad()
    def place(self, variance: float) -> None:
        """Start every column at this variance and let it be learned from now on."""
        self.log_var_C.fill_(math.log(max(variance, MIN_VARIANCE)))
        self.placed.fill_(1.0)


@final
class ColumnGaussianLikelihood(Likelihood):
    """Gaussian with one learned variance per column, which is 1 in pretraining."""

    def __init__(self, block: CellBlock) -> None:
        super().__init__(block)
        self.n_outputs = block.n_cells
        self.variance = ColumnVariance(block.n_cells)

    def log_prob(self, x_RC: Tensor, outputs_RP: Tensor) -> Tensor:
        """Return log N(x; output, the column's variance)."""
        return gaussian_log_density(x_RC, outputs_RP, self.variance())

    def mean(self, outputs_RP: Tensor) -> Tensor:
        """Return the outputs."""
        return outputs_RP

    def sample(self, outputs_RP: Tensor, generator: torch.Generator) -> Tensor:
        """Return the outputs plus noise."""
        return outputs_RP + torch.exp(0.5 * self.variance()) * standard_normal(outputs_RP, generator)

    def location(self, outputs_RP: Tensor) -> Tensor:
        """Return the outputs."""
        return outputs_RP

    def residual(self, x_RC: Tensor, outputs_RP: Tensor) -> Tensor:
        """Return x minus the outputs."""
        return x_RC - outputs_RP

    def place(self, residual_variance: float) -> None:
        """Start every column at this variance; training learns them from then on."""
        self.variance.place(residual_variance)
