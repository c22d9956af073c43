"""From files and arrays to a checked, scaled and split data set, and from that to batches."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor

from deepmix.errors import DeepmixError, UsageError
from deepmix.types import Array, Split

CHECK_ROWS = 65536
"""Rows looked at together when a data set is checked, so that a memory map is never read whole."""
SUFFIXES = (".npy", ".npz", ".csv", ".csv.gz", ".parquet")
"""Files that `--dataset` takes."""
DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True)
class SplitOptions:
    """How rows are scaled and held out."""

    test_fraction: float = field(
        default=0.15, metadata={"help": "part of the rows held out where there is no official test split"}
    )
    split_seed: int = field(default=0, metadata={"help": "which rows those are; apart from --seed"})
    scale: Literal["auto", "none", "standard", "bytes"] = field(
        default="auto",
        metadata={
            "help": "none, standard (each column to mean 0, variance 1) or bytes (divide by 255); auto: bytes for "
            "uint8, none where all values lie in -1..1, else standard"
        },
    )

    def __post_init__(self) -> None:
        if not 0.0 < self.test_fraction < 1.0:
            raise UsageError(f"test_fraction must be between 0 and 1, got {self.test_fraction}")
        if self.split_seed < 0:
            raise UsageError(f"split_seed must be at least 0, got {self.split_seed}")


def prepare(
    x: Any,
    labels: Array | None,
    options: SplitOptions,
    *,
    n_train: int | None = None,
    columns: list[str] | None = None,
    preprocessing: str = "",
) -> Split:
    """Check, scale and split rows.

    Args:
        x: (N, D), or (N, ...) which is flattened; NumPy or SciPy sparse, any real type.
        labels: (N,) of any type, or None.
        options: scaling and split.
        n_train: the first rows that are for training, where an official split exists.
        columns: names of the columns, for messages.
        preprocessing: what was already done, in words.

    Raises:
        UsageError: the rows can't be used; the message names the row and column.

    """
    x = x.tocsr() if sparse.issparse(x) else np.asanyarray(x)
    if x.ndim > 2:
        x = x.reshape(len(x), -1)
    if x.ndim != 2:
        raise UsageError(f"the data must have rows and columns, got an array of shape {x.shape}")
    if x.dtype.kind not in "biuf":
        raise UsageError(f"the data must be numbers, got an array of type {x.dtype}")
    n_rows, n_columns = x.shape
    if n_rows < 2 or n_columns < 1:
        raise UsageError(f"the data has {n_rows} row(s) and {n_columns} column(s); at least 2 and 1 are needed")
    if labels is not None and labels.shape != (n_rows,):
        raise UsageError(f"there are {n_rows} rows and {labels.size} labels; give one label a row")
    if n_train is not None and not 0 < n_train < n_rows:
        raise UsageError(f"n_train is {n_train} of {n_rows} rows; it must leave rows on both sides")

    name, numbers = _column_namer(columns), np.arange(n_rows, dtype=np.int64)
    low, high = _value_range(x, name)
    train, test = _random_split(n_rows, options) if n_train is None else (numbers[:n_train], numbers[n_train:])
    scaled, done = _scale(x, train, options.scale, float(low.min()), float(high.max()))
    warnings = []
    constant = np.flatnonzero(low == high)
    if len(constant) == n_columns:
        raise UsageError("every column is constant, so there is nothing to tell clusters apart by")
    if len(constant) and done.startswith("standard"):
        listed = ", ".join(name(int(column)) for column in constant[:5]) + (", ..." if len(constant) > 5 else "")
        warnings.append(f"{len(constant)} constant column(s) carry no information and were set to 0: {listed}")
    unit = not sparse.issparse(x) and _lies_in(low, high, x.dtype, done)
    return Split(
        x=scaled,
        train=train,
        test=test,
        labels=labels,
        likelihood="bernoulli" if unit else "gaussian",
        preprocessing="; ".join(filter(None, (preprocessing, done))),
        warnings=tuple(warnings),
    )


def _lies_in(low: Array, high: Array, dtype: np.dtype[Any], done: str) -> bool:
    """Whether scaled values lie in 0..1, as a Bernoulli likelihood needs."""
    if done.startswith("standard"):
        return False
    divisor = 255.0 if done.startswith("divided") else 1.0
    return bool(low.min() >= 0.0 and high.max() / divisor <= 1.0)


def _column_namer(columns: list[str] | None) -> Any:
    return lambda column: f"'{columns[column]}'" if columns else f"{column + 1}"


def _blocks(x: Any) -> Iterator[tuple[int, Any]]:
    for start in range(0, x.shape[0], CHECK_ROWS):
        yield start, x[start : start + CHECK_ROWS]


def _value_range(x: Any, name: Any) -> tuple[Array, Array]:
    """Return each column's least and greatest value; refuse NaN and infinity, naming the first."""
    low = np.full(x.shape[1], np.inf)
    high = np.full(x.shape[1], -np.inf)
    for start, block in _blocks(x):
        if sparse.issparse(block):
            bad = np.flatnonzero(~np.isfinite(block.data))
            if len(bad):
                coordinates = block.tocoo()
                _refuse(start + int(coordinates.row[bad[0]]), name(int(coordinates.col[bad[0]])), block.data[bad[0]])
            low = np.minimum(low, block.min(axis=0).toarray().ravel())
            high = np.maximum(high, block.max(axis=0).toarray().ravel())
            continue
        cells = np.argwhere(~np.isfinite(block))
        if len(cells):
            row, column = map(int, cells[0])
            _refuse(start + row, name(column), block[row, column])
        low, high = np.minimum(low, block.min(axis=0)), np.maximum(high, block.max(axis=0))
    return low, high


def _refuse(row: int, column: str, value: Any) -> None:
    raise UsageError(f"row {row + 1}, column {column} is {float(value)}; fill in or remove missing and infinite values")


def _random_split(n_rows: int, options: SplitOptions) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    n_test = min(int(np.ceil(n_rows * options.test_fraction)), n_rows - 1)
    order = np.random.default_rng(options.split_seed).permutation(n_rows)
    return np.sort(order[n_test:]), np.sort(order[:n_test])


def _scale(x: Any, train: Array, how: str, low: float, high: float) -> tuple[Any, str]:
    """Return float32 rows and what was done to them; sparse rows stay sparse."""
    if how == "auto":
        how = "bytes" if x.dtype == np.uint8 else "none" if low >= -1.0 and high <= 1.0 else "standard"
    if how == "none":
        return x.astype(np.float32, copy=False), "values as they are"
    if how == "bytes":
        return x.astype(np.float32) / np.float32(255), "divided by 255"
    if sparse.issparse(x):
        spread = float(np.sqrt(x[train].multiply(x[train]).mean()))
        return (x / (spread or 1.0)).astype(np.float32), "standardised: divided by the root mean square (kept sparse)"
    mean, spread_D = x[train].mean(axis=0, dtype=np.float64), x[train].std(axis=0, dtype=np.float64)
    spread_D = np.where(spread_D > 0.0, spread_D, 1.0)
    return ((x - mean) / spread_D).astype(np.float32), "standardised: each column to mean 0 and variance 1"


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
            x = np.lib.format.open_memmap(path, mode="r")
            x, labels = _take_column(x, label_column)
            return prepare(x, labels, options)
        if name.endswith(".parquet"):
            return _load_parquet(path, label_column, options)
        return _load_csv(path, label_column, options)
    except (OSError, EOFError, zipfile.BadZipFile, ValueError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise DeepmixError(f"'{path}' can't be read ({error}); check that the file is whole") from error


def _load_npz(path: Path, label_key: str | None, options: SplitOptions) -> Split:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        keys = list(archive)
        if {"data", "indices", "indptr", "shape"} <= set(keys):  # scipy.sparse.save_npz
            return prepare(sparse.load_npz(path), None, options)
        x_key = "x" if "x" in keys else keys[0] if len(keys) == 1 else None
        if x_key is None:
            raise UsageError(f"'{path.name}' must hold its rows under the key 'x'; it has: {', '.join(keys)}")
        if label_key is not None and label_key not in keys:
            raise UsageError(f"'{path.name}' has no key '{label_key}'; it has: {', '.join(keys)}")
        label_key = label_key or ("y" if "y" in keys else None)
        labels = archive[label_key] if label_key else None
        n_train = int(archive["n_train"]) if "n_train" in keys else None
        return prepare(archive[x_key], labels, options, n_train=n_train)


def _take_column(x: Any, label_column: str | None) -> tuple[Any, Array | None]:
    if label_column is None:
        return x, None
    column = _column_number(label_column, [str(i + 1) for i in range(x.shape[1])])
    return np.delete(x, column, axis=1), np.asarray(x[:, column])


def _column_number(wanted: str, columns: list[str]) -> int:
    """Return the position of a column given by name, or by number from 1."""
    if wanted in columns:
        return columns.index(wanted)
    if wanted.isdigit() and 1 <= int(wanted) <= len(columns):
        return int(wanted) - 1
    shown = ", ".join(columns[:12]) + (", ..." if len(columns) > 12 else "")
    raise UsageError(f"there is no label column '{wanted}'; the columns are: {shown}")


def _open_text(path: Path) -> io.TextIOBase:
    opener: Any = gzip.open if path.suffix == ".gz" else open
    text: io.TextIOBase = opener(path, "rt", encoding="utf-8-sig", newline="")
    return text


def _load_csv(path: Path, label_column: str | None, options: SplitOptions) -> Split:
    with _open_text(path) as lines:
        head, second_line = lines.readline(), lines.readline()
    if not head.strip():
        raise UsageError(f"'{path.name}' is empty")
    delimiter = max(DELIMITERS, key=head.count)
    first = next(csv.reader([head], delimiter=delimiter))
    second = next(csv.reader([second_line], delimiter=delimiter), [])
    header = not any(map(_is_number, first)) or any(
        _is_number(below) and not _is_number(cell) for cell, below in zip(first, second, strict=False)
    )
    columns = [cell.strip() for cell in first] if header else [str(i + 1) for i in range(len(first))]
    label_number = None if label_column is None else _column_number(label_column, columns)
    numeric = [i for i in range(len(columns)) if i != label_number]
    table: dict[str, Any] = {"delimiter": delimiter, "quotechar": '"', "comments": None, "skiprows": int(header)}
    try:
        with _open_text(path) as lines:
            x = np.loadtxt(lines, usecols=numeric, ndmin=2, dtype=np.float64, **table)
    except ValueError as error:
        _explain_csv(path, columns, numeric, delimiter, header)
        raise DeepmixError(f"'{path.name}' is not a table of numbers ({error})") from error
    labels = None
    if label_number is not None:
        with _open_text(path) as lines:
            labels = np.loadtxt(lines, usecols=[label_number], ndmin=1, dtype=str, **table)
    return prepare(x, labels, options, columns=[columns[i] for i in numeric])


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _explain_csv(path: Path, columns: list[str], numeric: list[int], delimiter: str, header: bool) -> None:
    """Find what stops a CSV from being numbers and say so: columns of text, an empty cell, a short row."""
    text_cells: dict[int, tuple[int, str]] = {}
    n_rows = 0
    with _open_text(path) as lines:
        for number, cells in enumerate(csv.reader(lines, delimiter=delimiter), start=1):
            if (number == 1 and header) or not cells:
                continue
            n_rows += 1
            if len(cells) != len(columns):
                raise UsageError(
                    f"line {number} of '{path.name}' has {len(cells)} cells and the first has {len(columns)}"
                )
            for column in numeric:
                if column not in text_cells and not _is_number(cells[column]):
                    text_cells[column] = (number, cells[column])
    for column, (number, cell) in text_cells.items():
        if not cell.strip():
            raise UsageError(
                f"line {number}, column '{columns[column]}' of '{path.name}' is empty; fill in or remove missing values"
            )
    if text_cells:
        listed = ", ".join(
            f"'{columns[column]}' (line {line}: '{cell}')" for column, (line, cell) in text_cells.items()
        )
        raise UsageError(
            f"'{path.name}' has columns that are not numbers: {listed}; encode or remove them, "
            "or name the labels with --label-column"
        )


def _load_parquet(path: Path, label_column: str | None, options: SplitOptions) -> Split:
    try:
        import pandas
    except ImportError as error:
        raise DeepmixError(
            "reading .parquet needs pandas and pyarrow; install them with: pip install 'deepmix[parquet]'"
        ) from error
    frame = pandas.read_parquet(path)
    labels = None
    if label_column is not None:
        position = _column_number(label_column, [str(column) for column in frame.columns])
        labels = frame.iloc[:, position].to_numpy()
        frame = frame.drop(columns=frame.columns[position])
    textual = [str(column) for column, dtype in frame.dtypes.items() if dtype.kind not in "biuf"]
    if textual:
        listed = ", ".join(f"'{column}'" for column in textual)
        raise UsageError(
            f"'{path.name}' has columns that are not numbers: {listed}; encode or remove them, "
            "or name the labels with --label-column"
        )
    return prepare(frame.to_numpy(), labels, options, columns=[str(column) for column in frame.columns])


def load_prepared(name: str, data_dir: Path | None, options: SplitOptions) -> Split:
    """Read NAME.npz (keys x, y, n_train) from the data folder; '-' and '_' in the name are alike.

    Raises:
        UsageError: no data folder was given or it has no such file.

    """
    file_name = name.replace("-", "_") + ".npz"
    if data_dir is None:
        raise UsageError(
            f"data set '{name}' is read from {file_name} in a data folder; name it by --data-dir or DEEPMIX_DATA"
        )
    for candidate in (data_dir / file_name, data_dir / f"{name}.npz"):
        if candidate.is_file():
            return load_file(candidate, None, options)
    raise UsageError(f"the data folder '{data_dir}' has no {file_name}; put it there or choose another with --data-dir")


class Rows:
    """Rows of a data set as float32 tensors on a device, picked by number.

    In-memory data is moved to the device once; memory maps and sparse rows are read batch by batch.
    """

    def __init__(self, x: Any, numbers: Array, device: torch.device) -> None:
        self.device = device
        self.n_rows = len(numbers)
        self._numbers = numbers
        self._x = x
        self._tensor: Tensor | None = None
        if isinstance(x, np.ndarray) and not isinstance(x, np.memmap):
            self._tensor = torch.from_numpy(np.ascontiguousarray(x[numbers])).to(device)

    def batch(self, chosen: Tensor) -> Tensor:
        """Return the chosen rows, (n, D); `chosen` is an int64 tensor on the device."""
        if self._tensor is not None:
            return self._tensor[chosen]
        rows = self._x[self._numbers[chosen.cpu().numpy()]]
        dense = rows.toarray() if sparse.issparse(rows) else np.array(rows)
        return torch.from_numpy(dense).to(self.device)

    def in_order(self, size: int) -> Iterator[Tensor]:
        """Give all rows in order, `size` at a time."""
        for start in range(0, self.n_rows, size):
            if self._tensor is not None:
                yield self._tensor[start : start + size]
            else:
                stop = min(start + size, self.n_rows)
                yield self.batch(torch.arange(start, stop, device=self.device))
