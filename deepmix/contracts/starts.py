"""What a model sees of the training rows between its batches: when an epoch starts, and when it is placed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from deepmix.contracts.batch import Batch, Stage
from deepmix.maths import Gaussian

Batches = Callable[[], Iterator[Batch]]
"""Returns all training rows, in order, in batches that have `row_N` and, after pretraining, `label_N`."""


def no_batches() -> Iterator[Batch]:
    """Return no batch; it stands for training rows that the caller does not have."""
    return iter(())


@dataclass(frozen=True)
class EpochStart:
    """The start of an epoch; a new input becomes a new field."""

    stage: Stage
    number: int
    """Number of the epoch in its stage, from 0."""
    n_epochs: int
    """Planned number of epochs of the stage."""
    n_rows: int
    """N, the number of training rows."""
    batches: Batches
    """All training rows; each call is a pass over them."""


@dataclass(frozen=True)
class Placement:
    """The pretrained autoencoder's output and an initial clustering, from which a model starts its mixture."""

    code_NM: Tensor
    """Codes of all training rows."""
    squared_error_N: Tensor
    """The autoencoder's mean squared error on each row, in squared units of the data."""
    label_N: Tensor
    """Initial cluster of each row, int64 in [0, K); -1: noise, or unknown in a model that learns from labels."""
    weight_N: Tensor | None = None
    """Weights of the rows, with mean 1; None: all rows count alike."""
    batches: Batches = no_batches
    """The training rows themselves."""


@dataclass(frozen=True)
class PriorPlacement:
    """An initial clustering of the latents, from which a prior starts."""

    z_NM: Tensor
    """The latents of all training rows: codes rescaled to unit spread, which are now the encoder's means."""
    label_N: Tensor
    """Initial cluster of each row, int64 in [0, K); -1: noise, which belongs to no cluster."""
    components: Gaussian
    """Moments of each cluster's latents, (K, M)."""
    weight_K: Tensor
    """Weights of the clusters, which sum to 1."""
    weight_N: Tensor | None = None
    """Weights of the rows, with mean 1; None: all rows count alike."""
    batches: Batches = no_batches
    """The training rows themselves."""
