"""The interface through which a run reports its progress."""

from __future__ import annotations

from typing import Protocol

from deepmix.runs import EpochRecord


class Reporter(Protocol):
    """The interface through which a run reports its progress."""

    def start(self, stage: str, n_epochs: int) -> None:
        """Report that a stage begins; `n_epochs` is 0 where it is unknown."""

    def step(self, name: str, fraction: float) -> None:
        """Report that a step of a stage without epochs begins; `fraction` of the stage is done, in [0, 1]."""

    def epoch(self, stage: str, row: EpochRecord) -> None:
        """Report that an epoch ended; `row` is its line of metrics.jsonl."""

    def note(self, text: str) -> None:
        """Report something that the user should know."""


class SilentReporter:
    """A reporter that ignores everything."""

    def start(self, stage: str, n_epochs: int) -> None:
        """Ignore the start of a stage."""

    def step(self, name: str, fraction: float) -> None:
        """Ignore the start of a step."""

    def epoch(self, stage: str, row: EpochRecord) -> None:
        """Ignore an epoch."""

    def note(self, text: str) -> None:
        """Ignore a note."""
