"""A data file as a table: the names of its columns, and its rows and labels, whole or in blocks."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from deepmix.data.block_share import WHOLE, BlockShare
from deepmix.errors import UsageError
from deepmix.maths import Array

BLOCK_VALUES = 4_000_000
"""How many numbers one block holds: 32 MB of them as float64."""


MOST_LISTED = 12
"""How many of a file's columns a message lists."""


MOST_DIGITS = 18
"""A text of more digits is not the number of a column; Python refuses to read some thousands of them."""


class TableRows(NamedTuple):
    """Some rows of a table with their labels."""

    rows: Any
    """(n, D) or (n, ...), an array, a memory map, a CSR matrix or `StoredRows`."""
    labels: Array | None
    """(n,) of any type; None for new rows, or where there are none."""


@dataclass(frozen=True)
class LabelColumn:
    """Which column of a file holds labels. In training it must be there; new rows may come with or without it."""

    name: str | None
    """The column's name, or its number from 1; of a .npz file, the key of an array; None: there are no labels."""
    n_features: int | None = None
    """For new rows, the number of columns the model takes; None in training."""

    @property
    def training(self) -> bool:
        """Whether the file is read for training, so that its labels are wanted."""
        return self.n_features is None

    def position(self, names: Sequence[str] | None, n_columns: int) -> int | None:
        """Return the label column's position among a file's columns, from 0.

        Args:
            names: the columns' names, if they have any.
            n_columns: how many columns the file has.

        Returns:
            None if there are no labels, or if new rows come without them: the name is not there, or it is a number and
            the file has no column more than the model takes.

        Raises:
            UsageError: the rows are for training and the column is not there.

        """
        if self.name is None:
            return None
        if names is not None and self.name in names:
            return names.index(self.name)
        if not self.training:
            return int(self.name) - 1 if self._is_number(n_columns) and n_columns == self._n_with_labels else None
        if self._is_number(n_columns):
            return int(self.name) - 1
        first = range(min(n_columns, MOST_LISTED))
        listing = ", ".join(names[i] if names is not None else str(i + 1) for i in first)
        listing += ", ..." if n_columns > MOST_LISTED else ""
        raise UsageError(f"there is no label column '{self.name}'; the columns are: {listing}")

    @property
    def _n_with_labels(self) -> int:
        assert self.n_features is not None
        return self.n_features + 1

    def _is_number(self, n_columns: int) -> bool:
        return is_column_number(self.name, n_columns)


def is_column_number(text: str | None, n_columns: int) -> bool:
    """Whether a text is the number of a column, from 1."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > MOST_DIGITS:
        return False
    return 1 <= int(text) <= n_columns


class TableFile(abc.ABC):
    """An open data file. Opening it reads no more than is needed to know its columns."""

    columns: list[str] | None = None
    """Names of the columns in the order of the rows' values, without the label column; None where it has no names."""
    row_names: list[str] | None = None
    """Names of the rows, where they have any."""
    n_train: int | None = None
    """How many of the first rows are for training, where the file says so."""
    n_values: int = 0
    """How many numbers its rows hold in all, where the file says so before they are read."""

    @abc.abstractmethod
    def blocks(self, share: BlockShare = WHOLE) -> Iterator[tuple[int, TableRows]]:
        """Give the rows block by block, in order, once, each with the number of its first row in the file, from 0.

        A block holds about BLOCK_VALUES numbers.

        Args:
            share: the blocks that are given.

        Raises:
            UsageError: a row can't be used; the message names it.
            Exception: whatever the library that reads the format raises at a damaged file.

        """

    @abc.abstractmethod
    def whole(self) -> TableRows:
        """Return all rows at once, in place of `blocks`; the same errors."""

    def stored(self) -> TableRows | None:
        """Return the rows as they stay in the file, with their labels; None if the file must be read whole."""
        return None


def block_rows(n_columns: int) -> int:
    """Return how many rows of so many columns one block holds."""
    return max(BLOCK_VALUES // max(n_columns, 1), 1)


def without_column(rows: Any, position: int | None) -> Any:
    """Return rows (N, D), dense or CSR, without one column; None takes none away."""
    if position is None:
        return rows
    if isinstance(rows, np.ndarray):
        return np.delete(rows, position, axis=1)
    others: npt.NDArray[np.int64] = np.delete(np.arange(rows.shape[1]), position)
    return rows[:, others]
