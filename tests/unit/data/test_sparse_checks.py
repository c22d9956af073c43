"""Sparse matrices whose indices point outside them are refused before SciPy follows them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from deepmix.data import as_table, check_sparse
from deepmix.errors import UsageError

X = np.kron(np.eye(3), np.array([[1.0, 2.0], [0.0, 3.0]]))


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "bsr", "dia", "lil", "dok"])
def test_valid_matrices_pass_and_are_not_changed(kind):
    for x in (sparse.csr_array(X).asformat(kind), sparse.csr_matrix(np.zeros((2, 3))).asformat(kind)):
        before = x.toarray()
        check_sparse(x)
        assert as_table(x).format == "csr"
        np.testing.assert_array_equal(x.toarray(), before)
        np.testing.assert_array_equal(as_table(x).toarray(), before)


def spoilt(kind: str, part: str, place: int, value: int):
    """Return a matrix of some format with one number changed in one of its arrays."""
    x = sparse.bsr_array(X, blocksize=(2, 2)) if kind == "bsr" else sparse.csr_array(X).asformat(kind)
    numbers = x.coords[0 if part == "row" else 1] if kind == "coo" else getattr(x, part)
    numbers[place] = value
    return x


@pytest.mark.parametrize(
    ("kind", "part", "place", "value", "message"),
    [
        ("csr", "indices", 2, 6, "a value in column 6, counted from 0, of 6 columns"),
        ("csr", "indices", 2, -1, "a value in column -1"),
        ("csr", "indptr", 0, 1, "begins with 1"),
        ("csr", "indptr", 3, 1, "falls at position 3"),
        ("csr", "indptr", -1, 50, "ends with 50 and it has 9 values"),
        ("csc", "indices", 0, 6, "a value in row 6, counted from 0, of 6 rows"),
        ("bsr", "indices", 0, 3, "a value in column 3, counted from 0, of 3 columns"),
        ("coo", "row", 0, 6, "a value in row 6"),
        ("coo", "col", 0, 1_000_000, "a value in column 1000000"),
    ],
)
def test_wrong_indices_are_named(kind, part, place, value, message):
    x = spoilt(kind, part, place, value)
    for check in (check_sparse, as_table):
        with pytest.raises(UsageError, match=f"the sparse matrix is not valid: .*{message}.*; build or save it again"):
            check(x)


def test_what_is_not_a_table_of_numbers_is_refused():
    with pytest.raises(UsageError, match="must be numbers, got a sparse matrix of type complex128"):
        as_table(sparse.csr_array(X * 1j))
    with pytest.raises(UsageError, match=r"must have rows and columns, got a sparse array of shape \(6,\)"):
        as_table(sparse.coo_array(X[0]))
