"""Weights of the terms of the training objective and their schedule over the epochs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from deepmix.errors import UsageError

ScheduleName = Literal["constant", "linear", "cyclical", "decay"]


N_CYCLES = 4
"""Cycles of the cyclical schedule; Fu et al. (2019) found four sufficient."""


RAMP_FRACTION = 0.5
"""Fraction of training (or of a cycle) during which the weight moves; it then stays at the end value."""


@dataclass(frozen=True)
class ObjectiveOptions:
    """Weights of the KL terms and of the initial labels."""

    beta: float = field(default=1.0, metadata={"help": "weight of the KL terms"})
    beta_schedule: ScheduleName = field(
        default="constant", metadata={"help": "how beta changes between beta_start and beta"}
    )
    beta_start: float = field(default=0.0, metadata={"help": "smallest value of a scheduled beta"})
    hold: float = field(
        default=0.3,
        metadata={
            "help": "fraction of the epochs, at the start, in which the initial labels replace the E-step, "
            "so that the heads can differentiate"
        },
    )
    anchor: float = field(
        default=1.0,
        metadata={
            "help": "weight of the cross-entropy from the initial labels to q(y|x); at 0 they are ignored (and EM-V2 "
            "becomes diffuse), at 10 they determine q(y|x); 1 keeps q(y|x) confident and gives the highest ELBO, which "
            "needs no labels to measure"
        },
    )

    def __post_init__(self) -> None:
        for name in ("beta", "beta_start", "anchor"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{name} must be at least 0 and finite, got {getattr(self, name)}")
        if not 0.0 <= self.hold <= 1.0:
            raise UsageError(f"hold must be between 0 and 1, got {self.hold}")

    def beta_at(self, epoch: int, n_epochs: int) -> float:
        """Return the weight of the KL terms in an epoch, counted from 0."""
        return scheduled_weight(self.beta_schedule, self.beta_start, self.beta, epoch, n_epochs)


def scheduled_weight(name: ScheduleName, start: float, end: float, epoch: int, n_epochs: int) -> float:
    """Return the weight in an epoch.

    Args:
        name: 'constant' is `end` throughout; 'linear' moves from `start` to `end` over the first half;
            'cyclical' repeats that four times; 'decay' moves from `end` down to `start` over the first half.
        start: smallest value of the weight.
        end: largest value of the weight.
        epoch: the epoch, counted from 0.
        n_epochs: total number of epochs.

    """
    if name == "constant":
        return end
    length = max(n_epochs / N_CYCLES, 2.0) if name == "cyclical" else float(n_epochs)
    progress = min((epoch % length) / (RAMP_FRACTION * length), 1.0)
    return end + (start - end) * progress if name == "decay" else start + (end - start) * progress
