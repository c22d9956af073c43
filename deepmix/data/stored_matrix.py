"""Rows of arrays and sparse matrices that another library reads, such as those of HDF5 and Zarr files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, final

import numpy as np
from scipy import sparse

from deepmix.data.file_problems import reading
from deepmix.data.sparse_checks import check_sparse, require_whole_numbers
from deepmix.data.stored_csr import SlicedValues, StoredCsr
from deepmix.data.stored_rows import StoredRows
from deepmix.errors import UsageError
from deepmix.maths import Array

SPARSE_PARTS = ("data", "indices", "indptr")
"""The arrays of a group that holds a sparse matrix, as anndata writes it."""


def stored_matrix(stored: Any, path: Path) -> StoredRows:
    """Return the rows of an array, or of a group that holds a sparse matrix, as they stay in their file.

    Args:
        stored: an array with `shape`, `dtype` and slices, or a mapping with the arrays `data`, `indices` and `indptr`
            and the attribute `shape`; its attribute `encoding-type` says whether it is a `csr_matrix`, as it is without
            one, or a `csc_matrix`, which is read into memory once.
        path: its file or folder, for messages.

    Raises:
        UsageError: it is neither, has no rows and columns, or holds no numbers.
        DeepmixError: the file is damaged.

    """
    if hasattr(stored, "dtype"):
        return StoredSlices(stored, path)
    if not is_sparse_group(stored):
        raise UsageError(f"'{path.name}' holds neither an array nor a sparse matrix under this name; name another")
    with reading(path):
        return _stored_sparse(stored, path)


def is_sparse_group(stored: Any) -> bool:
    """Whether a member of a file is a group with the parts of a sparse matrix."""
    return not hasattr(stored, "dtype") and all(name in stored for name in SPARSE_PARTS) and "shape" in stored.attrs


def _stored_sparse(stored: Any, path: Path) -> StoredCsr:
    data, indices = stored["data"], stored["indices"]
    indptr, shape = np.asarray(stored["indptr"][:]), np.asarray(stored.attrs["shape"])
    for name, numbers in (("shape", shape), ("indptr", indptr)):
        require_whole_numbers(name, numbers)
    kind = str(stored.attrs.get("encoding-type", "csr_matrix")).removesuffix("_matrix")
    if kind not in ("csr", "csc"):
        raise UsageError(f"'{path.name}' holds a sparse matrix of the unknown format '{kind}'; save it as CSR")
    n_rows, n_columns = map(int, shape)
    if data.shape != indices.shape or len(data.shape) != 1 or data.dtype.kind not in "biuf":
        raise UsageError("the sparse matrix is not valid: its parts do not fit together; save it again")
    if kind == "csr" and len(indptr) == n_rows + 1 and indptr[-1] == data.shape[0]:
        return StoredCsr(_Guarded(data, path), _Guarded(indices, path), indptr, (n_rows, n_columns), data.dtype)
    make = sparse.csr_matrix if kind == "csr" else sparse.csc_matrix
    matrix = make((data[:], indices[:], indptr), shape=(n_rows, n_columns))
    check_sparse(matrix)
    return StoredCsr.of(matrix.tocsr())


class _Guarded(SlicedValues):
    """Values of a file; an error of the library that reads them becomes a sentence."""

    def __init__(self, values: Any, path: Path) -> None:
        super().__init__(values)
        self._path = path

    def read(self, first: int, end: int) -> Array:
        """Return the values `first` to `end` - 1."""
        with reading(self._path):
            return super().read(first, end)


@final
class StoredSlices(StoredRows):
    """Rows of an array that a library reads when it is sliced."""

    def __init__(self, values: Any, path: Path) -> None:
        """Take the array.

        Args:
            values: (N, D), or (N, ...), whose rows are flattened.
            path: its file or folder, for messages.

        Raises:
            UsageError: it has no rows and columns, or holds no numbers.

        """
        if len(values.shape) < 2 or 0 in values.shape[1:]:
            raise UsageError(f"the data must have rows and columns, got an array of shape {tuple(values.shape)}")
        if values.dtype.kind not in "biuf":
            raise UsageError(f"the data must be numbers, got an array of type {values.dtype}")
        self._values, self._path = _Guarded(values, path), path
        self.array_shape = tuple(map(int, values.shape))
        self.shape, self.dtype = (self.array_shape[0], math.prod(self.array_shape[1:])), values.dtype
        self.row_bytes = self.shape[1] * values.dtype.itemsize

    def _read(self, first: int, end: int) -> Array:
        return self._values.read(first, end).reshape(end - first, self.shape[1])
