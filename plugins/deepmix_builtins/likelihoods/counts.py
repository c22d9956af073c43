"""Cells that count: 0, 1, 2, ..."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepmix.contracts import Likelihood
from deepmix.data import CellBlock

from .bounds import MAX_LOG_RATE, MIN_LOG_RATE
from .draws import standard_gamma

LARGE_COUNT = 16.0
"""From this count on, log-gamma functions come from Stirling's series, whose error there is below 1e-11."""


MIN_MEAN = 1e-3
"""Floor of a column's mean and of its variance beyond the mean, for columns that are nearly all 0."""


MIN_LOG_DISPERSION, MAX_LOG_DISPERSION = -7.0, 10.0
"""Bounds of the logarithm of the dispersion: at exp(10) the distribution is a Poisson one for all purposes."""


def stirling_rest(a: Tensor) -> Tensor:
    """Return log G(a) - [(a - 1/2) log a - a + 1/2 log 2 pi] for a of at least LARGE_COUNT, by Stirling's series."""
    inverse = 1.0 / a
    square = inverse.square()
    return inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0)))


def poisson_log_mass(x: Tensor, log_rate: Tensor) -> Tensor:
    """Return log Poisson(x; exp(log_rate)) = x log m - m - log x!, in a form that is exact for large counts.

    With d = log m - log x it is x (1 + d - e^d) - [1/2 log 2 pi x + Stirling's rest], whose terms do not cancel.
    """
    at_least_1, large = x.clamp_min(1.0), x.clamp_min(LARGE_COUNT)
    difference = log_rate - at_least_1.log()
    deviance = torch.where(x > 0.0, x * (difference - torch.expm1(difference)), -log_rate.exp())
    small_rest = torch.lgamma(x + 1.0) - x * at_least_1.log() + x
    large_rest = 0.5 * torch.log(2.0 * math.pi * large) + stirling_rest(large)
    return deviance - torch.where(x < LARGE_COUNT, small_rest, large_rest)


def log_binomial(x: Tensor, dispersion: Tensor) -> Tensor:
    """Return log [G(x + r) / (G(r) x!)] for counts x and dispersions r, in a form that is exact for large counts.

    Where x is large, log G(x + r) - log G(x + 1) =
    (x + 1/2) log[(x + r) / (x + 1)] + (r - 1) (log(x + r) - 1) + the rests of Stirling's series.
    """
    large, excess = x.clamp_min(LARGE_COUNT), dispersion - 1.0
    total = large + dispersion
    ratio = (large + 0.5) * torch.log1p(excess / (large + 1.0)) + excess * (total.log() - 1.0)
    ratio = ratio + stirling_rest(total) - stirling_rest(large + 1.0)
    small = torch.lgamma(x + dispersion) - torch.lgamma(x + 1.0)
    return torch.where(x < LARGE_COUNT, small, ratio) - torch.lgamma(dispersion)


def negative_binomial_log_mass(x: Tensor, log_mean: Tensor, log_dispersion: Tensor) -> Tensor:
    """Return log NB(x) with mean m and dispersion r, so that the variance is m + m^2 / r.

    log p = log [G(x + r) / (G(r) x!)] + r log[r / (r + m)] + x log[m / (r + m)]
    """
    logit = log_mean - log_dispersion
    dispersion = log_dispersion.exp()
    successes = -dispersion * functional.softplus(logit) - x * functional.softplus(-logit)
    return log_binomial(x, dispersion) + successes


class CountLikelihood(Likelihood):
    """Counts; each output is the logarithm of the expected count relative to that of the column's training mean."""

    support = "count"
    log_mean_C: Tensor

    def __init__(self, block: CellBlock) -> None:
        super().__init__(block)
        self.n_outputs = block.n_cells
        self.register_buffer("log_mean_C", torch.zeros(block.n_cells))

    @torch.no_grad()
    def start(self, x_NC: Tensor) -> None:
        """Set the mean of each column."""
        mean_C = x_NC.double().nanmean(0).nan_to_num(1.0)
        self.log_mean_C.copy_(mean_C.clamp_min(MIN_MEAN).log())

    def log_rate(self, outputs_RP: Tensor) -> Tensor:
        """Return the logarithm of the expected count, within bounds."""
        return (self.log_mean_C + outputs_RP).clamp(MIN_LOG_RATE, MAX_LOG_RATE)

    def mean(self, outputs_RP: Tensor) -> Tensor:
        """Return the expected count."""
        return self.log_rate(outputs_RP).exp()


@final
class PoissonLikelihood(CountLikelihood):
    """Poisson, for counts; each output is the log rate relative to the log of the column's mean."""

    def log_prob(self, x_RC: Tensor, outputs_RP: Tensor) -> Tensor:
        """Return log Poisson(x)."""
        return poisson_log_mass(x_RC, self.log_rate(outputs_RP))

    def sample(self, outputs_RP: Tensor, generator: torch.Generator) -> Tensor:
        """Return counts."""
        return torch.poisson(self.mean(outputs_RP), generator=generator)


@final
class NegativeBinomialLikelihood(CountLikelihood):
    """Negative binomial, for counts that vary more than Poisson ones; one learned dispersion r per column.

    The variance is m + m^2 / r for an expected count of m. `start` sets r to what the column's variance has it.
    """

    def __init__(self, block: CellBlock) -> None:
        super().__init__(block)
        self.log_dispersion_C = nn.Parameter(torch.zeros(block.n_cells))

    @property
    def used_log_dispersion_C(self) -> Tensor:
        """The logarithm of the dispersion of each column, within its bounds."""
        return self.log_dispersion_C.clamp(MIN_LOG_DISPERSION, MAX_LOG_DISPERSION)

    @torch.no_grad()
    def start(self, x_NC: Tensor) -> None:
        """Set the mean of each column, and the dispersion m^2 / (variance - m)."""
        super().start(x_NC)
        x_NC = x_NC.double()
        mean_C = x_NC.nanmean(0)
        excess_C = ((x_NC - mean_C).square().nanmean(0) - mean_C).clamp_min(MIN_MEAN)
        log_dispersion_C = (mean_C.clamp_min(MIN_MEAN).square() / excess_C).log().nan_to_num(0.0)
        self.log_dispersion_C.copy_(log_dispersion_C.clamp(MIN_LOG_DISPERSION, MAX_LOG_DISPERSION))

    def log_prob(self, x_RC: Tensor, outputs_RP: Tensor) -> Tensor:
        """Return log NB(x)."""
        return negative_binomial_log_mass(x_RC, self.log_rate(outputs_RP), self.used_log_dispersion_C)

    def sample(self, outputs_RP: Tensor, generator: torch.Generator) -> Tensor:
        """Return counts: Poisson ones whose rate is drawn from Gamma(r, scale m / r)."""
        mean_RC = self.mean(outputs_RP)
        dispersion_RC = self.used_log_dispersion_C.exp().to(mean_RC.dtype).expand_as(mean_RC).contiguous()
        rate_RC = standard_gamma(dispersion_RC, generator) * mean_RC / dispersion_RC
        return torch.poisson(rate_RC.clamp_max(math.exp(MAX_LOG_RATE)), generator=generator)
