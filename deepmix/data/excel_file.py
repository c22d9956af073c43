"""Reads .xlsx files, with openpyxl."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from deepmix.data.block_share import WHOLE, BlockShare
from deepmix.data.file_problems import FileProblems
from deepmix.data.frame_blocks import BlockReader, TableBlock
from deepmix.data.missing_marks import Marks
from deepmix.data.text_cells import read_column, text_column
from deepmix.data.text_layout import column_names, is_header, names_rows
from deepmix.data.typed_columns import typed_column
from deepmix.errors import DeepmixError, UsageError


class ExcelTable(BlockReader):
    """The first sheet of a workbook, with the values that Excel computed.

    It is read whole: a sheet has about a million rows at most.
    """

    def __init__(self, path: Path, marks: Marks, names: Collection[str], text_columns: Collection[str]) -> None:
        try:
            import openpyxl
        except ImportError as error:
            raise DeepmixError(
                "reading .xlsx needs openpyxl; install it with: pip install 'deepmix[excel]', or save the table as CSV"
            ) from error
        self.notes, self.styles = [], {}
        self._name, self._marks, self._text_columns = path.name, marks, text_columns
        with path.open("rb") as file:
            workbook = openpyxl.load_workbook(file, read_only=True, data_only=True)
            sheets = workbook.worksheets
            rows = [list(row) for row in sheets[0].iter_rows(values_only=True)] if sheets else []
            if len(sheets) > 1:
                self.notes.append(f"of the {len(sheets)} sheets, the first was read: '{sheets[0].title}'")
            workbook.close()
        self._rows, self._first_row = _without_empty_edges(rows)
        titles = _n_titles(self._rows)
        if titles:
            self.notes.append(f"the title above the table was left out: '{_text(self._rows[0][0]).strip()}'")
            self._rows, empty = _without_empty_edges(self._rows[titles:])
            self._first_row += titles + empty - 1
        if not self._rows:
            raise UsageError(f"the first sheet of '{path.name}' is empty; give it at least one row")
        texts = [[_text(cell) for cell in row] for row in self._rows[:100]]
        self._header = is_header(texts[0], texts[1:], names)
        n_columns = len(self._rows[0])
        first = texts[0] if self._header else [""] * n_columns
        self._columns = column_names(first)
        if self._header and names_rows(first):
            self.row_names_column = self._columns[0]

    def blocks(self, share: BlockShare = WHOLE) -> Iterator[TableBlock]:
        """Give all rows as one block."""
        problems, rows = FileProblems(self._name), self._rows[self._header :]
        for name, number in Counter(self._columns).items():
            if number > 1:
                problems.add(f"{number} columns are called '{name}'", "give every column a name of its own")
        cells = list(zip(*rows, strict=True)) or [()] * len(self._columns)
        columns = [(name, self._values(name, column)) for name, column in zip(self._columns, cells, strict=True)]
        for name, values in columns:
            if values.dtype.kind == "f":
                for row in np.flatnonzero(np.isinf(values)):
                    problems.add(
                        f"row {row + self._first_row + self._header}, column '{name}' is infinite",
                        "give it a finite number, or leave the cell empty",
                    )
        problems.raise_if_any()
        row_names = [_text(cell).strip() for cell in cells[0]] if self.row_names_column is not None else None
        if share.has(0):
            self.first_names = row_names
            yield TableBlock(columns, row_names, len(rows))

    def _values(self, name: str, cells: tuple[Any, ...]) -> Any:
        """Return a column's values; a column with text in it follows the rules of text tables."""
        if name in self._text_columns:
            return text_column([_text(cell) for cell in cells], self._marks)
        seen = [cell for cell in cells if not self._marks.is_missing(_text(cell))]
        if seen and all(isinstance(cell, datetime.date) for cell in seen):
            dates = [cell if isinstance(cell, datetime.date) else None for cell in cells]
            return typed_column(np.array(dates, dtype=object), self._marks)
        values, style = read_column([_text(cell) for cell in cells], self._marks, "unknown", ";")
        if style != "point":
            self.styles.setdefault(style, []).append(name)
        return values


def _text(cell: Any) -> str:
    """Return a cell as text; a missing one is empty."""
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return str(int(cell))
    return str(cell)


def _n_titles(rows: list[list[Any]]) -> int:
    """Return how many rows at the top hold a text in their first cell alone, above a row with two cells or more."""
    filled = [[i for i, cell in enumerate(row) if _text(cell).strip()] for row in rows]
    n_titles = next((i for i, cells in enumerate(filled) if cells not in ([], [0])), 0)
    are_texts = all(isinstance(rows[i][0], str) for i in range(n_titles) if filled[i])
    return n_titles if are_texts and len(filled[n_titles] if rows else []) > 1 else 0


def _without_empty_edges(rows: list[list[Any]]) -> tuple[list[list[Any]], int]:
    """Return rows of one length, without the empty rows and columns around the table, and the first row's number."""
    filled = [[cell is not None and str(cell).strip() != "" for cell in row] for row in rows]
    n_rows = max((i + 1 for i, row in enumerate(filled) if any(row)), default=0)
    first = next((i for i, row in enumerate(filled) if any(row)), 0)
    n_columns = max((i + 1 for row in filled for i, cell in enumerate(row) if cell), default=0)
    return [(row + [None] * n_columns)[:n_columns] for row in rows[first:n_rows]], first + 1
