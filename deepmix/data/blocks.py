"""Rows of a file in blocks, so that a file of any length needs little memory."""

from __future__ import annotations

import csv
import itertools
import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from io import TextIOBase
from pathlib import Path
from typing import IO, Any

import numpy as np
from scipy import sparse

from deepmix.data.csv_format import csv_layout, csv_numbers, explain_csv, open_text
from deepmix.data.files import SUFFIXES, damaged, refuse_text_columns, rows_key
from deepmix.errors import DeepmixError, UsageError
from deepmix.maths import Array

BLOCK_VALUES = 4_000_000
"""Numbers read together: 32 MB of them as float64."""


DAMAGED = (OSError, EOFError, zlib.error, zipfile.BadZipFile, ValueError, KeyError, csv.Error)
"""What reading a file that is not whole may raise."""


@dataclass(frozen=True)
class Blocks:
    """A file's rows, block by block."""

    columns: list[str] | None
    """Names of the columns, where the file has them."""
    rows: Iterator[Any]
    """(n, D) arrays or CSR matrices, in order; raises UsageError or DeepmixError at what can't be read."""


def open_blocks(
    stack: ExitStack, path: Path, n_features: int, label_column: str | None = None, text: TextIOBase | None = None
) -> Blocks:
    """Open a .npy, .npz, .csv, .csv.gz or .parquet file.

    Args:
        stack: closes the file in the end.
        path: the file; of `text`, what messages call it.
        n_features: how many columns are wanted.
        label_column: a column left out where it is there: by name, or by number from 1 if the file has no names and
            one column more than is wanted.
        text: CSV to read in place of the file.

    Raises:
        UsageError: the file is missing or of another kind.
        DeepmixError: it is damaged.

    """
    name = path.name.lower()
    if text is None and not path.is_file():
        raise UsageError(f"there is no file '{path}'")
    if text is None and not name.endswith(SUFFIXES):
        raise UsageError(f"'{path.name}' is not a kind of file deepmix reads; use one of: {', '.join(SUFFIXES)}")
    number = int(label_column) - 1 if label_column is not None and label_column.isdigit() else None
    try:
        if text is not None or name.endswith((".csv", ".csv.gz")):
            lines = stack.enter_context(open_text(path)) if text is None else text
            blocks = _csv(lines, path.name, n_features, label_column, number)
        elif name.endswith(".parquet"):
            blocks = _parquet(stack, path, label_column)
        else:
            rows = _npz(stack, path) if name.endswith(".npz") else _npy(stack.enter_context(path.open("rb")), path)
            blocks = Blocks(None, (_without(x, n_features, number) for x in rows))
    except DAMAGED as error:
        raise damaged(path, error) from error
    return Blocks(blocks.columns, _guarded(blocks.rows, path))


def _guarded(rows: Iterator[Any], path: Path) -> Iterator[Any]:
    """Give the blocks; what goes wrong while the next is read is the file's fault."""
    while True:
        try:
            block = next(rows, None)
        except DAMAGED as error:
            raise damaged(path, error) from error
        if block is None:
            return
        yield block


def _block_rows(n_columns: int) -> int:
    return max(BLOCK_VALUES // max(n_columns, 1), 1)


def _without(x: Array, n_features: int, label_number: int | None) -> Array:
    """Leave out the label column of rows that have no names."""
    if label_number is None or x.ndim != 2 or not label_number < x.shape[1] == n_features + 1:
        return x
    return np.delete(x, label_number, axis=1)


def _npy(file: IO[bytes], path: Path) -> Iterator[Array]:
    """Read an array's rows from where its header begins; of a memory map, pages already read would stay resident."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the .npy format")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = read_header(file)
    if dtype.hasobject:
        raise UsageError(f"'{path.name}' holds Python objects, not numbers; save it as an array of numbers")
    if not shape:
        raise UsageError(f"the data must have rows and columns, got an array of shape {shape}")
    n_values = math.prod(shape[1:])
    size = shape[0] if fortran_order and len(shape) > 1 else _block_rows(n_values)
    for start in range(0, shape[0], max(size, 1)):
        n_rows = min(size, shape[0] - start)
        content = file.read(n_rows * n_values * dtype.itemsize)
        if len(content) < n_rows * n_values * dtype.itemsize:
            raise EOFError("it ends early")
        yield np.frombuffer(content, dtype).reshape((n_rows, *shape[1:]), order="F" if fortran_order else "C")


def _npz(stack: ExitStack, path: Path) -> Iterator[Any]:
    archive = stack.enter_context(zipfile.ZipFile(path))
    keys = [name.removesuffix(".npy") for name in archive.namelist()]
    key = rows_key(keys, path)
    if key is not None:
        yield from _npy(stack.enter_context(archive.open(f"{key}.npy")), path)
        return
    x = sparse.load_npz(path).tocsr()
    size = _block_rows(x.shape[1])
    for start in range(0, x.shape[0], size):
        yield x[start : start + size]


def _csv(lines: TextIOBase, name: str, n_features: int, label_column: str | None, label_number: int | None) -> Blocks:
    first = [line for line in (lines.readline(), lines.readline()) if line]
    if not first:
        raise UsageError(f"'{name}' is empty; give it a row at least")
    layout = csv_layout(first[0], first[1] if len(first) > 1 else "", label_column)
    columns = layout.columns
    if layout.header and label_column in columns:
        left_out: int | None = columns.index(label_column)
    else:
        left_out = label_number if len(columns) == n_features + 1 else None
    numeric = [i for i in range(len(columns)) if i != left_out]

    def blocks() -> Iterator[Array]:
        rest = itertools.chain(first[layout.header :], lines)
        number = 1 + layout.header
        while chunk := list(itertools.islice(rest, _block_rows(len(columns)))):
            if any(not line.isspace() for line in chunk):
                try:
                    yield csv_numbers(chunk, layout, left_out)
                except ValueError:
                    explain_csv(chunk, name, layout, numeric, first_line=number)
                    raise
            number += len(chunk)

    return Blocks([columns[i] for i in numeric] if layout.header else None, blocks())


def _parquet(stack: ExitStack, path: Path, label_column: str | None) -> Blocks:
    try:
        import pandas  # noqa: F401 - what batches are turned into
        from pyarrow import parquet
    except ImportError as error:
        raise DeepmixError(
            "reading .parquet needs pandas and pyarrow; install them with: pip install 'deepmix[parquet]'"
        ) from error
    file = stack.enter_context(parquet.ParquetFile(path))
    columns = [name for name in file.schema_arrow.names if name != label_column]

    def blocks() -> Iterator[Array]:
        for batch in file.iter_batches(_block_rows(len(columns)), columns=columns):
            frame = batch.to_pandas()
            refuse_text_columns(frame, path)
            yield frame.to_numpy(dtype=np.float64, na_value=np.nan)

    return Blocks(columns, blocks())
