"""Reads data files (.npy, .npz, .csv, .csv.gz, .parquet) and says in a sentence what is wrong with one."""

from __future__ import annotations

import csv
import itertools
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from deepmix.data.arrange import SplitOptions, arrange_rows
from deepmix.data.csv_format import CsvLayout, csv_layout, csv_numbers, explain_csv, is_position, open_text
from deepmix.data.split import Split
from deepmix.errors import DeepmixError, UsageError
from deepmix.maths import Array

SUFFIXES = (".npy", ".npz", ".csv", ".csv.gz", ".parquet")
"""Files that `--dataset` takes."""


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
            return arrange_rows(x, labels, options)
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
        return arrange_rows(x, labels, options, n_train=None if n_train is None else int(n_train.item()))


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
    if is_position(wanted, len(columns)):
        return int(wanted) - 1
    shown = ", ".join(columns[:12]) + (", ..." if len(columns) > 12 else "")
    raise UsageError(f"there is no label column '{wanted}'; the columns are: {shown}")


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
    return arrange_rows(x, labels, options, columns=[layout.columns[i] for i in numeric] if layout.header else None)


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
    return arrange_rows(x, labels, options, columns=[str(column) for column in frame.columns])


def refuse_text_columns(frame: Any, path: Path) -> None:
    """Raise a UsageError if a pandas data frame has columns that are not numbers."""
    textual = [str(name) for name, column in frame.items() if column.dtype.kind not in "biuf"]
    if textual:
        listed = ", ".join(f"'{column}'" for column in textual)
        raise UsageError(
            f"'{path.name}' has columns that are not numbers: {listed}; encode or remove them, "
            "or name the labels with --label-column"
        )
