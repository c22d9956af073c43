"""Cells that are positive and skewed."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from deepmix.contracts import Likelihood
from deepmix.data import CellBlock

from .bounds import MAX_EXPONENT, MIN_VARIANCE
from .draws import standard_normal
from .gaussian import ColumnVariance, gaussian_log_density


@final
class LogNormalLikelihood(Likelihood):
    """Log-normal, for positive cells; one learned variance per column.

    The outputs are the means of log x, in units of the spread that log x has in the training rows, which `start` sets;
    1 before. All errors are on this scale, so that a column of many orders of magnitude weighs no more than others.
    """

    support = "positive"
    spread_C: Tensor

    def __init__(self, block: CellBlock) -> None:
        super().__init__(block)
        self.n_outputs = block.n_cells
        self.variance = ColumnVariance(block.n_cells)
        self.register_buffer("spread_C", torch.ones(block.n_cells))

    @torch.no_grad()
    def start(self, x_NC: Tensor) -> None:
        """Set the spread of the logarithms of each column."""
        log_x_NC = x_NC.double().log()
        deviation_NC = log_x_NC - log_x_NC.nanmean(0)
        variance_C = deviation_NC.square().nanmean(0)
        self.spread_C.copy_(variance_C.nan_to_num(1.0).clamp_min(MIN_VARIANCE).sqrt())

    def log_prob(self, x_RC: Tensor, outputs_RP: Tensor) -> Tensor:
        """Return log N(log x / spread; output, the column's variance) - log spread - log x."""
        log_x_RC = x_RC.log()
        log_density_RC = gaussian_log_density(log_x_RC / self.spread_C, outputs_RP, self.variance())
        return log_density_RC - self.spread_C.log() - log_x_RC

    def mean(self, outputs_RP: Tensor) -> Tensor:
        """Return exp(m + s^2 / 2) for the mean m and the variance s^2 of log x."""
        exponent_RC = self.spread_C * outputs_RP + 0.5 * self.spread_C.square() * self.variance().exp()
        return exponent_RC.clamp(-MAX_EXPONENT, MAX_EXPONENT).exp()

    def sample(self, outputs_RP: Tensor, generator: torch.Generator) -> Tensor:
        """Return exp of the mean of log x plus noise."""
        noise_RC = torch.exp(0.5 * self.variance()) * standard_normal(outputs_RP, generator)
        return (self.spread_C * (outputs_RP + noise_RC)).clamp(-MAX_EXPONENT, MAX_EXPONENT).exp()

    def location(self, outputs_RP: Tensor) -> Tensor:
        """Return the outputs."""
        return outputs_RP

    def residual(self, x_RC: Tensor, outputs_RP: Tensor) -> Tensor:
        """Return log x / spread minus the outputs."""
        return x_RC.log() / self.spread_C - outputs_RP

    def place(self, residual_variance: float) -> None:
        """Start every column at this variance; training learns them from then on."""
        self.variance.place(residual_variance)
