"""Checks of rows and labels, each error naming the row and the column."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import numpy as np
from scipy import sparse

from deepmix.data.block_share import ONE_READER, Readers
from deepmix.data.missing_marks import PYTHON_MARK, USUAL_MARKS
from deepmix.data.sparse_checks import CHECKED, check_sparse
from deepmix.data.stored_rows import StoredRows
from deepmix.errors import UsageError, option
from deepmix.maths import Array

LARGEST = 1e75
"""Largest number that rows may hold; its fourth power is finite."""


CHECK_ROWS = 65536
"""How many rows are checked at a time, so that checking a memory map needs little memory."""


def as_table(x: Any) -> Any:
    """Return real numbers as (N, D): CSR, an array, (N, ...) flattened, or `StoredRows`, which are returned unchanged.

    Raises:
        UsageError: they are not numbers, have no rows and columns, or are a sparse matrix that is not valid.

    """
    if isinstance(x, StoredRows):
        return x
    if sparse.issparse(x):
        x = x if x.format in CHECKED else x.tocsr()
        check_sparse(x)
        x = x.tocsr()
    else:
        x = np.asanyarray(x)
    if x.ndim > 2:
        x = x.reshape(len(x), math.prod(x.shape[1:]))
    if x.ndim != 2:
        raise UsageError(f"the data must have rows and columns, got an array of shape {x.shape}")
    if x.dtype.kind not in "biuf":
        cure = "; give x.astype(float)" if x.dtype.kind == "O" else ""
        raise UsageError(f"the data must be numbers, got an array of type {x.dtype}{cure}")
    return x


def column_namer(columns: Sequence[str] | None) -> Callable[[int], str]:
    """Return a function that names a column in messages: by its name if it has one, else by its number from 1."""
    return lambda column: f"'{columns[column]}'" if columns else f"{column + 1}"


def _blocks(x: Any, readers: Readers) -> Iterator[tuple[int, Any]]:
    if isinstance(x, StoredRows):
        yield from x.blocks(share=readers.share)
        return
    for start in range(0, x.shape[0], CHECK_ROWS):
        yield start, x[start : start + CHECK_ROWS]


def value_range(
    x: Any, name: Callable[[int], str], first_row: int = 0, readers: Readers = ONE_READER
) -> tuple[Array, Array]:
    """Return each column's least and greatest value, (D,) each; refuse NaN and infinity, and name the first cell.

    Args:
        x: dense, CSR or stored rows.
        name: names a column, as `column_namer` does.
        first_row: number of x's first row in the whole data, from 0.
        readers: the processes that share the blocks of stored rows; all get the range of all rows.

    Raises:
        UsageError: a value is not finite, or too large.

    """
    low = np.full(x.shape[1], np.inf)
    high = np.full(x.shape[1], -np.inf)
    for start, block in _blocks(x, readers):
        if sparse.issparse(block):
            bad = np.flatnonzero(~np.isfinite(block.data))
            if len(bad):
                coordinates = block.tocoo()
                _refuse(
                    first_row + start + int(coordinates.row[bad[0]]),
                    name(int(coordinates.col[bad[0]])),
                    block.data[bad[0]],
                )
            low = np.minimum(low, block.min(axis=0).toarray().ravel())
            high = np.maximum(high, block.max(axis=0).toarray().ravel())
            continue
        cells = np.argwhere(~np.isfinite(block))
        if len(cells):
            row, column = map(int, cells[0])
            _refuse(first_row + start + row, name(column), block[row, column])
        low, high = np.minimum(low, block.min(axis=0)), np.maximum(high, block.max(axis=0))
    low, high = np.min(readers.each(low), axis=0), np.max(readers.each(high), axis=0)
    largest = np.maximum(-low, high)
    if x.shape[0] and largest.max(initial=0.0) > LARGEST:
        refuse_size(name(int(np.argmax(largest))), float(largest.max()))
    return low, high


def refuse_size(column: str, value: float) -> NoReturn:
    """Raise the UsageError for a column with a number that is too large for a model."""
    raise UsageError(f"column {column} has a number of size {value:g}; divide the column by a power of ten first")


def _refuse(row: int, column: str, value: Any) -> None:
    raise UsageError(f"row {row + 1}, column {column} is {float(value)}; fill in or remove missing and infinite values")


def check_labels(labels: Array, n_rows: int) -> tuple[Array, Array | None]:
    """Return one label per row, and whether each is known, (n_rows,) bool, or None if all are.

    Text has no spaces around it, and objects become text. A missing value or a usual mark of one, such as 'NA', is an
    unknown label; where there are any, all labels are text, and the unknown ones are empty.

    Raises:
        UsageError: there are more or fewer labels than rows, or all are unknown.

    """
    if labels.size != n_rows:
        raise UsageError(f"there are {n_rows} rows and {labels.size} labels; give one label per row")
    labels = labels.reshape(n_rows)
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8", "replace")
    if labels.dtype.kind in "OU":
        labels = np.array([label_text(label) for label in labels.tolist()])
    missing = np.zeros(n_rows, dtype=bool)
    if labels.dtype.kind == "f":
        missing = np.isnan(labels)
    elif labels.dtype.kind in "mM":
        missing = np.isnat(labels)
    elif labels.dtype.kind == "U":
        missing = labels == ""
    if not missing.any():
        return labels, None
    if missing.all():
        raise UsageError(f"no row has a label; name another {option('label_column')}, or leave labels out")
    if labels.dtype.kind != "U":
        labels = np.array([label_text(label) for label in labels.astype(object).tolist()])
    return np.where(missing, "", labels), ~missing


def label_text(label: Any) -> str:
    """Return a label as text without the spaces around it; whole numbers have no decimals, unknown labels are empty."""
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    text = str(label).strip()
    return "" if text.lower() in USUAL_MARKS or text in (PYTHON_MARK, "NaT") else text
