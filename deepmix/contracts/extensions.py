"""The interfaces of plugins that are not parts of a model: file formats and trackers.

Metrics, report sections and commands need no class of their own: they are a `deepmix.metrics.Metric`, a function, and a
`click.Command`.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from deepmix.contracts.interfaces import NoOptions
from deepmix.maths import Array


@dataclass(frozen=True)
class FileRows:
    """The rows of a file as a format reads them; a new output becomes a new field."""

    x: Any
    """(N, D) or (N, ...) numbers: a NumPy array, a memory map, a SciPy sparse matrix, or `deepmix.data.StoredRows`,
    which are read when they are needed; or a pandas DataFrame, whose columns then get kinds, as those of a .csv file
    do."""
    labels: Array | None = None
    """(N,) labels of any type, for scoring only; None if there are none, or none were requested."""
    columns: Sequence[str] | None = None
    """Names of an array's columns, (D,)."""
    row_names: Sequence[str] | None = None
    """Names of an array's rows, (N,)."""
    n_train: int | None = None
    """How many of the first rows are for training, where the file says so."""

    def blocks(self, size: int) -> Iterator[tuple[int, Any, Array | None]]:
        """Give all rows in order: the number of a block's first row, the rows, and their names, if they have any.

        Stored rows come `size` at a time, others all together.
        """
        import numpy as np  # here, because --help imports this module

        from deepmix.data import StoredRows

        parts: Iterable[tuple[int, Any]] = [(0, self.x)]
        if isinstance(self.x, StoredRows):
            parts = self.x.blocks(size) if len(self.x) else [(0, self.x[:])]
        for first, rows in parts:
            names = None if self.row_names is None else np.array(self.row_names[first : first + rows.shape[0]])
            yield first, rows, names


class Format(abc.ABC):
    """A format of data files, built as `MyFormat(options)`.

    The name of its entry point is how such files' names end: `h5ad` for 'cells.h5ad', or `tar.gz`.
    """

    Options: ClassVar[type] = NoOptions

    @abc.abstractmethod
    def read(self, path: Path, label_column: str | None) -> FileRows:
        """Read a file, for training or for new rows.

        Args:
            path: the file, which exists.
            label_column: name of the labels in the file; None: no labels are wanted. New rows may come without it.

        Raises:
            UsageError: the file can't be used, or has no such labels and `label_column` is required.
            DeepmixError: the file is damaged. Any other error is reported as damage too.

        """


class Tracker(abc.ABC):
    """A logger of runs, built as `MyTracker(options)`; `--track NAME` requests it.

    A tracker that raises an error is switched off with a warning, and the run goes on without it.
    """

    Options: ClassVar[type] = NoOptions

    @abc.abstractmethod
    def run_started(self, config: Mapping[str, Any], folder: Path | None) -> None:
        """Note that a run begins or is resumed.

        Args:
            config: the content of its config.json.
            folder: its run folder; None for a run in memory.

        """

    @abc.abstractmethod
    def epoch(self, stage: str, record: Mapping[str, Any]) -> None:
        """Note the end of an epoch; `record` is its line of metrics.jsonl, `stage` is 'pretrain' or 'train'."""

    @abc.abstractmethod
    def finished(self, metrics: Mapping[str, Any], folder: Path | None) -> None:
        """Note the end of a run, whose metrics.json and report are written.

        Args:
            metrics: the content of metrics.json.
            folder: its run folder; None for a run in memory.

        """

    def stopped(self, reason: str) -> None:  # noqa: B027 - most trackers need not know
        """Note that the run ended early, by an error or by the user; `reason` is a sentence."""
