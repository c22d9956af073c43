"""Summaries of figures over several seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """The spread of a figure over several runs."""

    mean: float | None
    """None if no run has the figure."""
    std: float | None
    """Standard deviation of the sample; None for fewer than two values."""
    best: float | None
    values: Sequence[float | None]
    """Each run's value, in the order of the runs; None for a run without the figure."""


def spread(values: Sequence[float | None], best: Callable[[list[float]], float] = max) -> Spread:
    """Return the mean, the standard deviation and the best of the values that are not None."""
    present = [value for value in values if value is not None]
    return Spread(
        mean=float(np.mean(present)) if present else None,
        std=_deviation(present) if len(present) > 1 else None,
        best=best(present) if present else None,
        values=list(values),
    )


def _deviation(values: list[float]) -> float:
    return 0.0 if min(values) == max(values) else float(np.std(values, ddof=1))  # not 1e-16 for equal values
