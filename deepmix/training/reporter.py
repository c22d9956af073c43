"""What a run reports its progress to."""

from __future__ import annotations

from typing import Protocol

from deepmix.runs import EpochRecord


class Reporter(Protocol):
    """What a run reports its progress to."""

    def start(self, stage: str, n_epochs: int) -> None:
        """A stage begins; 0 epochs where their number is not known."""

    def epoch(self, stage: str, row: EpochRecord) -> None:
        """An epoch ended; `row` is its line of metrics.jsonl."""

    def note(self, text: str) -> None:
        """Something the user should know."""


class SilentReporter:
    """A reporter that says nothing."""

    def start(self, stage: str, n_epochs: int) -> None:
        """Ignore the start of a stage."""

    def epoch(self, stage: str, row: EpochRecord) -> None:
        """Ignore an epoch."""

    def note(self, text: str) -> None:
        """Ignore a note."""
