"""The tracker `tensorboard`: event files for TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from deepmix.contracts import Tracker
from deepmix.errors import UsageError, option

from .figures import epoch_numbers, final_numbers, options, require_client


@dataclass(frozen=True)
class TensorBoardOptions:
    """Options of the tracker."""

    folder: str | None = field(
        default=None, metadata={"help": "folder of the event files; auto: the folder tensorboard in the run folder"}
    )


@final
class TensorBoardTracker(Tracker):
    """TensorBoard: each epoch's figures, the options and the final metrics, as event files in the run folder.

    Pretraining and training have a folder of event files each, so that both count their epochs from 1. A resumed run
    writes a new file, which replaces the epochs that are done again.
    """

    Options = TensorBoardOptions

    def __init__(self, options: TensorBoardOptions) -> None:
        require_client("tensorboard", "tensorboard", "tensorboard")
        self.options = options
        self._writers: dict[str, Any] = {}

    def run_started(self, config: Mapping[str, Any], folder: Path | None) -> None:
        """Choose the folder of the event files; they are opened by the first figures that they hold."""
        if self.options.folder is not None:
            self._folder = Path(self.options.folder)
        elif folder is not None:
            self._folder = folder / "tensorboard"
        else:
            raise UsageError(
                f"a run in memory has no folder for event files; set {option('tracker.tensorboard.folder')}"
            )
        self._config = config

    def _writer(self, part: str, first_step: int) -> Any:
        """Return the writer of a part of the run; what earlier files hold from `first_step` on no longer counts."""
        from torch.utils import tensorboard

        if part not in self._writers:
            make_writer: Any = tensorboard.SummaryWriter  # its functions have no types
            self._writers[part] = make_writer(str(self._folder / part), purge_step=first_step)
        return self._writers[part]

    def epoch(self, stage: str, record: Mapping[str, Any]) -> None:
        """Write the figures of an epoch."""
        step = int(record["epoch"])
        writer = self._writer(stage, step)
        for name, value in epoch_numbers(record).items():
            writer.add_scalar(name, value, step)
        writer.flush()

    def finished(self, metrics: Mapping[str, Any], folder: Path | None) -> None:
        """Write the final metrics, as scalars and beside the options, and close the files."""
        writer, figures = self._writer("final", 0), final_numbers(metrics)
        writer.add_text("config", f"```json\n{json.dumps(dict(self._config), indent=2, default=str)}\n```")
        writer.add_hparams(options(self._config), figures, run_name=".")
        self._close()

    def stopped(self, reason: str) -> None:
        """Write the reason and close the files."""
        self._writer("final", 0).add_text("stopped", reason)
        self._close()

    def _close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()
