"""From arrays to a checked, scaled and split data set, and from that to batches; `deepmix.files` reads files."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from deepmix.errors import UsageError
from deepmix.preparation import Preparation, Scale
from deepmix.types import Array, Split

IMAGE_CHANNELS = (1, 3, 4)
"""Last axes of an array of images: grey, colour, colour with opacity."""
CHECK_ROWS = 65536
"""Rows checked together, so that checking a memory map needs little memory."""


@dataclass(frozen=True)
class SplitOptions:
    """How rows are scaled and held out."""

    test_fraction: float = field(
        default=0.15,
        metadata={"help": "part of the rows held out where there is no official test split (Digits: 270 rows)"},
    )
    split_seed: int = field(default=0, metadata={"help": "which rows those are; apart from --seed"})
    scale: Literal["auto", "none", "standard", "bytes"] = field(
        default="auto",
        metadata={
            "help": "none, standard (each column to mean 0, variance 1) or bytes (divide by 255); auto: bytes for "
            "uint8, none where all values lie in -1..1, else standard"
        },
    )

    image_shape: str = field(
        default="auto",
        metadata={
            "help": "height x width, or height x width x channels, of a row that is an image, such as 28x28; auto: "
            "as the data set or the file's array says"
        },
    )

    def __post_init__(self) -> None:
        if self.image_shape != "auto" and not re.fullmatch(r"[1-9]\d*x[1-9]\d*(x[1-9]\d*)?", self.image_shape):
            raise UsageError(f"image_shape must be auto or such as 28x28 or 32x32x3, got '{self.image_shape}'")
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
    divisor: float = 1.0,
    image_shape: tuple[int, int, int] | None = None,
) -> Split:
    """Check, scale and split rows.

    Args:
        x: (N, D), or (N, ...) which is flattened; NumPy or SciPy sparse, any real type. (N, height, width) and
            (N, height, width, 1, 3 or 4 channels) are images.
        labels: (N,) of any type, or None.
        options: scaling and split.
        n_train: the first rows that are for training, where an official split exists.
        columns: names of the columns, for messages and for matching those of later rows.
        divisor: what the values are divided by before anything else (Digits' 16).
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
        labels = _check_labels(labels, n_rows)
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
    scaling, done = _scaling(x, train, how)
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
        preprocessing=done if divisor == 1.0 else f"divided by {divisor:g}; {done}",
        warnings=tuple(warnings),
        preparation=dataclasses.replace(
            scaling, columns=None if columns is None else tuple(columns), row_shape=row_shape, divisor=divisor
        ),
        image_shape=image_shape,
    )


def _image_shape(shape: tuple[int, ...], asked: str, known: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
    """Return height, width and channels of a row: as asked, as known, or as the array's shape says."""
    if asked != "auto":
        height, width, channels = (*map(int, asked.split("x")), 1)[:3]
        n_columns = math.prod(shape[1:])
        if height * width * channels != n_columns:
            raise UsageError(f"an image of {asked} has {height * width * channels} values and a row has {n_columns}")
        return height, width, channels
    if known is not None:
        return known
    if len(shape) == 3:
        return shape[1], shape[2], 1
    if len(shape) == 4 and shape[3] in IMAGE_CHANNELS:
        return shape[1], shape[2], shape[3]
    return None


def as_table(x: Any) -> Any:
    """Return real numbers as (N, D): CSR, or an array, (N, ...) flattened.

    Raises:
        UsageError: they are not numbers, or have no rows and columns.

    """
    x = x.tocsr() if sparse.issparse(x) else np.asanyarray(x)
    if x.ndim > 2:
        x = x.reshape(len(x), -1)
    if x.ndim != 2:
        raise UsageError(f"the data must have rows and columns, got an array of shape {x.shape}")
    if x.dtype.kind not in "biuf":
        raise UsageError(f"the data must be numbers, got an array of type {x.dtype}")
    return x


def column_namer(columns: Sequence[str] | None) -> Callable[[int], str]:
    """Return what names a column in messages: by its name, else by its number from 1."""
    return lambda column: f"'{columns[column]}'" if columns else f"{column + 1}"


def _blocks(x: Any) -> Iterator[tuple[int, Any]]:
    for start in range(0, x.shape[0], CHECK_ROWS):
        yield start, x[start : start + CHECK_ROWS]


def value_range(x: Any, name: Callable[[int], str], first_row: int = 0) -> tuple[Array, Array]:
    """Return each column's least and greatest value, (D,) each; refuse NaN and infinity, naming the first.

    Args:
        x: dense or CSR rows.
        name: names a column, as `column_namer` does.
        first_row: number of x's first row in the whole data, from 0.

    Raises:
        UsageError: a value is not finite.

    """
    low = np.full(x.shape[1], np.inf)
    high = np.full(x.shape[1], -np.inf)
    for start, block in _blocks(x):
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
    return low, high


def _refuse(row: int, column: str, value: Any) -> None:
    raise UsageError(f"row {row + 1}, column {column} is {float(value)}; fill in or remove missing and infinite values")


def _random_split(n_rows: int, options: SplitOptions) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    n_test = min(int(np.ceil(n_rows * options.test_fraction)), n_rows - 1)
    order = np.random.default_rng(options.split_seed).permutation(n_rows)
    return np.sort(order[n_test:]), np.sort(order[:n_test])


def _scaling(x: Any, train: Array, how: Scale) -> tuple[Preparation, str]:
    """Return how rows are scaled, from the training rows, and the same in words."""
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


def _check_labels(labels: Array, n_rows: int) -> Array:
    """Return one label a row, text where they are objects; refuse missing ones."""
    if labels.size != n_rows:
        raise UsageError(f"there are {n_rows} rows and {labels.size} labels; give one label a row")
    labels = labels.reshape(n_rows)
    missing = np.zeros(n_rows, dtype=bool)
    if labels.dtype.kind == "O":
        missing = np.array([label is None or str(label) in ("", "nan", "<NA>") for label in labels])
    elif labels.dtype.kind == "f":
        missing = np.isnan(labels)
    elif labels.dtype.kind == "U":
        missing = np.char.strip(labels) == ""
    if missing.any():
        raise UsageError(f"row {int(np.argmax(missing)) + 1} has no label; give every row one, or leave labels out")
    return labels.astype(str) if labels.dtype.kind == "O" else labels


def revealed_labels(labels: Array, known: Array, n_revealed: int, seed: int) -> Array:
    """Return class numbers of some rows and -1 of the others, (N,) int64.

    Args:
        labels: (N,) labels of any type.
        known: (N,) whether each is known.
        n_revealed: how many to reveal, evenly over the classes as far as they go (Kingma et al. 2014).
        seed: chooses which.

    """
    numbers = np.full(len(labels), -1, dtype=np.int64)
    classes = np.unique(labels[known])
    random = np.random.default_rng(seed)
    for number, value in enumerate(classes):
        members = random.permutation(np.flatnonzero(known & (labels == value)))
        share = n_revealed // len(classes) + (number < n_revealed % len(classes))
        numbers[members[:share]] = number
    return numbers


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

    def nearest(self, n_neighbours: int) -> Tensor:
        """Return the numbers of each row's nearest other rows, (N, n_neighbours or what there are), int64."""
        rows = self._x[self._numbers]
        number = min(n_neighbours, self.n_rows - 1)
        found = NearestNeighbors(n_neighbors=number).fit(rows).kneighbors(return_distance=False)
        return torch.from_numpy(found).to(self.device, torch.long)

    def in_order(self, size: int) -> Iterator[Tensor]:
        """Give all rows in order, `size` at a time."""
        for start in range(0, self.n_rows, size):
            if self._tensor is not None:
                yield self._tensor[start : start + size]
            else:
                stop = min(start + size, self.n_rows)
                yield self.batch(torch.arange(start, stop, device=self.device))
