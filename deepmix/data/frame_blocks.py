"""Blocks of a table's rows, column by column, and how they become data frames."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from deepmix.data.block_share import WHOLE, BlockShare
from deepmix.maths import Array

if TYPE_CHECKING:
    import pandas as pd


class TableBlock(NamedTuple):
    """Some rows of a table."""

    columns: list[tuple[str, Array]]
    """Each column's name and values, (n,): int64, float64, bool, datetime64 or object (text, None where missing)."""
    row_names: Sequence[Any] | None
    """The rows' names, n of them, where the file has any."""
    n_rows: int
    first_row: int = 0
    """The number of the first of them in the file, from 0."""


class BlockReader(abc.ABC):
    """An open table file. Opening it reads no more than is needed to know its columns."""

    notes: list[str]
    """What the user should know about how the file was read, in sentences; complete once all blocks are read."""
    styles: dict[str, list[str]]
    """The names of the columns whose numbers are not written with decimal points, by how they are written."""
    row_names_column: str | None = None
    """The name of the column that row names become where some are missing or equal; None: they become none."""
    first_names: Sequence[Any] | None = None
    """The row names of the file's first block, whoever reads it; known once `blocks` has given something."""

    @abc.abstractmethod
    def blocks(self, share: BlockShare = WHOLE) -> Iterator[TableBlock]:
        """Give the rows block by block, in order, once; a table without rows is one empty block.

        Args:
            share: the blocks that are given, which are the same blocks however many processes share them.

        Raises:
            UsageError: the file has problems; the message lists those of the whole file.
            Exception: whatever the library that reads the format raises at a damaged file.

        """

    def sentences(self) -> tuple[str, ...]:
        """Return the notes so far, those on columns with unusual numbers included."""
        unusual = [f"numbers with a {style} were read in: {listed(names)}" for style, names in self.styles.items()]
        return (*self.notes, *unusual)


def listed(names: Sequence[str], most: int = 5) -> str:
    """Return names in quotes, with the number of those that are too many to list."""
    text = ", ".join(f"'{name}'" for name in names[:most])
    return text if len(names) <= most else f"{text} and {len(names) - most} more"


def can_name_rows(names: Sequence[Any] | None) -> bool:
    """Whether cells can name the rows: all are there, and no two are equal."""
    return names is not None and all(name not in ("", None) for name in names) and len(set(names)) == len(names)


def frame_of(columns: Sequence[tuple[str, Array]], row_names: Sequence[Any] | None, start: int, n: int) -> pd.DataFrame:
    """Return a data frame; text columns have the type object, and rows without names are numbered from `start`."""
    import pandas as pd

    index = pd.RangeIndex(start, start + n) if row_names is None else pd.Index(row_names)
    if columns and {values.dtype.kind for _, values in columns} == {"f"}:  # wide tables: one array is quicker than many
        return pd.DataFrame(np.column_stack([values for _, values in columns]), index, [name for name, _ in columns])
    texts = {name: pd.Series(values, index, object) for name, values in columns if values.dtype.kind == "O"}
    return pd.DataFrame({name: texts.get(name, values) for name, values in columns}, index)


def joined(parts: Sequence[Array]) -> Array | None:
    """Return the values of a column's blocks in one array; None if some blocks are text and others are not.

    Whole numbers join other numbers, and truth values join numbers as 1 and 0.
    """
    if len({part.dtype for part in parts}) == 1:
        return np.concatenate(parts) if len(parts) > 1 else parts[0]
    filled = [part for part in parts if not _is_empty(part)]
    kinds = {part.dtype.kind for part in filled}
    if kinds <= set("bif") and (kinds != {"b"} or len(filled) == len(parts)):
        return np.concatenate([part.astype(np.float64) for part in parts])
    if kinds == {"M"}:
        return np.concatenate(
            [part if part.dtype.kind == "M" else np.full(len(part), "NaT", "datetime64[us]") for part in parts]
        )
    if kinds in ({"O"}, {"b"}) or (kinds == {"O", "b"} and all(map(_is_truths, filled))):
        return np.concatenate([_as_text(part) for part in parts])
    return None


def _is_empty(values: Array) -> bool:
    return (values.dtype.kind == "f" and bool(np.isnan(values).all())) or len(values) == 0


def _is_truths(values: Array) -> bool:
    return values.dtype.kind == "b" or all(value in ("True", "False", None) for value in values)


def _as_text(values: Array) -> Array:
    """Return text, (n,) object, of text, truth values or an empty column."""
    if values.dtype.kind == "O":
        return values
    texts = np.full(len(values), None, dtype=object)
    if values.dtype.kind == "b":
        texts[:] = np.where(values, "True", "False").tolist()
    return texts
