"""The number of threads of an update: one where more would wait for each other longer than they compute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from deepmix.maths import own_threads

SMALL_UPDATE = 25 * 2**20
"""An update is small if its weights times its rows are at most this. Two threads then hardly save time if they spin
while they wait, and take half as long again if they sleep (`benchmarks/update_threads.py`)."""


CONVOLUTION_DIMENSIONS = 4
"""Dimensions of a convolution's weights, each of which is used at many places of a row."""


@contextmanager
def update_threads(model: nn.Module, n_rows: int, device: torch.device) -> Iterator[None]:
    """Let torch compute with one thread if updates of this many rows are small; give it its threads back afterwards."""
    with own_threads():
        if device.type == "cpu" and is_small_update(model, n_rows):
            torch.set_num_threads(1)
        yield


def is_small_update(model: nn.Module, n_rows: int) -> bool:
    """Whether updates of this many rows are small; those of convolutions are not."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    if any(weight.dim() >= CONVOLUTION_DIMENSIONS for weight in weights):
        return False
    return n_rows * sum(weight.numel() for weight in weights) <= SMALL_UPDATE
