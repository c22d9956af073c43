"""Rows that stay in their file and are read when they are needed, a few at a time.

They are read with plain reads and never mapped into memory: the pages of a map count as the process's own memory until
the system takes them back.
"""

from __future__ import annotations

import abc
import copy
import os
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self, final

import numpy as np

from deepmix.data.block_share import WHOLE, BlockShare, block_starts
from deepmix.data.preparation import Preparation
from deepmix.errors import DeepmixError
from deepmix.maths import Array

READ_BYTES = 1 << 20
"""Bytes that one read takes at most, unless a single row has more."""

GAP_BYTES = 1 << 14
"""Rows that lie no further apart than this are read together with what lies between them."""


class StoredRows(abc.ABC):
    """N rows in a file, (N, D). Like an array, it gives rows by a slice or by their numbers, as they are in memory."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    """The type of the values, in the file or after the last step."""
    array_shape: tuple[int, ...]
    """The shape before each row was flattened."""
    row_bytes: int
    """Size of a row in the file, on average."""
    ndim = 2

    _steps: tuple[Callable[[Any], Any], ...] = ()  # what every block passes through when it is read

    def __len__(self) -> int:
        return self.shape[0]

    def prepared(self, preparation: Preparation) -> Self:
        """Return the same rows, prepared whenever they are read: float32, as a model takes them."""
        return self.transformed(preparation.apply)

    def transformed(self, step: Callable[[Any], Any]) -> Self:
        """Return the same rows, passed through one more step whenever they are read.

        Args:
            step: takes and returns rows, (n, D), an array or CSR; each row by itself. It returns float32.

        """
        transformed = copy.copy(self)
        transformed._steps = (*self._steps, step)
        transformed.dtype = np.dtype(np.float32)
        return transformed

    def whole(self) -> Any:
        """Return all rows in memory: an array with the shape that they have in the file, or CSR."""
        rows = self[:]
        return rows.reshape(self.array_shape) if isinstance(rows, np.ndarray) else rows

    def __getitem__(self, rows: Array | slice) -> Any:
        """Return rows, (n, D): of a slice with step 1, or by their numbers in any order.

        Raises:
            DeepmixError: the file has changed since it was opened.

        """
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            assert step == 1
            return self._joined([(start, max(start, stop), None)])
        numbers = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows)
        if len(numbers) > 1 and (numbers[1:] < numbers[:-1]).any():
            distinct, position = np.unique(numbers, return_inverse=True)
            return self[distinct][position]
        return self._joined(list(self._reads(numbers)))

    def blocks(self, size: int | None = None, share: BlockShare = WHOLE) -> Iterator[tuple[int, Any]]:
        """Give the rows in order, or a share of them: the number of a block's first row, and the block.

        Args:
            size: rows of a block; None: those of one read.
            share: the blocks that are read.

        """
        size = self.rows_per_read if size is None else size
        for start in block_starts(len(self), size, share):
            yield start, self[start : start + size]

    @property
    def values_per_row(self) -> int:
        """How many numbers a row takes in memory, on average."""
        return self.shape[1]

    @property
    def rows_per_read(self) -> int:
        """How many rows one read takes."""
        return max(READ_BYTES // max(self.row_bytes, 1), 1)

    def _reads(self, numbers: Array) -> Iterator[tuple[int, int, Array | None]]:
        """Give the reads for ascending row numbers: first row, end, and which of the rows between are wanted."""
        size, gap = self.rows_per_read, max(GAP_BYTES // max(self.row_bytes, 1), 1)
        start = 0
        apart = np.flatnonzero(np.diff(numbers) > gap) + 1
        for end in [*apart.tolist(), len(numbers)]:
            while start < end:
                first = int(numbers[start])
                stop = min(int(np.searchsorted(numbers[start:end], first + size)) + start, end)
                yield first, int(numbers[stop - 1]) + 1, numbers[start:stop] - first
                start = stop

    def _joined(self, reads: list[tuple[int, int, Array | None]]) -> Any:
        """Return the rows of some reads, prepared, one after the other."""
        if len(reads) == 1:
            return self._part(*reads[0])
        n_rows = sum(end - first if wanted is None else len(wanted) for first, end, wanted in reads)
        return self._concatenated((self._part(*read) for read in reads), n_rows) if reads else self[0:0]

    def _part(self, first: int, end: int, wanted: Array | None) -> Any:
        rows = self._read(first, end)
        rows = rows if wanted is None or len(wanted) == end - first else rows[wanted]
        for step in self._steps:
            rows = step(rows)
        return rows

    @abc.abstractmethod
    def _read(self, first: int, end: int) -> Any:
        """Return rows as they are in the file, `first` to `end` - 1."""

    def _concatenated(self, parts: Iterator[Any], n_rows: int) -> Any:
        """Return rows that are read one part after the other, (n_rows, D)."""
        rows = np.empty((n_rows, self.shape[1]), self.dtype)
        start = 0
        for part in parts:  # one at a time, so that all of them need memory once
            rows[start : start + len(part)] = part
            start += len(part)
        return rows


class StoredValues:
    """The values of one array in a file, read by position."""

    def __init__(self, path: Path, offset: int, dtype: np.dtype[Any]) -> None:
        self._path, self._offset, self._dtype = path, offset, dtype
        self._file = path.open("rb", buffering=0)
        weakref.finalize(self, self._file.close)
        self._stamp = self._stamp_now()

    def read(self, first: int, end: int) -> Array:
        """Return the values `first` to `end` - 1.

        Raises:
            DeepmixError: the file has changed since it was opened.

        """
        values = np.empty(end - first, self._dtype)
        if end > first:
            self._file.seek(self._offset + first * self._dtype.itemsize)
            n_bytes = self._file.readinto(values.view(np.uint8).data)
            if n_bytes < values.nbytes or self._stamp_now() != self._stamp:
                raise DeepmixError(
                    f"'{self._path}' has changed while it was in use; start again with the file as it is"
                )
        return values

    def _stamp_now(self) -> tuple[int, int]:
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns


@final
class StoredArray(StoredRows):
    """Rows of an array in a .npy file, or in a .npz file that is not compressed."""

    def __init__(
        self, path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], left_out: int | None = None
    ) -> None:
        """Open the file.

        Args:
            path: the file.
            offset: where the values begin, in bytes.
            shape: (N, D), or (N, ...), whose rows are flattened.
            dtype: type of the values.
            left_out: a column that is left out, such as one of labels.

        """
        self._n_stored = int(np.prod(shape[1:], dtype=np.int64)) if len(shape) > 1 else 1
        self.shape, self.dtype = (shape[0], self._n_stored - (left_out is not None)), dtype
        self.array_shape = shape if left_out is None else self.shape
        self.row_bytes = self._n_stored * dtype.itemsize
        self._left_out = left_out
        self._values = StoredValues(path, offset, dtype)

    def column(self, position: int) -> Array:
        """Return one column of the file, (N,), the one that is left out included."""
        size = self.rows_per_read
        return np.concatenate(
            [self._whole(first, min(first + size, len(self)))[:, position] for first in range(0, len(self), size)]
        )

    def _read(self, first: int, end: int) -> Array:
        rows = self._whole(first, end)
        return rows if self._left_out is None else np.delete(rows, self._left_out, axis=1)

    def _whole(self, first: int, end: int) -> Array:
        return self._values.read(first * self._n_stored, end * self._n_stored).reshape(-1, self._n_stored)
