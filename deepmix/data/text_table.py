"""Reads tables of text: .csv, .tsv and .txt files, also compressed as .gz."""

from __future__ import annotations

import csv
import gzip
import itertools
import math
import re
from collections import Counter, deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np

from deepmix.data.block_share import WHOLE, BlockShare
from deepmix.data.file_problems import FileProblems
from deepmix.data.frame_blocks import BlockReader, TableBlock
from deepmix.data.missing_marks import Marks
from deepmix.data.table_file import block_rows
from deepmix.data.text_cells import read_column, text_column
from deepmix.data.text_layout import DELIMITERS, TextLayout, text_layout
from deepmix.errors import UsageError

SAMPLE_LINES = 100
"""How many lines are read to find out how a table is written."""


SAMPLE_CHARACTERS, LEAST_LINES = 100_000, 5
"""Number of characters after which the sample ends, and its least number of lines."""


MOST_LINE_CHARACTERS = 4_000_000
"""Longest line that is read."""


MOST_UNPACKED, LEAST_UNPACKED = 100, 10_000_000
"""How many times its size a compressed file may unpack to, and the number of characters that it may in any case."""


MOST_COLUMNS = 250_000
"""Most cells of a line: a cell takes about 700 bytes of memory as text, in pandas and as a column of its own."""


MOST_QUOTED_LINES = 1000
"""Number of additional lines to read where a quoted cell continues after the sample."""


TEXT_SHARE = 8
"""Factor by which a block of text is smaller than one of numbers, as text takes about that much more memory."""


SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
"""Excel's first line that says what the delimiter is."""


UNDECODABLE = re.compile("[\udc80-\udcff]")
"""What Python puts in place of bytes that are not UTF-8."""


UTF_16 = (b"\xff\xfe", b"\xfe\xff")
"""What a file in UTF-16 begins with."""


def is_compressed(path: Path) -> bool:
    """Whether a table of text is compressed, by its name."""
    return path.name.lower().endswith(".gz")


def most_characters(path: Path) -> float:
    """Return how many characters of a text file are read; a compressed one may be made to unpack to very many."""
    return max(MOST_UNPACKED * path.stat().st_size, LEAST_UNPACKED) if is_compressed(path) else math.inf


def open_text(stack: ExitStack, path: Path) -> IO[str]:
    """Open a text file in UTF-8, or in UTF-16 if it begins as such; one whose name ends with .gz is compressed.

    Bytes that are not UTF-8 become characters that `UNDECODABLE` finds.
    """
    opener: Any = gzip.open if is_compressed(path) else open
    with opener(path, "rb") as file:
        is_utf_16 = file.read(2) in UTF_16
    encoding, errors = ("utf-16", "strict") if is_utf_16 else ("utf-8-sig", "surrogateescape")
    text: IO[str] = stack.enter_context(opener(path, "rt", encoding=encoding, errors=errors, newline=""))
    return text


def _bounded_lines(text: IO[str], name: str, most: float) -> Iterator[str]:
    """Yield a text's lines; raise a UsageError at one that is too long, and after `most` characters in all."""
    n_characters = 0
    for number in itertools.count(1):
        line = text.readline(MOST_LINE_CHARACTERS + 1)
        if not line:
            return
        n_characters += len(line)
        if n_characters > most:
            raise UsageError(
                f"'{name}' unpacks to more than {MOST_UNPACKED} times its size; if you trust it, unpack it with gunzip "
                "and name the file that this makes"
            )
        is_wide = len(line) > MOST_COLUMNS and max(map(line.count, (*DELIMITERS, " "))) >= MOST_COLUMNS
        if is_wide or len(line) > MOST_LINE_CHARACTERS:
            limit = f"{MOST_COLUMNS:,} cells" if is_wide else f"{MOST_LINE_CHARACTERS:,} characters"
            raise UsageError(
                f"line {number} of '{name}' has more than {limit}; end its rows with line breaks, or save so wide a "
                "table as .npy"
            )
        yield line


class NumberedLines:
    """Lines with the number of the last one that was given; the comments at the top of a file are left out."""

    def __init__(self, lines: Iterator[str]) -> None:
        self.number = 0
        self._lines = lines
        self._read_ahead: deque[tuple[int, str]] = deque()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._read_ahead:
            self.number, line = self._read_ahead.popleft()
            return line
        line = next(self._lines)
        self.number += 1
        return line

    @property
    def next_number(self) -> int:
        """The number of the next line."""
        return self._read_ahead[0][0] if self._read_ahead else self.number + 1

    def sample(self) -> list[str]:
        """Return the first lines after the comments, which will be given again; a quoted cell is not cut."""
        lines: list[tuple[int, str]] = []
        size = 0
        for pair in itertools.dropwhile(_is_comment, self._lines_numbered()):
            lines.append(pair)
            size += len(pair[1])
            if len(lines) == SAMPLE_LINES or (size > SAMPLE_CHARACTERS and len(lines) >= LEAST_LINES):
                break
        odd = sum(line.count('"') for _, line in lines) % 2
        for pair in itertools.islice(self._lines_numbered(), MOST_QUOTED_LINES if odd else 0):
            lines.append(pair)
            if pair[1].count('"') % 2:
                break
        self._read_ahead = deque(lines)
        return [line for _, line in lines]

    def _lines_numbered(self) -> Iterator[tuple[int, str]]:
        for line in self._lines:
            self.number += 1
            yield self.number, line


def _is_comment(numbered: tuple[int, str]) -> bool:
    """Whether a line at the top of a file is blank or a comment; '#N/A' is a missing value."""
    line = numbered[1].strip()
    return not line or (line.startswith("#") and not line.upper().startswith("#N/A"))


class TextTable(BlockReader):
    """A table whose rows are lines of text."""

    def __init__(
        self,
        text: IO[str],
        name: str,
        marks: Marks,
        names: Collection[str],
        text_columns: Collection[str],
        most: float = math.inf,
    ) -> None:
        """Read the first lines.

        Args:
            text: the open file.
            name: what messages call it.
            marks: marks of missing values.
            names: names that the columns may have, which make the first row a header.
            text_columns: names of columns whose cells stay text.
            most: how many characters are read before the file is refused.

        Raises:
            UsageError: it is empty, its columns can't be told apart, or a line is too long.

        """
        self._name, self._marks, self._text_columns = name, marks, text_columns
        self.notes, self.styles = [], {}
        self._lines = NumberedLines(_bounded_lines(text, name, most))
        sample = self._lines.sample()
        delimiter = "\t" if name.lower().removesuffix(".gz").endswith(".tsv") else None
        if sample and (separator := SEPARATOR_LINE.fullmatch(sample[0])):
            delimiter = separator[1]
            next(self._lines)
            sample = sample[1:]
        if not any(line.strip() for line in sample):
            raise UsageError(f"'{name}' is empty; give it at least one row")
        layout = text_layout(sample, names, delimiter)
        if layout is None:
            raise UsageError(
                f"the commas in '{name}' may separate two columns or be decimal marks; write decimals with points, or "
                "give every column a name in the first line"
            )
        self._layout: TextLayout = layout
        self.row_names_column = layout.columns[0] if layout.first_names_rows else None

    def blocks(self, share: BlockShare = WHOLE) -> Iterator[TableBlock]:
        """Give the rows block by block; once there is a problem, only look for further ones.

        The lines of other processes' blocks are read too, but their cells stay text.
        """
        problems, first_row = FileProblems(self._name), 0
        self._check_names(problems)
        rows, n_rows = self._rows(problems), max(block_rows(self._layout.n_cells) // TEXT_SHARE, 1)
        for number in itertools.count():
            chunk = list(itertools.islice(rows, n_rows))
            if number == 0:
                self.first_names = self._row_names(chunk)
            if not chunk:
                break
            if share.has(number):
                block = self._block(chunk, problems, first_row)
                if not problems:
                    yield block
            first_row += len(chunk)
        problems.raise_if_any()
        if first_row == 0 and share.has(0):
            yield self._block([], problems, 0)

    def _check_names(self, problems: FileProblems) -> None:
        for name, number in Counter(self._layout.columns).items():
            if number > 1:
                problems.add(f"{number} columns are called '{name}'", "give every column a name of its own")

    def _rows(self, problems: FileProblems) -> Iterator[tuple[int, list[str]]]:
        """Give each row's first line and its cells; ragged rows and undecodable text become problems."""
        n_cells, is_header = self._layout.n_cells, self._layout.header
        reader = csv.reader(self._lines, delimiter=self._layout.delimiter, skipinitialspace=True)
        start = self._lines.next_number
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                problems.add(f"the quoted cell that begins on line {start} does not end ({error})", "close its quotes")
                return
            if row is None:
                return
            line, start = start, self._lines.next_number
            if not (len(row) > 1 or any(row) or (row and n_cells == 1)):
                continue
            if row[0].startswith("#") and len(row) != n_cells and not is_header:
                continue
            self._check_text(row, line, problems)
            if is_header:
                is_header = False
            elif len(row) == n_cells:
                yield line, row
            else:
                problems.add(
                    f"line {line} has {len(row)} cell{'s' * (len(row) != 1)} and the first has {n_cells}",
                    "give every line the same number, with quotes around cells that hold a separator or decimal comma",
                )

    def _check_text(self, row: Sequence[str], line: int, problems: FileProblems) -> None:
        """Note a row's first cell that is not UTF-8, or that holds NUL."""
        text = "".join(row)
        if text.isascii() and "\0" not in text:
            return
        cell = next((cell for cell in row if UNDECODABLE.search(cell) or "\0" in cell), None)
        if cell is None:
            return
        if "\0" in cell:
            problems.add(f"line {line} holds the character NUL, as UTF-16 does", "save it as UTF-8")
        else:
            guess = cell.encode("utf-8", "surrogateescape").decode("cp1252", "replace").strip()[:40]
            problems.add(f"line {line} is not UTF-8 ('{guess}' in Windows' Latin-1)", "save it as UTF-8")

    def _row_names(self, chunk: Sequence[tuple[int, list[str]]]) -> list[str] | None:
        """Return the names of rows, where the file has any."""
        return [row[0].strip() for _, row in chunk] if self._layout.first_names_rows else None

    def _block(self, chunk: Sequence[tuple[int, list[str]]], problems: FileProblems, first_row: int) -> TableBlock:
        layout = self._layout
        cells = list(zip(*(row for _, row in chunk), strict=True)) or [()] * layout.n_cells
        columns = []
        for name, column in zip(layout.columns, cells, strict=True):
            if name in self._text_columns:
                columns.append((name, text_column(column, self._marks)))
                continue
            values, style = read_column(column, self._marks, layout.decimal, layout.delimiter)
            if values.dtype.kind == "f" and (infinite := np.flatnonzero(np.isinf(values))).size:
                for row in infinite.tolist():
                    problems.add(
                        f"line {chunk[row][0]}, column '{name}' is {column[row].strip()}, which is infinite",
                        "give it a finite number, or leave the cell empty",
                    )
            if style != "point" and name not in self.styles.setdefault(style, []):
                self.styles[style].append(name)
            columns.append((name, values))
        return TableBlock(columns, self._row_names(chunk), len(chunk), first_row)
