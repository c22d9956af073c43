"""Trackers during a run: one that raises an error is switched off with a note, and the run goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from deepmix.contracts import Tracker
from deepmix.experiment.parts import TRACKER, Parts
from deepmix.runs import EpochRecord, Metrics, RunConfig, RunStore
from deepmix.training import Reporter


class Trackers:
    """The trackers of one run."""

    def __init__(self, parts: Parts, folder: RunStore, reporter: Reporter) -> None:
        self._reporter, self._folder = reporter, folder
        self._active: dict[str, Tracker] = {}
        for part, kind in parts.classes.items():
            if part.startswith(TRACKER):
                self._guard(part, partial(self._add, part, kind, parts.options[part]))

    def _add(self, part: str, kind: Any, options: Any) -> None:
        self._active[part] = kind(options)

    def _guard(self, part: str, call: Callable[[], None]) -> None:
        """Make a call to a tracker; if it raises an error, switch the tracker off."""
        try:
            call()
        except Exception as error:  # code that is not ours may fail in any way
            self._active.pop(part, None)
            name = part.removeprefix(TRACKER)
            self._reporter.note(
                f"Warning: tracker '{name}' failed ({type(error).__name__}: {error}) and is off; the run goes on"
            )

    def _tell(self, call: Callable[[Tracker], None]) -> None:
        for part, tracker in tuple(self._active.items()):
            self._guard(part, partial(call, tracker))

    @property
    def _path(self) -> Path | None:
        path = getattr(self._folder, "path", None)
        return path if isinstance(path, Path) and path.is_dir() else None

    def run_started(self) -> None:
        """Report the run's config.json."""
        if self._active:
            config: Mapping[str, Any] = self._folder.read(RunConfig).to_json()
            self._tell(lambda tracker: tracker.run_started(config, self._path))

    def epoch(self, stage: str, row: EpochRecord) -> None:
        """Report an epoch."""
        self._tell(lambda tracker: tracker.epoch(stage, row.to_json()))

    def finished(self, metrics: Metrics) -> None:
        """Report the metrics of the finished run."""
        self._tell(lambda tracker: tracker.finished(metrics.to_json(), self._path))

    def stopped(self, error: BaseException) -> None:
        """Report that the run ended early."""
        reason = str(error) or type(error).__name__
        self._tell(lambda tracker: tracker.stopped(reason))
