"""Reads table files as data frames, whole for training or in blocks for new rows, by the same rules.

Formats: text (.csv, .tsv, .txt, each also as .gz), Excel (.xlsx) and Parquet (.parquet), in any capitalisation. A frame
has unique text names of columns; its cells are as `text_cells` describes, dates are datetime64. A first column
without a name, an index that pandas saved, or R's row names are the frame's index where they name every row
differently; else the frame has a RangeIndex. What was read in an unusual way is in `frame.attrs["notes"]`, sentences;
the number of the frame's first row in the file is in `frame.attrs["first_row"]`.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING

from deepmix.data.block_share import WHOLE, BlockShare
from deepmix.data.excel_file import ExcelTable
from deepmix.data.file_problems import reading
from deepmix.data.frame_blocks import BlockReader, TableBlock, can_name_rows, frame_of, joined
from deepmix.data.missing_marks import marks_with
from deepmix.data.parquet_file import ParquetTable
from deepmix.data.parquet_folder import ParquetFolder, parquet_files
from deepmix.data.text_table import TextTable, most_characters, open_text
from deepmix.errors import UsageError
from deepmix.maths import Array

if TYPE_CHECKING:
    import pandas as pd

TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")


TABLE_SUFFIXES = (*TEXT_SUFFIXES, ".xlsx", ".parquet")
"""How the names of table files end, in lower case."""


TEXT_BYTES = 4
"""Bytes that a cell of a text file has at least, more or less."""


def is_table_file(path: Path) -> bool:
    """Whether a file is a table by its name; so is a folder of Parquet files."""
    return path.name.lower().endswith(TABLE_SUFFIXES) or bool(parquet_files(path))


def count_values(path: Path) -> int:
    """Return about how many cells a table file has, without reading them; 0 for Excel, which is small.

    Raises:
        DeepmixError: a Parquet file is damaged.

    """
    name = path.name.lower()
    if parquet_files(path) or name.endswith(".parquet"):
        with ExitStack() as stack, reading(path):
            table = _open_table(stack, path, (), (), ())
            assert isinstance(table, ParquetTable | ParquetFolder)
            return table.n_values
    return path.stat().st_size // TEXT_BYTES if path.is_file() and name.endswith(TEXT_SUFFIXES) else 0


def read_frame(
    path: Path, marks: Collection[str] = (), *, names: Collection[str] = (), text_columns: Collection[str] = ()
) -> pd.DataFrame:
    """Return a table file's rows.

    Args:
        path: the file.
        marks: marks of missing values beside the usual ones.
        names: names that columns may have, such as that of the label column; a first row with them is a header.
        text_columns: names of columns whose cells stay text, such as ids with leading zeros and columns left out.

    Raises:
        UsageError: the file is missing, of another kind, or has problems; the message lists those of the whole file.
        DeepmixError: the file is damaged, or a package is missing.

    """
    as_text = set(text_columns)
    while True:
        with ExitStack() as stack, reading(path):
            table = _open_table(stack, path, marks, names, as_text)
            blocks = list(table.blocks())
            columns, mixed = _joined_columns(blocks)
        if mixed <= as_text:
            break
        as_text |= mixed  # numbers in some blocks and text in others: their cells are read again as they are written
    n_rows = sum(block.n_rows for block in blocks)
    row_names: Sequence[object] | None = None
    if all(block.row_names is not None for block in blocks):
        row_names = list(itertools.chain.from_iterable(block.row_names or () for block in blocks))
    return _frame(table, columns, row_names, can_name_rows(row_names), 0, n_rows)


def open_frames(
    stack: ExitStack,
    path: Path,
    marks: Collection[str] = (),
    text: IO[str] | None = None,
    *,
    names: Collection[str] = (),
    text_columns: Collection[str] = (),
    share: BlockShare = WHOLE,
) -> Iterator[pd.DataFrame]:
    """Open a table file of new rows and give them block by block, so that a file of any length needs little memory.

    Args:
        stack: closes the file in the end.
        path: the file; of `text`, what messages call it.
        marks: marks of missing values beside the usual ones.
        text: CSV to read in place of the file.
        names: names that columns may have; a first row with them is a header.
        text_columns: names of columns whose cells stay text, as a block may hold numbers only where others hold text.
        share: the blocks that are given; together, the shares of several processes are the blocks that one reads.

    Returns:
        The blocks in order; of all blocks there is one at least. The file's first block decides whether an unnamed
        first column names the rows.

    Raises:
        UsageError: the file is missing or of another kind; while rows are taken, it has problems.
        DeepmixError: it is damaged, or a package is missing.

    """
    with reading(path):
        if text is None:
            table = _open_table(stack, path, marks, names, text_columns)
        else:
            table = TextTable(text, path.name, marks_with(marks), names, text_columns)
    return _frames(table, path, share)


def first_row(frame: pd.DataFrame) -> int:
    """Return the number of a frame's first row in its file, from 0."""
    return int(frame.attrs["first_row"])


def _frames(table: BlockReader, path: Path, share: BlockShare) -> Iterator[pd.DataFrame]:
    blocks, are_names = table.blocks(share), None
    while True:
        with reading(path):
            block = next(blocks, None)
        if block is None:
            return
        are_names = can_name_rows(table.first_names) if are_names is None else are_names
        yield _frame(table, block.columns, block.row_names, are_names, block.first_row, block.n_rows)


def _open_table(
    stack: ExitStack, path: Path, marks: Collection[str], names: Collection[str], text_columns: Collection[str]
) -> BlockReader:
    """Open a file with its format's reader."""
    if parquet_files(path):
        return ParquetFolder(stack, path, marks_with(marks), text_columns)
    if path.is_dir():
        raise UsageError(f"'{path}' is a folder; name a table file in it")
    if not path.is_file():
        raise UsageError(f"there is no file '{path}'")
    name, marks_ = path.name.lower(), marks_with(marks)
    if name.endswith(".parquet"):
        return ParquetTable(stack, path, marks_, text_columns)
    if name.endswith(".xlsx"):
        return ExcelTable(path, marks_, names, text_columns)
    if not name.endswith(TEXT_SUFFIXES):
        raise UsageError(f"'{path.name}' is not a table file; use one of: {', '.join(TABLE_SUFFIXES)}")
    return TextTable(open_text(stack, path), path.name, marks_, names, text_columns, most_characters(path))


def _joined_columns(blocks: Sequence[TableBlock]) -> tuple[list[tuple[str, Array]], set[str]]:
    """Return each column's values of all blocks, and the names of the columns that hold text in some blocks only."""
    columns, mixed = [], set()
    for same in zip(*(block.columns for block in blocks), strict=True):
        name, values = same[0][0], joined([values for _, values in same])
        if values is None:
            mixed.add(name)
        else:
            columns.append((name, values))
    return columns, mixed


def _frame(
    table: BlockReader,
    columns: Sequence[tuple[str, Array]],
    row_names: Sequence[object] | None,
    are_names: bool,
    start: int,
    n_rows: int,
) -> pd.DataFrame:
    """Return the data frame of some rows; a column that names the rows becomes its index."""
    if are_names and table.row_names_column is not None:
        columns = [column for column in columns if column[0] != table.row_names_column]
    frame = frame_of(columns, row_names if are_names else None, start, n_rows)
    frame.attrs |= {"notes": table.sentences(), "first_row": start}
    return frame
