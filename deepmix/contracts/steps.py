"""The progress of an initial clustering: which step has begun, and which fraction of the work is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate

OnStep = Callable[[str, float], None]
"""Called as a step begins, with its name and the fraction of the work that is done, in [0, 1]."""


def ignore_step(name: str, fraction: float) -> None:
    """Ignore that a step begins."""


@dataclass(frozen=True)
class Progress:
    """Where an initial clustering reports its steps, from which a run shows the time left; nothing need be reported."""

    on_step: OnStep = ignore_step
    low: float = 0.0
    """Fraction of the whole work that is done before this part of it."""
    high: float = 1.0
    """Fraction of the whole work that is done after this part of it."""

    def step(self, name: str, fraction: float) -> None:
        """Report that a step begins.

        Args:
            name: what the step does, in a word or two.
            fraction: fraction of this part's work that is done, in [0, 1]; it must not fall from one step to the next.

        Raises:
            ValueError: the fraction is not in [0, 1].

        """
        if not 0.0 <= fraction <= 1.0:
            raise ValueError(f"the fraction of the work before a step must be in [0, 1], got {fraction}")
        self.on_step(name, self.low + (self.high - self.low) * fraction)

    def steps(self, costs: Mapping[str, float]) -> Callable[[str], None]:
        """Return a function that reports that a step begins, by its name.

        Args:
            costs: how long each step takes, in any unit, by name in order; a step may be left out.

        """
        before = dict(zip(costs, accumulate(costs.values(), initial=0.0), strict=False))
        total = sum(costs.values())
        return lambda name: self.step(name, before[name] / total)

    def part(self, low: float, high: float) -> Progress:
        """Return the progress of a part of this work, which is done from fraction `low` to fraction `high` of it."""
        width = self.high - self.low
        return Progress(self.on_step, self.low + width * low, self.low + width * high)
