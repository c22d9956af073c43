"""Sparse rows, read from their file or held in memory; they are never all made dense at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, Self, final

import numpy as np
from scipy import sparse

from deepmix.data.sparse_checks import check_shape, check_sparse
from deepmix.data.stored_rows import StoredRows
from deepmix.errors import UsageError
from deepmix.maths import Array


class Values(Protocol):
    """The values of one array by position, in a file or in memory."""

    def read(self, first: int, end: int) -> Array:
        """Return the values `first` to `end` - 1."""


class SlicedValues:
    """The values of an array in memory, or of one that is read when it is sliced, as HDF5's and Zarr's are."""

    def __init__(self, values: Any) -> None:
        self._values = values

    def read(self, first: int, end: int) -> Array:
        """Return the values `first` to `end` - 1."""
        return np.asarray(self._values[first:end])


@final
class StoredCsr(StoredRows):
    """Rows of a CSR matrix: in a file, with only where each row begins in memory, or all in memory."""

    def __init__(
        self, data: Values, indices: Values, indptr: Array, shape: tuple[int, int], dtype: np.dtype[Any]
    ) -> None:
        """Take the parts of the matrix.

        Args:
            data: its values.
            indices: the column of each.
            indptr: where each row begins among them, and where the last one ends, (N + 1,).
            shape: (N, D).
            dtype: type of the values.

        Raises:
            UsageError: `indptr` is not valid, or the shape has too many empty rows or columns. The numbers of the
                columns are checked whenever rows are read.

        """
        if indptr.shape != (shape[0] + 1,) or indptr[0] != 0 or (indptr[1:] < indptr[:-1]).any():
            raise UsageError("the sparse matrix is not valid: its indptr does not cut it into rows; save it again")
        check_shape(shape, int(indptr[-1]))
        self._data, self._indices, self._indptr = data, indices, indptr
        self.shape, self.array_shape, self.dtype = shape, shape, dtype
        self.row_bytes = max(int(indptr[-1]) * (dtype.itemsize + 4) // max(shape[0], 1), 1)

    @property
    def values_per_row(self) -> int:
        """How many numbers a row takes in memory, on average: its values and their columns."""
        return max(2 * int(self._indptr[-1]) // max(len(self), 1), 1)

    @property
    def indptr(self) -> Array:
        """Where each row begins among the values, (N + 1,)."""
        return self._indptr

    def _read(self, first: int, end: int) -> Any:
        start, stop = int(self._indptr[first]), int(self._indptr[end])
        parts = self._data.read(start, stop), self._indices.read(start, stop), self._indptr[first : end + 1] - start
        rows = sparse.csr_matrix(parts, shape=(end - first, self.shape[1]))
        check_sparse(rows)
        return rows

    @classmethod
    def of(cls, matrix: Any) -> Self:
        """Return the rows of a CSR matrix in memory."""
        values = SlicedValues(matrix.data), SlicedValues(matrix.indices)
        return cls(*values, matrix.indptr, matrix.shape, matrix.dtype)

    def _concatenated(self, parts: Iterator[Any], n_rows: int) -> Any:
        return sparse.vstack(list(parts), format="csr")
