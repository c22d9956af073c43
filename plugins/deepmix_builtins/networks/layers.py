"""The papers' fully connected networks, single or in groups of K evaluated together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

NARROW_DATA_FEATURES = 32
"""Below this many columns of an array the narrow trunk is used."""


NARROW_TRUNK = "64-64"
"""Its hidden widths, ours: updates take about half the time of SMALL_TRUNK's and give the same clusters
(benchmarks/results/training.md)."""


NARROW_LR_FACTOR = 3.0
"""Factor of the learning rate for the narrow trunk, a quarter as wide as the small one: at the rate of the small trunk
it could not follow the spirals (index 0.60, where the initial labels have 0.97), at three times that it could."""


@final
class GroupedLinear(nn.Module):
    """K linear layers side by side: one batched matrix product for (K, n, in) -> (K, n, out)."""

    def __init__(self, n_groups: int, n_in: int, n_out: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(n_in)  # the range that nn.Linear draws from
        self.weight_KIO = nn.Parameter(torch.empty(n_groups, n_in, n_out).uniform_(-bound, bound))
        self.bias_KO = nn.Parameter(torch.empty(n_groups, n_out).uniform_(-bound, bound))

    def forward(self, x_KnI: Tensor, groups: Tensor | None = None) -> Tensor:
        """Apply all K layers, or only those whose group numbers are passed in."""
        weight: Tensor = self.weight_KIO
        bias: Tensor = self.bias_KO
        if groups is not None:
            weight, bias = weight[groups], bias[groups]
        return torch.baddbmm(bias.unsqueeze(1), x_KnI, weight)


def grouped_layers(n_groups: int, widths: Sequence[int]) -> nn.ModuleList:
    """Return the layers of K networks between these widths."""
    return nn.ModuleList(GroupedLinear(n_groups, a, b) for a, b in itertools.pairwise(widths))


@torch.no_grad()
def copy_first_group(layer: nn.Module) -> None:
    """Make every group of a layer equal to its first."""
    for parameter in layer.parameters():
        parameter.copy_(parameter[:1].expand_as(parameter).clone())
