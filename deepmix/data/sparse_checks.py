"""Checks of SciPy's sparse matrices: SciPy trusts their indices, and a wrong one reads or writes foreign memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from deepmix.errors import UsageError
from deepmix.maths import Array

COMPRESSED = ("csr", "csc", "bsr")
"""Formats that hold `indices`, cut into rows (or columns, or rows of blocks) by `indptr`."""


CHECKED = (*COMPRESSED, "coo", "dia")
"""Formats whose indices are arrays; LIL and DOK hold Python objects."""


MOST_EMPTY = 1 << 21
"""Most rows, or columns, without a value: a shape costs a file nothing, and memory a lot.

It is twice the number of columns that scikit-learn's HashingVectorizer makes.
"""


def check_sparse(x: Any) -> None:
    """Refuse a sparse matrix that is not valid; its parts are only read, at most once each.

    Args:
        x: a SciPy matrix or array of any format. LIL and DOK hold Python objects and are checked once they are CSR.

    Raises:
        UsageError: it has no rows and columns, its values are not numbers, its parts do not fit together, or an index
            points outside it.

    """
    if x.ndim != 2:
        raise UsageError(f"the data must have rows and columns, got a sparse array of shape {x.shape}")
    if x.dtype.kind not in "biuf":
        raise UsageError(f"the data must be numbers, got a sparse matrix of type {x.dtype}")
    if x.format in CHECKED:
        check_shape(x.shape, x.data.size)
    if x.format in COMPRESSED:
        _check_compressed(x)
    elif x.format == "coo":
        _require_lengths({"row": x.row, "col": x.col}, len(x.data))
        _require_range("row", x.row, x.shape[0])
        _require_range("column", x.col, x.shape[1])
    elif x.format == "dia":
        _require(x.data.ndim == 2, f"its values have {x.data.ndim} axes and need 2")
        _require_lengths({"offsets": x.offsets}, len(x.data))


def check_shape(shape: tuple[int, int], n_values: int) -> None:
    """Refuse a sparse matrix that declares far more rows or columns than it has values.

    Raises:
        UsageError: it would have more than MOST_EMPTY rows or columns without a value.

    """
    for axis, size in zip(("rows", "columns"), shape, strict=True):
        _require(size <= MOST_EMPTY + n_values, f"it declares {size} {axis} and holds {n_values} values")


def _check_compressed(x: Any) -> None:
    """Check the parts of a CSR, CSC or BSR matrix."""
    height, width = x.data.shape[1:] if x.format == "bsr" and x.data.ndim == 3 else (1, 1)
    _require(x.data.ndim == (3 if x.format == "bsr" else 1), f"its values have {x.data.ndim} axes")
    _require(height > 0 and width > 0, f"its blocks have {height} x {width} values")
    _require(
        x.shape[0] % height == 0 and x.shape[1] % width == 0,
        f"blocks of {height} x {width} do not fill {x.shape[0]} x {x.shape[1]}",
    )
    n_rows, n_columns = x.shape[0] // height, x.shape[1] // width
    n_major, n_minor = (n_columns, n_rows) if x.format == "csc" else (n_rows, n_columns)
    _require_lengths({"indptr": x.indptr}, n_major + 1)
    _require_lengths({"indices": x.indices}, len(x.data))
    _require(x.indptr[0] == 0, f"its indptr begins with {x.indptr[0]} and must begin with 0")
    falls = np.flatnonzero(x.indptr[1:] < x.indptr[:-1])
    _require(not len(falls), f"its indptr falls at position {falls[0] + 1 if len(falls) else 0}")
    n_values = int(x.indptr[-1])
    _require(n_values <= len(x.data), f"its indptr ends with {n_values} and it has {len(x.data)} values")
    _require_range("row" if x.format == "csc" else "column", x.indices[:n_values], n_minor)


def require_whole_numbers(name: str, numbers: Array) -> None:
    """Refuse an array of indices that are not whole numbers on one axis."""
    _require(numbers.ndim == 1, f"its {name} has {numbers.ndim} axes and needs 1")
    _require(numbers.dtype.kind in "iu", f"its {name} has the type {numbers.dtype} and needs whole numbers")


def _require_lengths(parts: dict[str, Array], length: int) -> None:
    for name, numbers in parts.items():
        require_whole_numbers(name, numbers)
        _require(len(numbers) == length, f"its {name} has {len(numbers)} numbers and needs {length}")


def _require_range(axis: str, indices: Array, size: int) -> None:
    if not len(indices):
        return
    extremes: Sequence[int] = (int(indices.min()), int(indices.max()))
    for index in extremes:
        _require(0 <= index < size, f"it has a value in {axis} {index}, counted from 0, of {size} {axis}s")


def _require(condition: bool, complaint: str) -> None:
    if not condition:
        raise UsageError(f"the sparse matrix is not valid: {complaint}; build or save it again")
