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


MOST_VOTING_ROWS = 20_000
"""Largest number of training rows whose neighbours are searched for: the search takes time with its square, and the
more rows there are, the less they gain from it."""


MOST_GROWTH = 100.0
"""Factor by which the anchor would grow if too many rows left their initial clusters in every epoch."""


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
        default=3.0,
        metadata={
            "help": "weight of the cross-entropy from the initial labels to q(y|x), which grows while more rows than "
            "`may_leave` leave their initial cluster; at 0 the labels are ignored (and EM-V2 becomes diffuse)"
        },
    )
    anchor_neighbours: int = field(
        default=5,
        metadata={
            "help": "nearest training rows whose initial labels make up half of a row's label in the anchor; 0: its "
            f"own initial label alone, as for more than {MOST_VOTING_ROWS:,} rows",
            "before": 0,
        },
    )
    may_leave: float = field(
        default=0.02,
        metadata={
            "help": "fraction of the training rows that may leave their initial cluster; in each epoch in which more "
            "do, after `hold`, the anchor grows; 1: it never grows",
            "before": 1.0,
        },
    )

    def __post_init__(self) -> None:
        for name in ("beta", "beta_start", "anchor"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{name} must be at least 0 and finite, got {getattr(self, name)}")
        if self.anchor_neighbours < 0:
            raise UsageError(f"anchor_neighbours must be at least 0, got {self.anchor_neighbours}")
        for name in ("hold", "may_leave"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UsageError(f"{name} must be between 0 and 1, got {getattr(self, name)}")

    def beta_at(self, epoch: int, n_epochs: int) -> float:
        """Return the weight of the KL terms in an epoch, counted from 0."""
        return scheduled_weight(self.beta_schedule, self.beta_start, self.beta, epoch, n_epochs)

    def anchor_growth(self, fraction_left: float, epoch: int, n_epochs: int) -> float:
        """Return the factor by which the anchor grows after an epoch, counted from 0.

        The anchor is the multiplier of a constraint: the bound is maximised as long as few rows leave their initial
        clusters (as in Rezende & Viola 2018, where a multiplier grows while a constraint is not met).

        Args:
            fraction_left: fraction of the rows, in this epoch, whose most probable component is not their initial one.
            epoch: the epoch.
            n_epochs: total number of epochs.

        """
        if epoch < self.hold * n_epochs or fraction_left <= self.may_leave:
            return 1.0
        return float(MOST_GROWTH ** (1.0 / n_epochs))


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
