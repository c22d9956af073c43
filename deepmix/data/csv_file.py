"""Reads .csv and .csv.gz files, and says what is wrong with one."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import TextIOBase
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from deepmix.data.table_file import LabelColumn, TableFile, TableRows, block_rows, is_column_number, join_blocks
from deepmix.errors import DeepmixError, UsageError, option
from deepmix.maths import Array

DELIMITERS = (",", ";", "\t")


TRUTH_VALUES = {"true": 1.0, "false": 0.0}
"""The numbers that stand for a truth value's name, however it is capitalised."""


def open_text(path: Path) -> TextIOBase:
    """Open a text file; one whose name ends with .gz is compressed."""
    opener: Any = gzip.open if path.suffix.lower() == ".gz" else open
    text: io.TextIOBase = opener(path, "rt", encoding="utf-8-sig", newline="")
    return text


@dataclass(frozen=True)
class CsvLayout:
    """How a CSV file is written."""

    TABLE: ClassVar[dict[str, Any]] = {"quotechar": '"', "comments": None}
    """Further arguments of `np.loadtxt`."""

    delimiter: str
    columns: list[str]
    """Names, or numbers from 1 where there is no header."""
    header: bool


def csv_layout(first_line: str, second_line: str, label_column: str | None) -> CsvLayout:
    """Return a CSV file's layout, from its first two lines; a first line with the label column's name is a header.

    A label column that can be a column's number is one.
    """
    delimiter = max(DELIMITERS, key=first_line.count)
    first = next(csv.reader([first_line], delimiter=delimiter))
    second = next(csv.reader([second_line], delimiter=delimiter), [])
    counted = [[str(start + i) for i in range(len(first))] for start in (0, 1)]
    truths = [cell.strip().lower() for cell in first if cell.strip().lower() in TRUTH_VALUES]
    header = (
        (not any(map(is_number, first)) and len(truths) == len(set(truths)))  # names do not repeat, values do
        or (label_column in first and not is_column_number(label_column, len(first)))
        or first in counted  # column numbers, as data frames write them
        or any(
            is_number(below) and not is_number(cell) and not is_missing(cell)
            for cell, below in zip(first, second, strict=False)
        )
    )
    columns = [cell.strip() for cell in first] if header else [str(i + 1) for i in range(len(first))]
    return CsvLayout(delimiter, columns, header)


class CsvFile(TableFile):
    """Lines of cells, read as float64; a cell may also be True or False."""

    def __init__(self, lines: TextIOBase, name: str, label: LabelColumn) -> None:
        """Read the first two lines.

        Args:
            lines: the text, from its first line.
            name: what messages call it.
            label: which column holds labels.

        """
        self._first = [line for line in (lines.readline(), lines.readline()) if line]
        if not self._first:
            raise UsageError(f"'{name}' is empty; give it a row at least")
        self._lines, self._name, self._training = lines, name, label.training
        self._layout = csv_layout(self._first[0], "".join(self._first[1:]), label.name)
        names = self._layout.columns
        self._label = label.position(names if self._layout.header else None, len(names))
        self._numeric = [i for i in range(len(names)) if i != self._label]
        self.columns = [names[i] for i in self._numeric] if self._layout.header else None

    def blocks(self) -> Iterator[TableRows]:
        """Give the rows block by block."""
        rest = itertools.chain(self._first[self._layout.header :], self._lines)
        number = 1 + self._layout.header
        while chunk := whole_rows(rest, block_rows(len(self._layout.columns))):
            if any(not line.isspace() for line in chunk):
                yield self._rows(chunk, number)
            number += len(chunk)

    def whole(self) -> TableRows:
        """Return all rows in one array."""
        return join_blocks(self.blocks(), len(self._numeric))

    def _rows(self, chunk: list[str], first_line: int) -> TableRows:
        try:
            rows = csv_numbers(chunk, self._layout, self._label)
        except ValueError as error:
            explain_csv(chunk, self._name, self._layout, self._numeric, first_line)
            raise DeepmixError(f"'{self._name}' is not a table of numbers ({error}); check its cells") from error
        if self._label is None or not self._training:
            return TableRows(rows, None)
        table = {"delimiter": self._layout.delimiter, "ndmin": 1, "dtype": str, **CsvLayout.TABLE}
        return TableRows(rows, np.loadtxt(chunk, usecols=[self._label], **table))


def whole_rows(lines: Iterator[str], n_lines: int) -> list[str]:
    """Return the next lines, and as many more as a quoted cell goes on for."""
    chunk = list(itertools.islice(lines, n_lines))
    open_quote = sum(line.count('"') for line in chunk) % 2 == 1
    while open_quote and (line := next(lines, "")):
        chunk.append(line)
        open_quote = line.count('"') % 2 == 0
    return chunk


def csv_numbers(lines: list[str], layout: CsvLayout, label: int | None) -> Array:
    """Return a CSV's rows as numbers, (N, D) float64, without the label column.

    Raises:
        ValueError: a cell is not a number or a truth value, or a row has more or fewer cells than the layout.

    """
    ignored: dict[int | str, Any] = {}
    if label is not None:
        ignored[label] = lambda cell: 0.0  # `usecols` would not notice further cells
    table: dict[str, Any] = {"delimiter": layout.delimiter, "ndmin": 2, "dtype": np.float64, **CsvLayout.TABLE}
    try:
        x = np.loadtxt(lines, converters=ignored or None, **table)
    except ValueError:  # truth values, perhaps: converters take ten times as long
        converters: dict[int | str, Any] = {**dict.fromkeys(range(len(layout.columns)), number_of), **ignored}
        x = np.loadtxt(lines, converters=converters, **table)
    if x.shape[1] != len(layout.columns):
        raise ValueError(f"rows of {x.shape[1]} cells below a first line of {len(layout.columns)}")
    return x if label is None else np.delete(x, label, axis=1)


def number_of(cell: str) -> float:
    """Return a cell's number; True is 1 and False is 0.

    Raises:
        ValueError: it is neither a number nor a truth value.

    """
    known = TRUTH_VALUES.get(cell.strip().lower())
    if known is None and "_" in cell:  # Python takes 1_000 for a number
        raise ValueError(f"'{cell}' is not a number")
    return float(cell) if known is None else known


def is_missing(cell: str) -> bool:
    """Whether a cell holds one of the usual marks of a missing value."""
    return cell.strip().lower() in ("", "na", "n/a", "nan", "null", "none", "?")


def is_number(cell: str) -> bool:
    """Whether a cell can be read as a number; the name of a truth value is none."""
    try:
        return cell.strip().lower() not in TRUTH_VALUES and number_of(cell) is not None
    except ValueError:
        return False


def explain_csv(lines: Iterable[str], name: str, layout: CsvLayout, numeric: list[int], first_line: int) -> None:
    """Say what stops a CSV's rows from being numbers: a short row, a missing value, columns of text.

    Args:
        lines: the rows, without the header.
        name: the file's.
        layout: how it is written.
        numeric: positions of the columns that must be numbers.
        first_line: number of the first of the lines in the file, from 1.

    Raises:
        UsageError: the cause was found.

    """
    columns = layout.columns
    text_cells: dict[int, tuple[int, str]] = {}
    missing_cells: dict[int, tuple[int, str]] = {}
    for number, cells in enumerate(csv.reader(lines, delimiter=layout.delimiter), start=first_line):
        if not cells:
            continue
        if len(cells) != len(columns):
            raise UsageError(
                f"line {number} of '{name}' has {len(cells)} cells and the first has {len(columns)}; give every line "
                "as many, with quotes around a cell that holds a separator"
            )
        for column in numeric:
            cell = cells[column]
            if not is_number(cell) and cell.strip().lower() not in TRUTH_VALUES:
                (missing_cells if is_missing(cell) else text_cells).setdefault(column, (number, cell))
    for column, (number, cell) in missing_cells.items():
        if column not in text_cells:
            state = f"'{cell}'" if cell.strip() else "empty"
            raise UsageError(
                f"line {number}, column '{columns[column]}' of '{name}' is {state}; fill in or remove missing values"
            )
    if text_cells:
        listed = ", ".join(
            f"'{columns[column]}' (line {line}: '{cell}')" for column, (line, cell) in text_cells.items()
        )
        raise UsageError(
            f"'{name}' has columns that are not numbers: {listed}; encode or remove them, "
            f"or name the labels with {option('label_column')}"
        )
