"""From arrays to a checked, scaled and split data set."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from deepmix.data.checks import as_table, check_labels, column_namer, value_range
from deepmix.data.preparation import Preparation, Scale
from deepmix.data.split import Split
from deepmix.data.split_options import SplitOptions
from deepmix.errors import UsageError
from deepmix.maths import Array

IMAGE_CHANNELS = (1, 3, 4)
"""Sizes of the last axis of an array of images: grey, colour, colour with opacity."""


def arrange_rows(
    x: Any,
    labels: Array | None,
    options: SplitOptions,
    *,
    n_train: int | None = None,
    columns: list[str] | None = None,
    divisor: float = 1.0,
    image_shape: tuple[int, int, int] | None = None,
) -> Split:
    """Check, scale and split rows.

    Args:
        x: (N, D), or (N, ...) which is flattened; NumPy or SciPy sparse, any real type. (N, height, width) and
            (N, height, width, 1, 3 or 4 channels) are images.
        labels: (N,) of any type, or None.
        options: scaling and split.
        n_train: how many of the first rows are for training, where an official split exists.
        columns: names of the columns, used in messages and to match the columns of later rows.
        divisor: the number by which the values are divided first (16 for Digits).
        image_shape: height, width and channels of a row, where x is flat and its rows are known to be images.

    Raises:
        UsageError: the rows can't be used; the message names the row and column.

    """
    x = x if sparse.issparse(x) else np.asanyarray(x)
    row_shape = tuple(x.shape[1:]) if x.ndim > 2 else None
    image_shape = _image_shape(x.shape, options.image_shape, image_shape)
    x = as_table(x)
    n_rows, n_columns = x.shape
    if n_rows < 2 or n_columns < 1:
        raise UsageError(f"the data has {n_rows} row(s) and {n_columns} column(s); at least 2 and 1 are needed")
    if labels is not None:
        labels = check_labels(labels, n_rows)
    if n_train is not None and not 0 < n_train < n_rows:
        raise UsageError(f"n_train is {n_train} of {n_rows} rows; it must leave rows on both sides")

    name, numbers = column_namer(columns), np.arange(n_rows, dtype=np.int64)
    low, high = value_range(x, name)
    if divisor != 1.0:
        x, low, high = x / divisor, low / divisor, high / divisor
    train, test = _random_split(n_rows, options) if n_train is None else (numbers[:n_train], numbers[n_train:])
    bounded = low.min() >= -1.0 and high.max() <= 1.0
    automatic: Scale = "bytes" if x.dtype == np.uint8 else "none" if bounded else "standard"
    how = automatic if options.scale == "auto" else options.scale
    scaling, description = _scaling(x, train, how)
    warnings = []
    constant = np.flatnonzero(low == high)
    if len(constant) == n_columns:
        raise UsageError("every column is constant, so there is nothing to tell clusters apart by")
    if len(constant) and how == "standard" and not sparse.issparse(x):
        listed = ", ".join(name(int(column)) for column in constant[:5]) + (", ..." if len(constant) > 5 else "")
        warnings.append(f"{len(constant)} constant column(s) carry no information and were set to 0: {listed}")
    greatest = high.max() / (255.0 if how == "bytes" else 1.0)
    unit = how != "standard" and not sparse.issparse(x) and low.min() >= 0.0 and greatest <= 1.0
    return Split(
        x=scaling.apply(x),
        train=train,
        test=test,
        labels=labels,
        likelihood="bernoulli" if unit else "gaussian",
        preprocessing=description if divisor == 1.0 else f"divided by {divisor:g}; {description}",
        warnings=tuple(warnings),
        preparation=dataclasses.replace(
            scaling, columns=None if columns is None else tuple(columns), row_shape=row_shape, divisor=divisor
        ),
        image_shape=image_shape,
    )


def _image_shape(
    shape: tuple[int, ...], requested: str, known: tuple[int, int, int] | None
) -> tuple[int, int, int] | None:
    """Return height, width and channels of a row: as requested, as known, or as the array's shape says."""
    if requested != "auto":
        height, width, channels = (*map(int, requested.split("x")), 1)[:3]
        n_columns = math.prod(shape[1:])
        if height * width * channels != n_columns:
            raise UsageError(
                f"an image of {requested} has {height * width * channels} values and a row has {n_columns}"
            )
        return height, width, channels
    if known is not None:
        return known
    if len(shape) == 3:
        return shape[1], shape[2], 1
    if len(shape) == 4 and shape[3] in IMAGE_CHANNELS:
        return shape[1], shape[2], shape[3]
    return None


def _random_split(n_rows: int, options: SplitOptions) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    n_test = min(int(np.ceil(n_rows * options.test_fraction)), n_rows - 1)
    order = np.random.default_rng(options.split_seed).permutation(n_rows)
    return np.sort(order[n_test:]), np.sort(order[:n_test])


def _scaling(x: Any, train: Array, how: Scale) -> tuple[Preparation, str]:
    """Return the scaling that the training rows call for, and its description."""
    if how == "none":
        return Preparation(), "values as they are"
    if how == "bytes":
        return Preparation(scale=how), "divided by 255"
    if sparse.issparse(x):
        spread = np.sqrt(np.asarray(x[train].multiply(x[train]).mean(), dtype=np.float64))
        preparation = Preparation(scale=how, spread=np.where(spread > 0.0, spread, 1.0))
        return preparation, "standardised: divided by the root mean square (kept sparse)"
    mean_D, spread_D = x[train].mean(axis=0, dtype=np.float64), x[train].std(axis=0, dtype=np.float64)
    if not np.isfinite(spread_D).all():
        raise UsageError("the values are too large to standardise; divide them by a power of ten first")
    preparation = Preparation(scale=how, mean=mean_D, spread=np.where(spread_D > 0.0, spread_D, 1.0))
    return preparation, "standardised: each column to mean 0 and variance 1"
