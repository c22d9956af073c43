"""Reads data files (.npy, .npz, .csv, .csv.gz, .parquet), whole for training or in blocks for new rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import TextIOBase
from pathlib import Path
from typing import Any

from deepmix.data.arrange import arrange_rows
from deepmix.data.csv_file import CsvFile, open_text
from deepmix.data.numpy_files import NpyFile, NpzFile
from deepmix.data.parquet_file import ParquetFile
from deepmix.data.split import Split
from deepmix.data.split_options import SplitOptions
from deepmix.data.table_file import LabelColumn, TableFile
from deepmix.errors import DeepmixError, UsageError


def _open_csv(stack: ExitStack, path: Path, label: LabelColumn) -> TableFile:
    return CsvFile(stack.enter_context(open_text(path)), path.name, label)


READERS: dict[str, Callable[[ExitStack, Path, LabelColumn], TableFile]] = {
    ".npy": NpyFile,
    ".npz": NpzFile,
    ".csv": _open_csv,
    ".csv.gz": _open_csv,
    ".parquet": ParquetFile,
}
"""What opens a file, by how its name ends in lower case."""


SUFFIXES = tuple(READERS)
"""How the names of data files end."""


@dataclass(frozen=True)
class Blocks:
    """A file's rows, block by block."""

    columns: list[str] | None
    """Names of the columns, where the file has them."""
    rows: Iterator[Any]
    """(n, D) arrays or CSR matrices, in order; raises UsageError or DeepmixError at what can't be read."""


def load_file(path: Path, label_column: str | None, options: SplitOptions) -> Split:
    """Read a .npy, .npz, .csv, .csv.gz or .parquet file for training.

    Args:
        path: the file.
        label_column: name of the label column (.csv, .parquet) or key (.npz; 'y' if there), or the
            number of a column, from 1.
        options: scaling and split.

    Raises:
        UsageError: the file is missing, of another kind, or its contents can't be used.
        DeepmixError: the file is damaged.

    """
    with ExitStack() as stack, _reading(path):
        table = _open_table(stack, path, LabelColumn(label_column))
        rows, labels = table.whole()
    return arrange_rows(rows, labels, options, n_train=table.n_train, columns=table.columns)


def open_blocks(
    stack: ExitStack, path: Path, n_features: int, label_column: str | None = None, text: TextIOBase | None = None
) -> Blocks:
    """Open a .npy, .npz, .csv, .csv.gz or .parquet file of new rows, so that a file of any length needs little memory.

    Args:
        stack: closes the file in the end.
        path: the file; of `text`, what messages call it.
        n_features: how many columns the model takes.
        label_column: a column left out where it is there: by name, or by number from 1 if the file has one column
            more than that.
        text: CSV to read in place of the file.

    Raises:
        UsageError: the file is missing or of another kind.
        DeepmixError: it is damaged.

    """
    label = LabelColumn(label_column, n_features)
    with _reading(path):
        table = CsvFile(text, path.name, label) if text is not None else _open_table(stack, path, label)
    return Blocks(table.columns, _guarded_rows(table, path))


def _open_table(stack: ExitStack, path: Path, label: LabelColumn) -> TableFile:
    """Open a file with its format's reader."""
    if not path.is_file():
        raise UsageError(f"there is no file '{path}'")
    suffix = next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), None)
    if suffix is None:
        raise UsageError(f"'{path.name}' is not a kind of file deepmix reads; use one of: {', '.join(SUFFIXES)}")
    return READERS[suffix](stack, path, label)


def _guarded_rows(table: TableFile, path: Path) -> Iterator[Any]:
    """Give the blocks' rows; what goes wrong while the next block is read is the file's fault."""
    blocks = table.blocks()
    while True:
        with _reading(path):
            block = next(blocks, None)
        if block is None:
            return
        yield block.rows


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever the libraries raise at a damaged file into one sentence.

    A damaged file makes NumPy, SciPy, pandas, zipfile and gzip raise anything from OSError to SyntaxError.

    Raises:
        DeepmixError: the file can't be read, or does not fit into memory.

    """
    try:
        yield
    except DeepmixError:
        raise
    except MemoryError as error:
        raise DeepmixError(
            f"'{path}' does not fit into memory; give it fewer rows, or check that the file is whole"
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        cure = "save it as UTF-8" if isinstance(error, UnicodeDecodeError) else "check that the file is whole"
        raise DeepmixError(f"'{path}' can't be read ({reason}); {cure}") from error
