"""Reads data files (.npy, .npz, .csv, .csv.gz, .parquet) and says in a sentence what is wrong with one."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import itertools
import math
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from deepmix.data import SplitOptions, prepare
from deepmix.errors import DeepmixError, UsageError
from deepmix.types import Array, Split

SUFFIXES = (".npy", ".npz", ".csv", ".csv.gz", ".parquet")
"""Files that `--dataset` takes."""
DELIMITERS = (",", ";", "\t")


def load_file(path: Path, label_column: str | None, options: SplitOptions) -> Split:
    """Read a .npy, .npz, .csv, .csv.gz or .parquet file.

    Args:
        path: the file.
        label_column: name of the label column (.csv, .parquet) or key (.npz; 'y' if there), or the
            number of a column, from 1.
        options: scaling and split.

    Raises:
        UsageError: the file is missing, of another kind, or its contents can't be used.
        DeepmixError: the file is damaged.

    """
    if not path.is_file():
        raise UsageError(f"there is no file '{path}'")
    name = path.name.lower()
    if not name.endswith(SUFFIXES):
        raise UsageError(f"'{path.name}' is not a kind of file deepmix reads; use one of: {', '.join(SUFFIXES)}")
    try:
        if name.endswith(".npz"):
            return _load_npz(path, label_column, options)
        if name.endswith(".npy"):
            x, labels = _take_column(np.lib.format.open_memmap(path, mode="r"), label_column)
            return prepare(x, labels, options)
        if name.endswith(".parquet"):
            return _load_parquet(path, label_column, options)
        return _load_csv(path, label_column, options)
    except (
        OSError,
        EOFError,
        zlib.error,
        zipfile.BadZipFile,
        ValueError,
        KeyError,
        UnicodeDecodeError,
        csv.Error,
    ) as error:
        raise damaged(path, error) from error


def rows_key(keys: list[str], path: Path) -> str | None:
    """Return the key of an archive's rows; None where it is a sparse matrix as SciPy saves it.

    Raises:
        UsageError: it is neither.

    """
    if "format" in keys and "data" in keys:
        return None
    key = "x" if "x" in keys else keys[0] if len(keys) == 1 else None
    if key is None:
        raise UsageError(f"'{path.name}' must hold its rows under the key 'x'; it has: {', '.join(keys)}")
    return key


def _load_npz(path: Path, label_key: str | None, options: SplitOptions) -> Split:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        keys = list(archive)
        x_key = rows_key(keys, path)
        if label_key is not None and label_key not in keys:
            raise UsageError(f"'{path.name}' has no key '{label_key}'; it has: {', '.join(keys)}")
        label_key = label_key or ("y" if "y" in keys else None)
        labels = archive[label_key] if label_key else None
        n_train = archive["n_train"] if "n_train" in keys else None
        if n_train is not None and (n_train.size != 1 or n_train.dtype.kind not in "iu"):
            raise UsageError(f"n_train in '{path.name}' must be one whole number")
        x = sparse.load_npz(path) if x_key is None else archive[x_key]
        return prepare(x, labels, options, n_train=None if n_train is None else int(n_train.item()))


def damaged(path: Path, error: Exception) -> DeepmixError:
    """Return the error for a file that can't be read."""
    cure = "save it as UTF-8" if isinstance(error, UnicodeDecodeError) else "check that the file is whole"
    return DeepmixError(f"'{path}' can't be read ({error}); {cure}")


def _take_column(x: Any, label_column: str | None) -> tuple[Any, Array | None]:
    if label_column is None:
        return x, None
    if x.ndim != 2:
        raise UsageError(f"the data must have rows and columns, got an array of shape {x.shape}")
    column = _column_number(label_column, [str(i + 1) for i in range(x.shape[1])])
    return np.delete(x, column, axis=1), np.asarray(x[:, column])


def _column_number(wanted: str, columns: list[str]) -> int:
    """Return the position of a column given by name, or by number from 1."""
    if wanted in columns:
        return columns.index(wanted)
    if _is_place(wanted, len(columns)):
        return int(wanted) - 1
    shown = ", ".join(columns[:12]) + (", ..." if len(columns) > 12 else "")
    raise UsageError(f"there is no label column '{wanted}'; the columns are: {shown}")


def _is_place(wanted: str | None, n_columns: int) -> bool:
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
        not any(map(_is_number, first))
        or (label_column in first and not _is_place(label_column, len(first)))
        or first in counted  # column numbers, as data frames write them
        or any(
            _is_number(below) and not _is_number(cell) and not _is_missing(cell)
            for cell, below in zip(first, second, strict=False)
        )
    )
    columns = [cell.strip() for cell in first] if header else [str(i + 1) for i in range(len(first))]
    return CsvLayout(delimiter, columns, header)


def _load_csv(path: Path, label_column: str | None, options: SplitOptions) -> Split:
    with open_text(path) as lines:
        head, second_line = lines.readline(), lines.readline()
    if not second_line.strip():
        raise UsageError(f"'{path.name}' has {int(bool(head.strip()))} row(s); at least a header and 2 rows are needed")
    layout = csv_layout(head, second_line, label_column)
    label_number = None if label_column is None else _column_number(label_column, layout.columns)
    numeric = [i for i in range(len(layout.columns)) if i != label_number]
    try:
        with open_text(path) as lines:
            x = csv_numbers(lines, layout, label_number, skip=int(layout.header))
    except UnicodeDecodeError:
        raise
    except ValueError as error:
        with open_text(path) as lines:
            explain_csv(itertools.islice(lines, layout.header, None), path.name, layout, numeric, 1 + layout.header)
        raise DeepmixError(f"'{path.name}' is not a table of numbers ({error})") from error
    labels = None
    if label_number is not None:
        with open_text(path) as lines:
            table = {"delimiter": layout.delimiter, "skiprows": int(layout.header), **CsvLayout.TABLE}
            labels = np.loadtxt(lines, usecols=[label_number], ndmin=1, dtype=str, **table)
    return prepare(x, labels, options, columns=[layout.columns[i] for i in numeric] if layout.header else None)


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


def _is_missing(cell: str) -> bool:
    return cell.strip().lower() in ("", "na", "n/a", "nan", "null", "none", "?")


def _is_number(cell: str) -> bool:
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
            if column not in text_cells and not _is_number(cells[column]):
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


def _load_parquet(path: Path, label_column: str | None, options: SplitOptions) -> Split:
    try:
        import pandas

        frame = pandas.read_parquet(path)
    except ImportError as error:
        raise DeepmixError(
            "reading .parquet needs pandas and pyarrow; install them with: pip install 'deepmix[parquet]'"
        ) from error
    labels = None
    if label_column is not None:
        position = _column_number(label_column, [str(column) for column in frame.columns])
        labels = frame.iloc[:, position].to_numpy(dtype=object)
        frame = frame.drop(columns=frame.columns[position])
    refuse_text_columns(frame, path)
    x = frame.to_numpy(dtype=np.float64, na_value=np.nan)
    return prepare(x, labels, options, columns=[str(column) for column in frame.columns])


def refuse_text_columns(frame: Any, path: Path) -> None:
    """Raise a UsageError if a pandas data frame has columns that are not numbers."""
    textual = [str(name) for name, column in frame.items() if column.dtype.kind not in "biuf"]
    if textual:
        listed = ", ".join(f"'{column}'" for column in textual)
        raise UsageError(
            f"'{path.name}' has columns that are not numbers: {listed}; encode or remove them, "
            "or name the labels with --label-column"
        )


def find_prepared(name: str, data_dir: Path) -> Path | None:
    """Return the data folder's NAME.npz; '-' and '_' in the name are alike."""
    candidates = (data_dir / f"{name.replace('-', '_')}.npz", data_dir / f"{name}.npz")
    return next((path for path in candidates if path.is_file()), None)


def load_prepared(
    name: str,
    data_dir: Path | None,
    options: SplitOptions,
    label_key: str | None = None,
    image_shape: tuple[int, int, int] | None = None,
) -> Split:
    """Read NAME.npz (keys x, y, n_train) from the data folder.

    Raises:
        UsageError: no data folder was given, or it is not there or has no such file.

    """
    file_name = name.replace("-", "_") + ".npz"
    if data_dir is None:
        raise UsageError(
            f"data set '{name}' is read from {file_name} in a data folder, or fetched into one; "
            "name it by --data-dir or DEEPMIX_DATA"
        )
    if not data_dir.is_dir():
        raise UsageError(f"the data folder '{data_dir}' does not exist; choose another with --data-dir")
    path = find_prepared(name, data_dir)
    if path is None:
        raise UsageError(
            f"the data folder '{data_dir}' has no {file_name}; put it there or choose another with --data-dir"
        )
    split = load_file(path, label_key, options)
    is_image = image_shape is not None and math.prod(image_shape) == split.x.shape[1]
    return dataclasses.replace(split, image_shape=image_shape) if split.image_shape is None and is_image else split
