"""The headers of a run's safetensors files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deepmix.runs import names
from deepmix.runs.records import Record


@dataclass(frozen=True)
class CheckpointMeta(Record):
    """The header of the checkpoint: where training stood."""

    FILE = names.CHECKPOINT

    stage: Literal["pretrain", "train"]
    epoch: int
    """Epochs done in the stage."""
    n_lines: int
    """Lines of metrics.jsonl that the checkpoint knows of."""
    best: float | None
    """The best value so far of what patience watches; None before the first epoch."""
    stale_epochs: int
    """Epochs since then."""
    seconds: float
    anchor_factor: float = 1.0
    """Factor by which the anchor has grown."""
    lr_factor: float = 1.0
    """Factor by which the learning rate was lowered after updates that were not finite."""


@dataclass(frozen=True)
class ModelHeader(Record):
    """The header of model.safetensors."""

    FILE = names.MODEL

    model: str
    n_components: int


@dataclass(frozen=True)
class InferenceHeader(Record):
    """The header of inference.safetensors: how rows are prepared, and which heads are stored."""

    FILE = names.INFERENCE

    n_features: int
    likelihood: str
    columns: tuple[str, ...] | None
    row_shape: tuple[int, ...] | None
    divisor: float
    scale: Literal["none", "bytes", "standard"]
    image_shape: tuple[int, int, int] | None
    heads: tuple[str, ...]
    n_flags: int = 0
    """Inputs that say which values of a table's rows are missing."""
    n_conditions: int = 0
