"""How a CSV file is laid out, its rows as numbers, and what is wrong with one."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from deepmix.errors import UsageError
from deepmix.maths import Array

DELIMITERS = (",", ";", "\t")


def is_position(wanted: str | None, n_columns: int) -> bool:
    """Whether it is a column's number, from 1."""
    return wanted is not None and wanted.isdigit() and 1 <= int(wanted) <= n_columns


def open_text(path: Path) -> io.TextIOBase:
    """Open a text file, compressed or not."""
    opener: Any = gzip.open if path.suffix == ".gz" else open
    text: io.TextIOBase = opener(path, "rt", encoding="utf-8-sig", newline="")
    return text


@dataclass(frozen=True)
class CsvLayout:
    """How a CSV file is written."""

    TABLE: ClassVar[dict[str, Any]] = {"quotechar": '"', "comments": None}
    """What else `np.loadtxt` is told."""

    delimiter: str
    columns: list[str]
    """Names, or numbers from 1 where there is no header."""
    header: bool


def csv_layout(first_line: str, second_line: str, label_column: str | None) -> CsvLayout:
    """Tell a CSV file's layout from its first two lines; a first line with the label column's name is a header.

    A label column that can be a column's number is one.
    """
    delimiter = max(DELIMITERS, key=first_line.count)
    first = next(csv.reader([first_line], delimiter=delimiter))
    second = next(csv.reader([second_line], delimiter=delimiter), [])
    counted = [[str(start + i) for i in range(len(first))] for start in (0, 1)]
    header = (
        not any(map(is_number, first))
        or (label_column in first and not is_position(label_column, len(first)))
        or first in counted  # column numbers, as data frames write them
        or any(
            is_number(below) and not is_number(cell) and not is_missing(cell)
            for cell, below in zip(first, second, strict=False)
        )
    )
    columns = [cell.strip() for cell in first] if header else [str(i + 1) for i in range(len(first))]
    return CsvLayout(delimiter, columns, header)


def csv_numbers(lines: Iterable[str], layout: CsvLayout, left_out: int | None, skip: int = 0) -> Array:
    """Return a CSV's rows as numbers, (N, D) float64, without one column; the first `skip` lines are passed over.

    Raises:
        ValueError: a cell is no number, or a row has more or fewer cells than the layout.

    """
    ignored = None if left_out is None else {left_out: lambda cell: 0.0}  # usecols would pass over what is too much
    table: dict[str, Any] = {"delimiter": layout.delimiter, "skiprows": skip, "converters": ignored, **CsvLayout.TABLE}
    x = np.loadtxt(lines, ndmin=2, dtype=np.float64, **table)
    if x.shape[1] != len(layout.columns):
        raise ValueError(f"rows of {x.shape[1]} cells below a first line of {len(layout.columns)}")
    return x if left_out is None else np.delete(x, left_out, axis=1)


def is_missing(cell: str) -> bool:
    """Whether a cell holds one of the usual marks of a missing value."""
    return cell.strip().lower() in ("", "na", "n/a", "nan", "null", "none", "?")


def is_number(cell: str) -> bool:
    """Whether a cell can be read as a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def explain_csv(lines: Iterable[str], name: str, layout: CsvLayout, numeric: list[int], first_line: int) -> None:
    """Find what stops a CSV's rows from being numbers and say so: columns of text, an empty cell, a short row.

    Args:
        lines: the rows, without the header.
        name: the file's.
        layout: how it is written.
        numeric: positions of the columns that must be numbers.
        first_line: number of the first of the lines in the file, from 1.

    Raises:
        UsageError: it was found.

    """
    columns = layout.columns
    text_cells: dict[int, tuple[int, str]] = {}
    for number, cells in enumerate(csv.reader(lines, delimiter=layout.delimiter), start=first_line):
        if not cells:
            continue
        if len(cells) != len(columns):
            raise UsageError(
                f"line {number} of '{name}' has {len(cells)} cells and the first has {len(columns)}; give every line "
                "as many, with quotes around a cell that holds a separator"
            )
        for column in numeric:
            if column not in text_cells and not is_number(cells[column]):
                text_cells[column] = (number, cells[column])
    for column, (number, cell) in text_cells.items():
        if not cell.strip():
            raise UsageError(
                f"line {number}, column '{columns[column]}' of '{name}' is empty; fill in or remove missing values"
            )
    if text_cells:
        listed = ", ".join(
            f"'{columns[column]}' (line {line}: '{cell}')" for column, (line, cell) in text_cells.items()
        )
        raise UsageError(
            f"'{name}' has columns that are not numbers: {listed}; encode or remove them, "
            "or name the labels with --label-column"
        )
