"""Row numbers of one side of a split as one bit per row of the data set, where eight bytes per number would be many."""

from __future__ import annotations

from typing import Any, final

import numpy as np

from deepmix.maths import Array

BLOCK = 4096
"""Rows whose bits are unpacked together; a multiple of 8."""


@final
class RowNumbers:
    """Ascending row numbers. Like an array, it gives numbers by their positions, (n,) int64.

    NumPy's functions take it as an array of all numbers, which then is in memory.
    """

    ndim, dtype = 1, np.dtype(np.int64)

    def __init__(self, chosen_N: Array) -> None:
        """Take the numbers at which a boolean array of all rows, (N,), is true."""
        self._bits, self._n_rows = np.packbits(chosen_N, bitorder="little"), len(chosen_N)
        counts = [np.count_nonzero(chosen_N[start : start + BLOCK]) for start in range(0, len(chosen_N), BLOCK)]
        self._before = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        """How many of the numbers lie before each block, and in all."""

    def __len__(self) -> int:
        return int(self._before[-1])

    @property
    def shape(self) -> tuple[int]:
        """How many numbers there are, as arrays say it."""
        return (len(self),)

    def mask(self, first: int, end: int) -> Array:
        """Return whether each of the rows `first` to `end` - 1 is among the numbers, (end - first,) bool."""
        start = first // 8 * 8
        bits = np.unpackbits(self._bits[start // 8 : -(-end // 8)], bitorder="little")
        return np.asarray(bits[first - start : end - start].astype(bool))

    def __getitem__(self, positions: Array | slice) -> Array:
        if isinstance(positions, slice):
            positions = np.arange(*positions.indices(len(self)))
        positions = np.flatnonzero(positions) if np.asarray(positions).dtype == bool else np.asarray(positions)
        numbers = np.empty(len(positions), dtype=np.int64)
        block_N = np.searchsorted(self._before, positions, side="right") - 1
        cuts = np.flatnonzero(np.diff(block_N)) + 1
        for start, end in zip([0, *cuts.tolist()], [*cuts.tolist(), len(positions)], strict=True):
            if start < end:
                block = int(block_N[start])
                own = np.flatnonzero(self.mask(block * BLOCK, min((block + 1) * BLOCK, self._n_rows)))
                numbers[start:end] = block * BLOCK + own[positions[start:end] - self._before[block]]
        return numbers

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self[:] if dtype is None else self[:].astype(dtype)


def numbers_within(numbers: Array | RowNumbers, first: int, end: int) -> Array:
    """Return which of the rows `first` to `end` - 1 are among ascending row numbers, counted from `first`, int64."""
    if isinstance(numbers, RowNumbers):
        return np.flatnonzero(numbers.mask(first, end))
    start, stop = np.searchsorted(numbers, [first, end])
    return np.asarray(numbers[start:stop] - first)
