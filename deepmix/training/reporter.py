"""Who hears how a run goes."""

from __future__ import annotations

from typing import Any, Protocol


class Reporter(Protocol):
    """Who is told how a run goes."""

    def start(self, stage: str, n_epochs: int) -> None:
        """A stage begins; 0 epochs where their number is not known."""

    def epoch(self, stage: str, row: dict[str, Any]) -> None:
        """An epoch ended; `row` is its line of metrics.jsonl."""

    def note(self, text: str) -> None:
        """Something the user should know."""


class SilentReporter:
    """A reporter that says nothing."""

    def start(self, stage: str, n_epochs: int) -> None:
        """Ignore the start of a stage."""

    def epoch(self, stage: str, row: dict[str, Any]) -> None:
        """Ignore an epoch."""

    def note(self, text: str) -> None:
        """Ignore a note."""
