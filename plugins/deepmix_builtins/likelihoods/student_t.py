"""Cells that are real numbers with outliers."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepmix.contracts import Likelihood
from deepmix.data import CellBlock

from .bounds import MAX_LOG_VAR, MIN_LOG_VAR, MIN_VARIANCE
from .draws import standard_gamma, standard_normal

MIN_DF = 2.0
"""Infimum of the degrees of freedom, below which there is no variance."""


START_SHAPE, MAX_SHAPE = 3.0, 100.0
"""The degrees of freedom start at 2 + softplus(3) = 5.05 and end at 102, where the distribution is nearly Gaussian."""


def student_t_log_density(x: Tensor, location: Tensor, log_scale: Tensor, df: Tensor) -> Tensor:
    """Return the log-density of Student's t distribution with a location and a scale, of each element.

    log p = log G((n + 1) / 2) - log G(n / 2) - 1/2 log(n pi) - log s - (n + 1) / 2 log(1 + ((x - m) / s)^2 / n)
    """
    standardised = (x - location) * torch.exp(-log_scale)
    constant = torch.lgamma(0.5 * (df + 1.0)) - torch.lgamma(0.5 * df) - 0.5 * torch.log(math.pi * df) - log_scale
    return constant - 0.5 * (df + 1.0) * torch.log1p(standardised.square() / df)


@final
class StudentTLikelihood(Likelihood):
    """Student's t, for numbers with outliers; scale and degrees of freedom are learned per column.

    Until `place`, the scale is 1 and the degrees of freedom are those of the start, without a gradient.
    """

    placed: Tensor

    def __init__(self, block: CellBlock) -> None:
        super().__init__(block)
        self.n_outputs = block.n_cells
        self.log_scale_C = nn.Parameter(torch.zeros(block.n_cells))
        self.shape_C = nn.Parameter(torch.zeros(block.n_cells))
        self.register_buffer("placed", torch.zeros(()))

    @property
    def df_C(self) -> Tensor:
        """The degrees of freedom of each column, between 2 and 102."""
        return MIN_DF + functional.softplus((START_SHAPE + self.placed * self.shape_C).clamp_max(MAX_SHAPE))

    @property
    def used_log_scale_C(self) -> Tensor:
        """The logarithm of the scale of each column, within its bounds."""
        return (self.log_scale_C * self.placed).clamp(0.5 * MIN_LOG_VAR, 0.5 * MAX_LOG_VAR)

    def log_prob(self, x_RC: Tensor, outputs_RP: Tensor) -> Tensor:
        """Return log t(x), centred at the outputs."""
        return student_t_log_density(x_RC, outputs_RP, self.used_log_scale_C, self.df_C)

    def mean(self, outputs_RP: Tensor) -> Tensor:
        """Return the outputs."""
        return outputs_RP

    def sample(self, outputs_RP: Tensor, generator: torch.Generator) -> Tensor:
        """Return the outputs plus scaled noise N(0, 1) / sqrt(chi2 / n), chi2 = 2 Gamma(n / 2)."""
        noise_RC = standard_normal(outputs_RP, generator)
        df_RC = self.df_C.to(outputs_RP.dtype).expand_as(outputs_RP)
        chi2_RC = 2.0 * standard_gamma((0.5 * df_RC).contiguous(), generator)
        return outputs_RP + torch.exp(self.used_log_scale_C) * noise_RC * torch.sqrt(df_RC / chi2_RC)

    def location(self, outputs_RP: Tensor) -> Tensor:
        """Return the outputs."""
        return outputs_RP

    def residual(self, x_RC: Tensor, outputs_RP: Tensor) -> Tensor:
        """Return x minus the outputs."""
        return x_RC - outputs_RP

    @torch.no_grad()
    def place(self, residual_variance: float) -> None:
        """Start every column at the scale that has this variance, s^2 n / (n - 2); it is learned from then on."""
        variance = max(residual_variance, MIN_VARIANCE)
        self.placed.fill_(1.0)
        self.log_scale_C.copy_(0.5 * torch.log(variance * (self.df_C - 2.0) / self.df_C))
