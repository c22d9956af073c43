"""The check of a data set that a plugin has loaded."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from deepmix.contracts import registry
from deepmix.data import Split

BLOCK_ROWS = 1 << 14
"""Rows that are looked at in one step."""


def check_split(split: Split) -> None:
    """Check the types and shapes of a data set, that its rows are finite, and that its split has every row once.

    Raises:
        AssertionError: the data set breaks its contract; the message says what was expected.

    """
    if not isinstance(split, Split):
        raise AssertionError(f"load(data_dir) must return a Split, got {type(split).__name__}")
    x = split.x
    if len(getattr(x, "shape", ())) != 2 or not (isinstance(x, np.ndarray) or sparse.issparse(x)):
        shape = getattr(x, "shape", "no shape")
        raise AssertionError(f"x must be an array or CSR matrix (N, D), got {type(x).__name__} of {shape}")
    if x.dtype != np.float32:
        raise AssertionError(f"x must be float32, got {x.dtype}")
    for name in ("train", "test"):
        numbers = getattr(split, name)
        if not (isinstance(numbers, np.ndarray) and numbers.ndim == 1 and numbers.dtype.kind in "iu"):
            raise AssertionError(f"{name} must be a one-dimensional array of row numbers, got {numbers!r:.60}")
    if not np.array_equal(np.sort(np.concatenate([split.train, split.test])), np.arange(x.shape[0])):
        raise AssertionError("train and test must hold every row number once")
    if not (len(split.train) and len(split.test)):
        raise AssertionError(f"train and test must both have rows, got {len(split.train)} and {len(split.test)}")
    for name in ("labels", "known", "weights", "row_names"):
        values = getattr(split, name)
        if values is not None and np.shape(values) != (x.shape[0],):
            raise AssertionError(f"{name} must be ({x.shape[0]},), got {np.shape(values)}")
    if split.likelihood not in registry.by_shortest_name("likelihoods"):
        raise AssertionError(f"likelihood must be the name of an installed likelihood, got {split.likelihood!r}")
    if split.schema is None:
        _check_finite(split)


def _check_finite(split: Split) -> None:
    """Raise an AssertionError that names the first row with a value that is not finite."""
    for start in range(0, split.x.shape[0], BLOCK_ROWS):
        block = split.x[start : start + BLOCK_ROWS]
        values = block.data if sparse.issparse(block) else block
        if not np.isfinite(values).all():
            rows = block.toarray() if sparse.issparse(block) else block
            row = start + int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0]) + 1
            raise AssertionError(f"x must be finite, but row {row} has NaN or infinite values")
