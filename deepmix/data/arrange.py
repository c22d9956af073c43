"""From arrays to a checked, scaled and split data set."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from deepmix.data.block_share import ONE_READER, Readers
from deepmix.data.checks import as_table, check_labels, column_namer, refuse_size, value_range
from deepmix.data.preparation import Preparation, Scale
from deepmix.data.row_numbers import RowNumbers, numbers_within
from deepmix.data.split import Split
from deepmix.data.split_options import SplitOptions
from deepmix.data.stored_csr import StoredCsr
from deepmix.data.stored_rows import StoredRows
from deepmix.errors import UsageError, option
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
    readers: Readers | None = None,
) -> Split:
    """Check, scale and split rows.

    Args:
        x: (N, D), or (N, ...) which is flattened; NumPy, SciPy sparse or `StoredRows`, any real type.
            (N, height, width) and (N, height, width, 1, 3 or 4 channels) are images.
        labels: (N,) of any type, or None; a missing one, or a usual mark of one, is unknown.
        options: scaling and split.
        n_train: how many of the first rows are for training, where an official split exists.
        columns: names of the columns, used in messages and to match the columns of later rows.
        divisor: the number by which the values are divided first (16 for Digits).
        image_shape: height, width and channels of a row, where x is flat and its rows are known to be images.
        readers: the processes that share the passes over `StoredRows`, and all get the same statistics; None: this one.

    Raises:
        UsageError: the rows can't be used; the message names the row and column.

    """
    x = x if sparse.issparse(x) or isinstance(x, StoredRows) else np.asanyarray(x)
    shape = x.array_shape if isinstance(x, StoredRows) else x.shape
    row_shape = tuple(shape[1:]) if len(shape) > 2 else None
    image_shape = _image_shape(shape, options.image_shape, image_shape)
    x = as_table(x)
    n_rows, n_columns = x.shape
    if n_rows < 2 or n_columns < 1:
        raise UsageError(f"the data has {n_rows} row(s) and {n_columns} column(s); at least 2 and 1 are needed")
    known: Array | None = None
    if labels is not None:
        labels, known = check_labels(labels, n_rows)
    name = column_namer(columns)
    readers = readers if readers is not None and isinstance(x, StoredRows) else ONE_READER
    low, high = value_range(x, name, readers=readers)
    if divisor != 1.0:
        x, low, high = x / divisor, low / divisor, high / divisor
    train, test = split_rows(n_rows, n_train, options, compact=isinstance(x, StoredRows))
    bounded = low.min() >= -1.0 and high.max() <= 1.0
    are_bytes = x.dtype == np.uint8 and high.max() > 1.0  # whole numbers up to 1 are truth values
    automatic: Scale = "bytes" if are_bytes else "none" if bounded else "standard"
    how = automatic if options.scale == "auto" else options.scale
    scaling, description = _scaling(x, train, how, readers)
    too_large = np.flatnonzero(~np.isfinite(scaling.apply(np.stack([low, high]))).all(axis=0))
    if len(too_large):
        column = int(too_large[0])
        refuse_size(name(column), max(-low[column], high[column]))
    warnings, is_sparse = [], sparse.issparse(x) or isinstance(x, StoredCsr)
    if known is not None:
        warnings.append(unlabelled_note(known))
    constant = np.flatnonzero(low == high)
    if len(constant) == n_columns:
        raise UsageError("every column is constant, so there is nothing to tell clusters apart by")
    if len(constant) and how == "standard" and not is_sparse:
        listed = ", ".join(name(int(column)) for column in constant[:5]) + (", ..." if len(constant) > 5 else "")
        warnings.append(f"{len(constant)} constant column(s) carry no information and were set to 0: {listed}")
    greatest = high.max() / (255.0 if how == "bytes" else 1.0)
    unit = how != "standard" and not is_sparse and low.min() >= 0.0 and greatest <= 1.0
    return Split(
        x=x.prepared(scaling) if isinstance(x, StoredRows) else scaling.apply(x),
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
        known=known,
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
        if len(shape) > 2 and (*shape[1:], 1)[:3] != (height, width, channels):
            if is_channels_first(shape[1:]):
                raise UsageError(channels_first_cure(shape[1:]))
            own = "x".join(map(str, shape[1:]))
            raise UsageError(
                f"the array's rows have the shape {own} and not {requested}; leave out {option('image_shape')}, or "
                "reshape the array first"
            )
        return height, width, channels
    if known is not None:
        return known
    if len(shape) == 3:
        return shape[1], shape[2], 1
    if len(shape) == 4 and shape[3] in IMAGE_CHANNELS:
        return shape[1], shape[2], shape[3]
    return None


def unlabelled_note(known: Array) -> str:
    """Return the warning on rows without a label, from whether each is known, (N,)."""
    return f"{int((~known).sum())} of {len(known)} rows have no label; they are trained on and not scored"


def is_channels_first(row_shape: tuple[int, ...]) -> bool:
    """Whether a row's shape is that of an image whose channels come first, such as (3, 32, 32)."""
    return len(row_shape) == 3 and row_shape[0] in IMAGE_CHANNELS and row_shape[2] not in IMAGE_CHANNELS


def channels_first_cure(row_shape: tuple[int, ...]) -> str:
    """Return the error for images whose channels come first."""
    shape = ", ".join(map(str, ("N", *row_shape)))
    return (
        f"the array has the shape ({shape}), so its channels come first; move that axis last with "
        "numpy.moveaxis(x, 1, -1)"
    )


def split_rows(
    n_rows: int, n_train: int | None, options: SplitOptions, *, compact: bool = False
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the numbers of the training rows and of the rows held out, each in order.

    Args:
        n_rows: how many rows there are.
        n_train: how many of the first are for training; None: they are drawn at random.
        options: the fraction held out, and the seed.
        compact: whether the numbers are `RowNumbers`, one bit per row; they are the same.

    Raises:
        UsageError: `n_train` leaves no rows on one side.

    """
    if n_train is not None:
        if not 0 < n_train < n_rows:
            raise UsageError(f"n_train is {n_train} of {n_rows} rows; it must leave rows on both sides")
        if compact:
            return _compact(np.arange(n_rows) >= n_train)
        numbers = np.arange(n_rows, dtype=np.int64)
        return numbers[:n_train], numbers[n_train:]
    n_test = min(int(np.ceil(n_rows * options.test_fraction)), n_rows - 1)
    random = np.random.default_rng(options.split_seed)
    if compact:
        order = np.arange(n_rows, dtype=np.int32 if n_rows <= np.iinfo(np.int32).max else np.int64)
        random.shuffle(order)  # the same order as below, in half the memory
        is_test_N = np.zeros(n_rows, dtype=bool)
        is_test_N[order[:n_test]] = True
        return _compact(is_test_N)
    order = random.permutation(n_rows)
    return np.sort(order[n_test:]), np.sort(order[:n_test])


def _compact(is_test_N: Array) -> tuple[Any, Any]:
    test = RowNumbers(is_test_N)
    return RowNumbers(np.logical_not(is_test_N, out=is_test_N)), test


def _scaling(x: Any, train: Array, how: Scale, readers: Readers) -> tuple[Preparation, str]:
    """Return the scaling that the training rows call for, and its description."""
    if how == "none":
        return Preparation(), "values as they are"
    if how == "bytes":
        return Preparation(scale=how), "divided by 255"
    if isinstance(x, StoredCsr):
        return _sparse_scaling(_root_mean_square(x, train, readers))
    if sparse.issparse(x):
        rows = x[train].astype(np.float64) if x.dtype.kind in "biu" else x[train]  # squares of small integers overflow
        spread = np.sqrt(np.asarray(rows.multiply(rows).mean(), dtype=np.float64))
        return _sparse_scaling(spread)
    mean_D, spread_D = _moments(x, train, readers)
    if not np.isfinite(spread_D).all():
        raise UsageError("the values are too large to standardise; divide them by a power of ten first")
    preparation = Preparation(scale=how, mean=mean_D, spread=np.where(spread_D > 0.0, spread_D, 1.0))
    return preparation, "standardised: each column to mean 0 and variance 1"


def _sparse_scaling(spread: Array) -> tuple[Preparation, str]:
    preparation = Preparation(scale="standard", spread=np.where(spread > 0.0, spread, 1.0))
    return preparation, "standardised: divided by the root mean square (kept sparse)"


def _root_mean_square(x: StoredCsr, train: Array, readers: Readers) -> Array:
    """Return the root mean square of the training rows' values, zeros included, () float64."""

    def squares(block: int) -> Array:
        return np.square(_training_rows(x, train, block).data.astype(np.float64)).sum(keepdims=True)

    total = sum(float(one[0]) for one in readers.in_order(_n_blocks(x), squares))
    return np.asarray(np.sqrt(total / (len(train) * x.shape[1])))


def _moments(x: Any, train: Array, readers: Readers) -> tuple[Array, Array]:
    """Return the mean and the standard deviation of each column over the training rows, (D,) float64 each.

    Stored rows are read once, block by block; the moments of the blocks are merged (Chan, Golub and LeVeque 1983), in
    the order of the blocks, so that they have the same bits however many processes share the blocks.
    """
    if not isinstance(x, StoredRows):
        return x[train].mean(axis=0, dtype=np.float64), x[train].std(axis=0, dtype=np.float64)

    def measure(number: int) -> Array:
        """Return the number of a block's training rows, their means and their sums of squares around these."""
        block = _training_rows(x, train, number).astype(np.float64)
        if not len(block):
            return np.zeros((3, x.shape[1]))
        mean_D = block.mean(axis=0)
        return np.stack([np.full(x.shape[1], float(len(block))), mean_D, np.square(block - mean_D).sum(axis=0)])

    n_rows, mean_D, squares_D = 0, np.zeros(x.shape[1]), np.zeros(x.shape[1])
    with np.errstate(over="ignore", invalid="ignore"):  # a spread that is not finite is refused
        for count_D, block_mean_D, block_squares_D in readers.in_order(_n_blocks(x), measure):
            n_block = int(count_D[0])
            if n_block == 0:
                continue
            apart_D, weight = block_mean_D - mean_D, n_block / (n_rows + n_block)
            mean_D = mean_D + weight * apart_D
            squares_D = squares_D + block_squares_D + weight * n_rows * apart_D**2
            n_rows += n_block
        return mean_D, np.sqrt(squares_D / n_rows)


def _n_blocks(x: StoredRows) -> int:
    return -(-len(x) // x.rows_per_read)


def _training_rows(x: StoredRows, train: Array, block: int) -> Any:
    """Return the training rows of a block, which is read."""
    start = block * x.rows_per_read
    rows = x[start : start + x.rows_per_read]
    return rows[numbers_within(train, start, start + rows.shape[0])]
