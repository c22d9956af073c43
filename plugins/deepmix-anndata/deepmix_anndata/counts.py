"""Counts of genes in cells, modelled with a library size: the decoder gives the genes' shares of a cell's total.

A cell's total depends on how deeply it was sequenced, which says little about its kind. The encoder therefore sees each
cell relative to its total, and the likelihood takes the total as known, so that the latents hold shares alone.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepmix.contracts import Likelihood
from deepmix.data import CellBlock
from deepmix.errors import UsageError
from deepmix.maths import Dims
from deepmix.models import TrunkEncoder

from .reading import library, log_shares

SMALLEST_SHARE, SMALLEST_VARIANCE = 1e-8, 1e-3
"""Floors of a gene's share of all counts, and of its variance beyond the mean."""

LOG_DISPERSION_BOUNDS = (-7.0, 10.0)
"""At exp(10) the distribution is a Poisson one for all purposes."""

LOG_MEAN_BOUNDS = (-20.0, 15.0)
"""Bounds of the logarithm of an expected count."""


@final
class LibraryNegativeBinomial(Likelihood):
    """Negative binomial with mean l s_c, where s are a cell's shares of its total l; one learned dispersion per gene.

    The outputs are C logits, whose softmax are the shares relative to those of all training cells. The total is the sum
    of the cell's counts. The variance is m + m^2 / r for an expected count of m (scVI with the observed library size:
    Lopez et al. 2018). Means and samples are those of a cell with the training cells' mean total.
    """

    support = "count"
    total_is_known = True
    log_share_C: Tensor
    log_library: Tensor

    def __init__(self, block: CellBlock) -> None:
        super().__init__(block)
        self.n_outputs = block.n_cells
        self.register_buffer("log_share_C", torch.full((block.n_cells,), -math.log(block.n_cells)))
        self.register_buffer("log_library", torch.tensor(math.log(block.n_cells)))
        self.log_dispersion_C = nn.Parameter(torch.zeros(block.n_cells))

    @torch.no_grad()
    def start(self, x_NC: Tensor) -> None:
        """Set the genes' shares of all counts, the mean total, and each gene's dispersion.

        The expected count of a gene in a cell is m = l s; 1 / r = sum_cells [(x - m)^2 - m] / sum_cells m^2. Without
        each cell's total in m, the spread of the totals would count as dispersion and hide differences of shares.
        """
        mean_C = x_NC.double().nanmean(0).nan_to_num(0.0)
        total = mean_C.sum().clamp_min(SMALLEST_SHARE)
        share_C = (mean_C / total).clamp_min(SMALLEST_SHARE)
        share_C /= share_C.sum()
        self.log_share_C.copy_(share_C.log())
        self.log_library.copy_(total.log())
        expected_NC = x_NC.double().nansum(1, keepdim=True) * share_C
        excess_C = ((x_NC.double() - expected_NC).square() - expected_NC).nanmean(0).nan_to_num(0.0)
        square_C = expected_NC.square().mean(0).clamp_min(SMALLEST_SHARE)
        dispersion_C = square_C / excess_C.clamp_min(SMALLEST_VARIANCE)
        self.log_dispersion_C.copy_(dispersion_C.log().clamp(*LOG_DISPERSION_BOUNDS))

    def clustering_view(self, x_NC: Any) -> Any:
        """Return the logarithms of the counts at the same total, which the density takes as known."""
        return log_shares(x_NC)

    def _log_mean(self, outputs_RP: Tensor, log_library: Tensor) -> Tensor:
        return ((self.log_share_C + outputs_RP).log_softmax(dim=1) + log_library).clamp(*LOG_MEAN_BOUNDS)

    @property
    def _log_r_C(self) -> Tensor:
        return self.log_dispersion_C.clamp(*LOG_DISPERSION_BOUNDS)

    def log_prob(self, x_RC: Tensor, outputs_RP: Tensor) -> Tensor:
        """Return log NB(x; m, r) = log [G(x + r) / (G(r) x!)] + r log[r / (r + m)] + x log[m / (r + m)]."""
        log_library_R1 = x_RC.sum(dim=1, keepdim=True).clamp_min(1.0).log()
        logit_RC, r_C = self._log_mean(outputs_RP, log_library_R1) - self._log_r_C, self._log_r_C.exp()
        ways_RC = torch.lgamma(x_RC + r_C) - torch.lgamma(r_C) - torch.lgamma(x_RC + 1.0)
        return ways_RC - r_C * functional.softplus(logit_RC) - x_RC * functional.softplus(-logit_RC)

    def mean(self, outputs_RP: Tensor) -> Tensor:
        """Return the expected counts of a cell with the mean total."""
        return self._log_mean(outputs_RP, self.log_library).exp()

    def sample(self, outputs_RP: Tensor, generator: torch.Generator) -> Tensor:
        """Return counts: Poisson ones whose rates are drawn from Gamma(r, scale m / r)."""
        mean_RC = self.mean(outputs_RP)
        r_RC = self._log_r_C.exp().to(mean_RC.dtype).expand_as(mean_RC).contiguous()
        rate_RC = torch._standard_gamma(r_RC, generator=generator) * mean_RC / r_RC
        return torch.poisson(rate_RC.clamp_max(math.exp(LOG_MEAN_BOUNDS[1])), generator=generator)


@dataclass(frozen=True)
class LibraryMlpOptions:
    """Options of the encoder."""

    hidden: str = field(default="256-128", metadata={"help": "hidden widths, data side first"})

    def __post_init__(self) -> None:
        if not all(width.isdecimal() and int(width) > 0 for width in self.hidden.split("-")):
            raise UsageError(f"hidden must be widths such as 256-128, got '{self.hidden}'")


class _Shares(nn.Module):
    """Rows of counts as `log_shares` gives them."""

    def forward(self, x_ND: Tensor) -> Tensor:
        """Return the scaled counts, (N, D)."""
        counts_ND = x_ND.clamp_min(0.0)
        total_N1 = counts_ND.sum(dim=1, keepdim=True).clamp_min(1.0)
        return torch.log1p(counts_ND * (library(x_ND.shape[1]) / total_N1))


@final
class LibraryMlp(TrunkEncoder):
    """A fully connected network on log(1 + counts) of cells scaled to the same total, so that depth does not show."""

    Options = LibraryMlpOptions

    def __init__(self, dims: Dims, options: LibraryMlpOptions) -> None:
        widths = (dims.n_features, *map(int, options.hidden.split("-")))
        layers = [(nn.Linear(a, b), nn.ReLU()) for a, b in itertools.pairwise(widths)]
        trunk = nn.Sequential(_Shares(), *itertools.chain.from_iterable(layers))
        super().__init__(dims, trunk, widths[-1])

    def clustering_view(self, x_ND: Any) -> Any:
        """Return the counts as the network sees them, so that initial clusterings don't see the totals either."""
        return log_shares(x_ND)
