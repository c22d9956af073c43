"""The progress that a person sees during a run: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from deepmix.cli.terminal import echo
from deepmix.errors import printable

if TYPE_CHECKING:  # rich is imported only when something is drawn, so that --help need not wait for it
    from rich.console import Console
    from rich.progress import TaskID

    from deepmix.runs import EpochRecord


UNWRAPPED = 200
"""Width of a table, in characters, if there is no terminal to fit it to."""


PLAIN_LINES = 10
"""Number of epochs per stage that get a line if there is no terminal."""


LINE_ROOM = 100
"""Columns for an epoch's figures if there is no terminal."""


LIVE_COLUMNS = 72
"""Columns of the live line that the figures can't use: the stage, the bar, the epoch and the times."""


class QuietReporter:
    """A reporter that prints nothing."""

    def start(self, stage: str, n_epochs: int) -> None:
        """Print nothing."""

    def epoch(self, stage: str, row: EpochRecord) -> None:
        """Print nothing."""

    def note(self, text: str) -> None:
        """Print nothing."""

    def close(self) -> None:
        """Print nothing."""


class PlainReporter(QuietReporter):
    """A reporter that prints each stage's start and a few of its epochs on standard error."""

    def __init__(self) -> None:
        self._n_epochs, self._started = 0, 0.0

    def start(self, stage: str, n_epochs: int) -> None:
        """Print the stage's name."""
        self._n_epochs, self._started = n_epochs, time.monotonic()
        echo(f"{stage}{f', {n_epochs} epochs' if n_epochs else ''}", err=True)

    def epoch(self, stage: str, row: EpochRecord) -> None:
        """Print the epoch if it is one of about ten per stage."""
        number = row.epoch
        if number == 1 or number == self._n_epochs or number % max(self._n_epochs // PLAIN_LINES, 1) == 0:
            elapsed = time.monotonic() - self._started
            echo(f"  epoch {number}/{self._n_epochs}  {epoch_text(row)}  {elapsed:.0f} s", err=True)

    def note(self, text: str) -> None:
        """Print the note."""
        echo(text, err=True)


class LiveReporter(QuietReporter):
    """A reporter that keeps a live progress line on the terminal."""

    def __init__(self, console: Console) -> None:
        from rich.progress import (
            BarColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<18}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._progress.start()
        self._task: TaskID | None = None

    def start(self, stage: str, n_epochs: int) -> None:
        """Finish the last stage's line and begin another."""
        self._finish()
        self._task = self._progress.add_task(stage, total=n_epochs or 1, status="")

    def epoch(self, stage: str, row: EpochRecord) -> None:
        """Advance the line."""
        if self._task is not None:
            room = self._console.width - LIVE_COLUMNS
            self._progress.update(self._task, completed=row.epoch, status=epoch_text(row, room))

    def note(self, text: str) -> None:
        """Print above the line."""
        self._console.print(printable(text), markup=False, highlight=False)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._finish()
        self._progress.stop()

    def _finish(self) -> None:
        if self._task is not None:
            total = self._progress.tasks[self._task].total
            self._progress.update(self._task, completed=total)
            self._progress.stop_task(self._task)


def table_console() -> Console:
    """Return the console that tables are printed to: standard output, without wrapping if it is not a terminal."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else UNWRAPPED)


def epoch_text(row: EpochRecord, room: int = LINE_ROOM) -> str:
    """Return an epoch's figures: the ELBO, the clusters in use and as many terms of the loss as fit.

    Args:
        row: the epoch.
        room: columns that the text may take.

    """
    parts = [f"ELBO {row.elbo:.2f}"]
    if row.clusters_in_use is not None:
        parts.append(f"{row.clusters_in_use} clusters")
    for name, value in row.terms.items():
        term = f"{name.replace('_', ' ')} {value:.2f}"
        if len("  ".join([*parts, term])) > room:
            break
        parts.append(term)
    return "  ".join(parts)


Reporter = QuietReporter
"""Any of the three reporters."""


def make_reporter(quiet: bool) -> Reporter:
    """Return the reporter that suits standard error."""
    if quiet:
        return QuietReporter()
    from rich.console import Console

    console = Console(stderr=True)
    return LiveReporter(console) if console.is_terminal else PlainReporter()
