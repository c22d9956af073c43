"""The papers' fully connected networks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import nn


def mlp(widths: Sequence[int], slope: float = 0.0) -> nn.Sequential:
    """Return linear layers between these widths, each followed by a ReLU, which has this slope below 0."""
    layers = [(nn.Linear(a, b), nn.LeakyReLU(slope) if slope else nn.ReLU()) for a, b in itertools.pairwise(widths)]
    return nn.Sequential(*itertools.chain.from_iterable(layers))
