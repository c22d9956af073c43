"""How a text table is written: its delimiter, its header, its row names and its decimal mark, from its first rows.

A first row is a header where one of these holds:
    - it has a cell fewer than the rows below, as R writes row names
    - no cell is a number, and no truth value stands in it twice
    - it holds names that the caller expects
    - it counts from 0 or 1, as data frames without names write it
    - a cell of it is text above a number
    - its first cell is empty above distinct cells, and its others count from 0 or 1, or are numbers that name columns
    - its numbers name columns: they rise or fall from each column to the next, and either they are years above rows
      that are not, or there are three or more, most rows below do not rise or fall so, and the numbers have other
      decimals than all cells below or lie outside the range of every column, which chance would hardly do
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import math
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from deepmix.data.missing_marks import USUAL_MARKS, Marks
from deepmix.data.table_file import is_column_number
from deepmix.data.text_cells import DECIMAL_COMMA, THOUSANDS_COMMA, TRUTH_VALUES, DecimalMark, is_number

DELIMITERS = ("\t", ";", "|", ",")
"""What may separate the cells of a row; a space may too, where rows have columns of numbers."""


INDEX_NAMES = ("", "Unnamed: 0")
"""What pandas calls a first column of row names, and what it calls one that it has read and writes again."""


YEARS = range(1800, 2101)
"""Whole numbers that may be years."""


CHANCE = 1e-4
"""A first row that a table of random numbers would have more rarely is a header."""


AMBIGUOUS = re.compile(r"[+-]?\d+,\d+")
"""A line that may be two whole numbers or one number with a decimal comma."""


MOST_CELLS = 1000
"""How many of the first cells are looked at to find the delimiter."""


MARKS = Marks()


@dataclass(frozen=True)
class TextLayout:
    """How a text table is written."""

    delimiter: str
    columns: tuple[str, ...]
    """Names of all columns of a row, by number where they have none."""
    header: bool
    """Whether the first row holds the names."""
    first_names_rows: bool
    """Whether the first column has no name of its own, so that it may hold the rows' names."""
    n_cells: int
    """Number of cells of every row below the header."""
    decimal: DecimalMark


def parse(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """Return the cells of lines, row by row, without blank lines, up to a cell that is too long to be one."""
    rows = []
    with contextlib.suppress(csv.Error):
        for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=True):
            if any(row) or len(row) > 1:
                rows.append(row)
    return rows


def text_layout(lines: Sequence[str], names: Collection[str] = (), delimiter: str | None = None) -> TextLayout | None:
    """Return the layout of a table from its first lines; None if commas may be delimiters as well as decimal marks.

    Args:
        lines: at least one line that is not blank.
        names: names that the columns may have, which make the first row a header.
        delimiter: the delimiter, where it is known.

    """
    if delimiter is None:
        delimiter = find_delimiter(lines)
    rows = parse(lines, delimiter) or [[lines[0].strip()]]
    first, below = rows[0], rows[1:]
    n_cells = Counter(map(len, below)).most_common(1)[0][0] if below else len(first)
    short = bool(below) and n_cells == len(first) + 1
    if short and all(not row[-1].strip() for row in below if len(row) == n_cells):
        short = False  # every row ends with a delimiter, and the header does not
        first = [*first, ""]
    header = short or is_header(first, below, names)
    if delimiter == "," and _is_ambiguous(lines, first, header=header):
        return None
    if short:
        first = ["", *first]
    first_names_rows = header and names_rows(first)
    columns = column_names(first if header else [""] * len(first))
    return TextLayout(
        delimiter, tuple(columns), header, first_names_rows, len(first), _decimal_mark(rows[header:], delimiter)
    )


def names_rows(header: Sequence[str]) -> bool:
    """Whether the first column of a table with such a header has no name of its own, so that it may name the rows."""
    return len(header) > 1 and header[0].strip() in INDEX_NAMES


def column_names(header: Sequence[str]) -> list[str]:
    """Return the names of columns: those of the header, and numbers from 1 for columns without a name."""
    names = [cell.strip() for cell in header]
    if names_rows(names):
        names[0] = ""
    own = set(names)
    return [name or (str(i) if str(i) not in own else f"column {i}") for i, name in enumerate(names, start=1)]


def _is_ambiguous(lines: Sequence[str], first: Sequence[str], *, header: bool) -> bool:
    """Whether the lines may be a column of numbers with decimal commas, or two columns, or row names and a column."""
    numbers = [line.strip() for line in lines if line.strip()]
    if header and len(first) == 1:
        numbers = numbers[1:]
    elif header:
        return False
    return bool(numbers) and all(AMBIGUOUS.fullmatch(line) for line in numbers)


def find_delimiter(lines: Sequence[str]) -> str:
    """Return the delimiter that cuts most lines into equally many cells, and into cells that make sense; else ','."""
    best, best_score = ",", (0.0, 0.0)
    for delimiter in DELIMITERS:
        rows = parse(lines, delimiter)
        if not rows:
            continue
        lengths = Counter(map(len, rows[1:] or rows))
        n_cells = lengths.most_common(1)[0][0]
        if max(n_cells, len(rows[0])) < 2 or (n_cells > 1 and len(rows[0]) < 2 and n_cells != 2):
            continue
        if len(rows[0]) in (n_cells, n_cells - 1):
            consistent = sum(len(row) == n_cells for row in rows[1:]) + (0.99 if len(rows[0]) == n_cells else 0.5)
        else:
            consistent = sum(len(row) == len(rows[0]) for row in rows)
        cells = list(itertools.islice(itertools.chain.from_iterable(rows), MOST_CELLS))
        clean = sum(_makes_sense(cell) for cell in cells) / len(cells)
        if (score := (consistent / len(rows), clean)) > best_score:
            best, best_score = delimiter, score
    if best_score == (0.0, 0.0) and _is_spaced(lines):
        return " "
    return best


def _makes_sense(cell: str) -> bool:
    """Whether a cell is a number, however its decimals are written, or text without a delimiter."""
    cell = cell.strip()
    if DECIMAL_COMMA.fullmatch(cell) or THOUSANDS_COMMA.fullmatch(cell):
        return True
    return not any(mark in cell for mark in DELIMITERS)


def _is_spaced(lines: Sequence[str]) -> bool:
    """Whether spaces cut all lines into equally many cells, with a column of numbers below the first line."""
    rows = parse([line.strip() for line in lines], " ")
    lengths = set(map(len, rows[1:] or rows))
    if not rows or len(lengths) != 1 or max(lengths) < 2 or max(lengths) - len(rows[0]) not in (0, 1):
        return False
    return any(all(map(is_number, column)) for column in zip(*(rows[1:] or rows), strict=True))


def is_header(first: Sequence[str], below: Sequence[Sequence[str]], names: Collection[str] = ()) -> bool:
    """Whether a table's first row holds the names of its columns, by the rules of this module.

    Args:
        first: the cells of the first row.
        below: the cells of the rows below it, as far as they were read.
        names: names that the columns may have.

    """
    first = [cell.strip() for cell in first]
    below = [row for row in below if len(row) == len(first)]
    truths = [cell.lower() for cell in first if cell.lower() in TRUTH_VALUES]
    if not any(_is_numeric(cell) for cell in first) and len(truths) == len(set(truths)):
        return any(first)
    hits = [cell for cell in first if cell in names and not is_column_number(cell, len(first))]
    if any(not is_number(cell) for cell in hits) or (hits and len(hits) == sum(map(bool, first))):
        return True
    if not below:
        return False
    unnamed = first[0] in INDEX_NAMES and len({row[0] for row in below}) == len(below) and all(row[0] for row in below)
    start = 1 if unnamed and len(first) > 1 else 0
    if any(first[start:] == [str(n + i) for i in range(len(first) - start)] for n in (0, 1)):
        return True
    pairs = zip(first, below[0], strict=True)
    if any(_is_numeric(under) and not _is_numeric(cell) and not MARKS.is_missing(cell) for cell, under in pairs):
        return True
    return _numbers_name_columns(first, below)


def _is_numeric(cell: str) -> bool:
    """Whether a cell is a number other than NaN, with a decimal point or a decimal comma."""
    cell = cell.strip()
    return cell.lower() not in USUAL_MARKS and (is_number(cell) or bool(DECIMAL_COMMA.fullmatch(cell)))


def _value(cell: str) -> float:
    cell = cell.strip()
    return float(cell) if is_number(cell) else float(re.sub(r"[.'\u00a0\u202f ]", "", cell).replace(",", "."))


def _decimals(cell: str) -> int:
    """Return how many digits stand behind a number's decimal mark."""
    parts = re.split(r"[.,]", cell.strip().lower().split("e")[0])
    return len(parts[-1]) if len(parts) > 1 else 0


def _is_monotone(numbers: Sequence[float]) -> bool:
    steps = [after - before for before, after in itertools.pairwise(numbers)]
    return bool(steps) and (all(step > 0 for step in steps) or all(step < 0 for step in steps))


def _numbers_name_columns(first: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether the first row's numbers are names, such as years or wavelengths, and no measurements."""
    positions = [i for i, cell in enumerate(first) if _is_numeric(cell)]
    columns = [[row[i] for row in below if _is_numeric(row[i])] for i in positions]
    if len(positions) < 2 or not all(columns):
        return False
    numbers = [_value(first[i]) for i in positions]
    rows = [[_value(row[i]) for i in positions] for row in below if all(_is_numeric(row[i]) for i in positions)]
    if not _is_monotone(numbers) or not rows:
        return False
    if all(map(_is_year, first_numbers := [first[i].strip() for i in positions])):
        return not any(all(_is_year(row[i].strip()) for i in positions) for row in below)
    if len(positions) < 3 or sum(map(_is_monotone, rows)) > len(rows) / 2:
        return False
    decimals_below = {_decimals(cell) for column in columns for cell in column}
    if decimals_below.isdisjoint(map(_decimals, first_numbers)):
        return True
    chance = (2.0 / (len(rows) + 1)) ** len(numbers) * 2.0 / math.factorial(min(len(numbers), 100))
    values = [list(map(_value, column)) for column in columns]
    return chance < CHANCE and all(
        not min(column) <= number <= max(column) for number, column in zip(numbers, values, strict=True)
    )


def _is_year(cell: str) -> bool:
    return cell.isascii() and cell.isdigit() and int(cell) in YEARS


def _decimal_mark(rows: Sequence[Sequence[str]], delimiter: str) -> DecimalMark:
    """Return the decimal mark of the numbers in the first rows."""
    cells = [cell.strip() for row in rows for cell in row]
    if delimiter == "," or any(is_number(cell) and "." in cell and not DECIMAL_COMMA.fullmatch(cell) for cell in cells):
        return "."
    for column in zip(*(row for row in rows if len(row) == len(rows[0])), strict=False):
        seen = [cell.strip() for cell in column if not MARKS.is_missing(cell)]
        if all(DECIMAL_COMMA.fullmatch(cell) for cell in seen) and any("," in cell for cell in seen):
            return ","
    return "unknown"
