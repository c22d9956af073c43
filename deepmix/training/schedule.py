"""How long and how fast a model is trained: options, stages, and the seed of each epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from deepmix.errors import UsageError

if TYPE_CHECKING:  # `--help` reads the options below without importing torch
    from deepmix.contracts import Model, Stage

STAGES: tuple[Stage, ...] = ("pretrain", "train")


MIN_EPOCHS, MIN_UPDATES = 30, 500
"""An automatic number of epochs is at least MIN_EPOCHS, which matters for large data, and gives at least MIN_UPDATES
updates, which matters for small data."""


BATCH, LARGEST_BATCH, MOST_UPDATES = 128, 1024, 512
"""An automatic batch has BATCH rows (VaDE: 100; 128 is a power of 2 near it), doubled while an epoch has more than
MOST_UPDATES updates and the batch fewer than LARGEST_BATCH rows."""


LEAST_GAIN = 0.01
"""Nats per row; of an autoencoder with unit noise, a gain of a fiftieth of one column's variance."""


LR = 2e-3
"""The learning rate of VaDE, whose networks are 500 wide and whose batches have about BATCH rows."""


@dataclass(frozen=True)
class TrainingOptions:
    """Options for how long and how fast to train."""

    epochs: int | None = field(
        default=None, metadata={"help": "epochs of training; auto: at least 30, and at least 500 updates"}
    )
    pretrain_epochs: int | None = field(
        default=None, metadata={"help": "epochs of autoencoder pretraining; auto: as for epochs"}
    )
    batch_size: int | None = field(
        default=None,
        metadata={
            "help": f"rows per update; auto: {BATCH}, doubled up to {LARGEST_BATCH} while an epoch has more than "
            f"{MOST_UPDATES} updates"
        },
    )
    lr: float | None = field(
        default=None,
        metadata={
            "help": "learning rate at the start of each stage; auto: VaDE's 0.002, more where networks are narrow or "
            "automatic batches are large"
        },
    )
    lr_decay: float = field(
        default=0.1,
        metadata={
            "help": "fraction of the learning rate left at the end of each stage "
            "(geometric, like VaDE's 0.9 every ten epochs)"
        },
    )
    precision: Literal["fp32", "bf16"] | None = field(
        default=None,
        metadata={
            "help": "precision of the networks; densities are always fp32; auto: fp32, but bf16 in the updates of "
            "large networks on a processor with instructions for it"
        },
    )
    hide: float = field(
        default=0.3,
        metadata={
            "help": "fraction of the values in a table's columns with missing values that the encoder does not see in "
            "an update; the decoder reconstructs them all, so that the model learns to do without",
            "before": 0.0,
        },
    )
    patience: int | None = field(
        default=None, metadata={"help": "stop after this many epochs without a better training objective; auto: never"}
    )

    plateau: float = field(
        default=0.15,
        metadata={
            "help": "pretraining whose number of epochs is automatic stops when its log-likelihood has not risen by "
            f"{LEAST_GAIN} nats per row in this fraction of its epochs; 0: it never stops early",
            "before": 0.0,
        },
    )

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("pretrain_epochs", 0), ("batch_size", 1), ("patience", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{name} must be at least {least}, got {value}")
        if self.lr is not None and not (math.isfinite(self.lr) and self.lr > 0.0):
            raise UsageError(f"lr must be above 0, got {self.lr}")
        if not 0.0 <= self.hide < 1.0:
            raise UsageError(f"hide must be at least 0 and below 1, got {self.hide}")
        if not 0.0 <= self.plateau <= 1.0:
            raise UsageError(f"plateau must be between 0 and 1, got {self.plateau}")
        if not 0.0 < self.lr_decay <= 1.0:
            raise UsageError(f"lr_decay must be above 0 and at most 1, got {self.lr_decay}")

    def rows_per_update(self, n_rows: int) -> int:
        """Return how many rows a batch has if there are `n_rows` training rows."""
        if self.batch_size is not None:
            return self.batch_size
        rows = BATCH
        while rows < LARGEST_BATCH and math.ceil(n_rows / rows) > MOST_UPDATES:
            rows *= 2
        return rows

    def n_epochs(self, stage: Stage, n_rows: int) -> int:
        """Return how many epochs a stage has with this many rows."""
        requested = self.pretrain_epochs if stage == "pretrain" else self.epochs
        updates_per_epoch = math.ceil(n_rows / self.rows_per_update(n_rows))
        return max(MIN_EPOCHS, math.ceil(MIN_UPDATES / updates_per_epoch)) if requested is None else requested

    def most_stale_epochs(self, stage: Stage, n_epochs: int) -> int | None:
        """Return after how many epochs without a better objective a stage of this length stops; None: it does not."""
        if stage == "train":
            return self.patience
        if self.plateau == 0.0 or self.pretrain_epochs is not None:
            return None
        return math.ceil(self.plateau * n_epochs)


def planned_epochs(model: Model, options: TrainingOptions, stage: Stage, n_rows: int) -> int:
    """Return how many epochs a stage of this model has: 0 if `Model.place` does the whole fit."""
    return options.n_epochs(stage, n_rows) if learns_by_gradient(model) else 0


def start_lr(model: Model, options: TrainingOptions, n_rows: int) -> float:
    """Return the learning rate of this model at the start of each stage with this many training rows.

    An automatic rate rises with the square root of an automatic batch, as Adam's steps should (Malladi et al. 2022).
    """
    if options.lr is not None:
        return options.lr
    growth = 1.0 if options.batch_size is not None else math.sqrt(options.rows_per_update(n_rows) / BATCH)
    return LR * model.lr_factor * growth


def learns_by_gradient(model: Model) -> bool:
    """Whether any parameter is trained by gradients; other parameters are fitted by `Model.place`."""
    return any(parameter.requires_grad for parameter in model.parameters())


def epoch_seed(seed: int, stage: str, epoch: int) -> int:
    """Return the seed of the generator of an epoch."""
    import numpy as np

    names = (*STAGES, "evaluate")
    return int(np.random.SeedSequence((seed, names.index(stage), epoch)).generate_state(1)[0])
