"""The papers' fully connected networks, single or in groups of K evaluated together."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from deepmix.errors import UsageError

SMALL_DATA_FEATURES = 128
"""Below this many columns the small trunk is used: for Digits (64 columns), the supplement has 64-256-256-M."""


NARROW_DATA_FEATURES = 32
"""Below this many columns of an array the narrow trunk is used."""


NARROW_TRUNK, SMALL_TRUNK, LARGE_TRUNK = "64-64", "256-256", "500-500-2000"
"""Hidden widths. The small and the large one are the supplement's; the large one is from DEC (VaDE section 4.2). The
narrow one is ours: updates take about half the time and give the same clusters (benchmarks/results/training.md)."""


NARROW_LR_FACTOR = 3.0
"""Factor of the learning rate for the narrow trunk, a quarter as wide as the small one: at the rate of the small trunk
it could not follow the spirals (index 0.60, where the initial labels have 0.97), at three times that it could."""


def trunk_widths(hidden: str, n_features: int) -> tuple[int, ...]:
    """Return the hidden widths for 'auto' or for widths such as '500-500-2000'."""
    if hidden == "auto":
        hidden = SMALL_TRUNK if n_features < SMALL_DATA_FEATURES else LARGE_TRUNK
    return tuple(int(width) for width in hidden.split("-"))


def mlp(widths: Sequence[int]) -> nn.Sequential:
    """Return linear layers, each followed by a ReLU."""
    layers = [(nn.Linear(a, b), nn.ReLU()) for a, b in itertools.pairwise(widths)]
    return nn.Sequential(*itertools.chain.from_iterable(layers))


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


WIDTHS = re.compile(r"[1-9][0-9]*(-[1-9][0-9]*)*")
MOST_WIDTH = 10_000_000
"""Largest width; wider layers fit into no memory."""


def check_hidden(hidden: str) -> None:
    """Raise a UsageError unless `hidden` is 'auto' or widths joined by dashes."""
    if hidden != "auto" and not WIDTHS.fullmatch(hidden):
        raise UsageError(f"hidden must be 'auto' or widths such as 500-500-2000, got '{hidden}'")
    _check_size("hidden", hidden)


def check_narrow(narrow: str) -> None:
    """Raise a UsageError unless `narrow` is widths joined by dashes."""
    if not WIDTHS.fullmatch(narrow):
        raise UsageError(f"narrow must be widths such as {NARROW_TRUNK}, got '{narrow}'")
    _check_size("narrow", narrow)


def _check_size(name: str, widths: str) -> None:
    """Raise a UsageError if one of the widths is above MOST_WIDTH."""
    numbers = [] if widths == "auto" else widths.split("-")
    if any(len(number) > len(str(MOST_WIDTH)) or int(number) > MOST_WIDTH for number in numbers):
        raise UsageError(f"the widths in {name} must be at most {MOST_WIDTH:,}, got '{widths}'")
