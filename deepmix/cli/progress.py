"""The progress that a person sees during a run: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from deepmix.cli.terminal import echo, table_text
from deepmix.errors import printable

if TYPE_CHECKING:  # rich is imported only when something is drawn, so that --help need not wait for it
    from rich.console import Console
    from rich.progress import TaskID
    from rich.text import Text

    from deepmix.runs import EpochRecord


UNWRAPPED = 200
"""Width of a table, in characters, if there is no terminal to fit it to."""


PLAIN_LINES = 10
"""Number of epochs per stage that get a line if there is no terminal."""


LINE_ROOM = 100
"""Columns for an epoch's figures if there is no terminal."""


LIVE_COLUMNS = 72
"""Columns of the live line that the figures can't use: the stage, the bar, the epoch and the times."""


STEP_SECONDS = 10.0
"""A step gets a line of its own, if there is no terminal, once the last line is this many seconds old."""


class StepTimes:
    """When the first and the last step of a stage began, from which the time left follows."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None
        self._last = (0.0, 0.0)

    def step(self, now: float, fraction: float) -> None:
        """Record that a step begins at a time in seconds, when `fraction` of the stage is done, in [0, 1]."""
        self._last = (now, fraction)
        self._first = self._first or self._last

    def seconds_left(self, now: float) -> float | None:
        """Return the seconds that the rest of the stage will take at the same speed; None where that is unknown."""
        if self._first is None:
            return None
        seconds, done = (last - first for first, last in zip(self._first, self._last, strict=True))
        if seconds <= 0.0 or done <= 0.0:
            return None
        left = self._last[0] + seconds * (1.0 - self._last[1]) / done - now
        return left if left >= 0.0 else None


class QuietReporter:
    """A reporter that prints nothing."""

    def start(self, stage: str, n_epochs: int) -> None:
        """Print nothing."""

    def step(self, name: str, fraction: float) -> None:
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
        self._n_epochs, self._started, self._printed = 0, 0.0, 0.0
        self._steps = StepTimes()

    def start(self, stage: str, n_epochs: int) -> None:
        """Print the stage's name."""
        self._n_epochs, self._started, self._steps = n_epochs, time.monotonic(), StepTimes()
        self._printed = self._started
        echo(f"{stage}{f', {n_epochs} epochs' if n_epochs else ''}", err=True)

    def step(self, name: str, fraction: float) -> None:
        """Print the step with the time left if the last line is ten seconds old."""
        now = time.monotonic()
        self._steps.step(now, fraction)
        if now - self._printed >= STEP_SECONDS:
            self._printed = now
            left = self._steps.seconds_left(now)
            about = "" if left is None else f", about {left:.0f} s left"
            echo(f"  {name}  {now - self._started:.0f} s{about}", err=True)

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
            Task,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        class TimeLeftColumn(TimeRemainingColumn):
            """The time left: by the steps of a stage that has them, else by its epochs."""

            def render(self, task: Task) -> Text:
                """Return the time left."""
                steps: StepTimes | None = task.fields["steps"]
                if steps is None:
                    return super().render(task)
                left = steps.seconds_left(time.monotonic())
                text = table_text("-:--:--" if left is None else timedelta(seconds=math.ceil(left)))
                text.stylize("progress.remaining")
                return text

        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<18}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}"),
            TextColumn("{task.fields[status]}", markup=False),
            TimeElapsedColumn(),
            TimeLeftColumn(),
            console=console,
        )
        self._progress.start()
        self._task: TaskID | None = None
        self._n_epochs = 0
        self._steps: StepTimes | None = None

    def start(self, stage: str, n_epochs: int) -> None:
        """Finish the last stage's line and begin another."""
        self._finish()
        self._n_epochs, self._steps = n_epochs, None
        count = f"0/{n_epochs}" if n_epochs else ""
        self._task = self._progress.add_task(stage, total=n_epochs or None, count=count, status="", steps=None)

    def step(self, name: str, fraction: float) -> None:
        """Move the bar on and show the step's name."""
        if self._task is not None:
            self._steps = self._steps or StepTimes()
            self._steps.step(time.monotonic(), fraction)
            count = f"{100.0 * fraction:.0f} %"
            self._progress.update(
                self._task, total=1.0, completed=fraction, count=count, status=printable(name), steps=self._steps
            )

    def epoch(self, stage: str, row: EpochRecord) -> None:
        """Advance the line."""
        if self._task is not None:
            room = self._console.width - LIVE_COLUMNS
            count = f"{row.epoch}/{self._n_epochs}"
            self._progress.update(self._task, completed=row.epoch, count=count, status=printable(epoch_text(row, room)))

    def note(self, text: str) -> None:
        """Print above the line."""
        self._console.print(printable(text), markup=False, highlight=False)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._finish()
        self._progress.stop()

    def _finish(self) -> None:
        if self._task is not None:
            total = self._progress.tasks[self._task].total or 1.0
            self._progress.update(self._task, total=total, completed=total)
            if self._steps is not None:
                self._progress.update(self._task, count="", status="", steps=None)
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
