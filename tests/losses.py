"""A model's loss in one line, for tests."""

from __future__ import annotations

import torch
from torch import Tensor

from deepmix.contracts import Batch, Loss, Model, Phase


def loss_of(
    model: Model,
    x: Tensor,
    generator: torch.Generator | None = None,
    *,
    beta: float = 1.0,
    anchor: float = 0.0,
    labels: Tensor | None = None,
    hold: bool = False,
    neighbours: Tensor | None = None,
) -> Loss:
    """Return the model's loss on these rows as one training batch."""
    phase = Phase("train", beta, anchor, hold)
    beside = None if neighbours is None else Batch(neighbours)
    loss: Loss = model(Batch(x, generator, phase, torch.arange(len(x)), labels, beside))
    return loss
