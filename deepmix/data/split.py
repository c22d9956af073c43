"""A data set as a run uses it: its rows, which of them are for training, and how they were prepared."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from deepmix.data.preparation import Preparation
from deepmix.data.row_set import InputGaps, RowSet
from deepmix.data.schema import TableSchema
from deepmix.data.stored_csr import StoredCsr
from deepmix.data.stored_rows import StoredRows

if TYPE_CHECKING:
    import pandas as pd

HASHED_ROWS = 1 << 20
"""Row numbers that are hashed together."""


def fingerprint(split: Split) -> str:
    """Return a hash of the rows as a model takes them and of which are for training."""
    digest = hashlib.blake2b(digest_size=16)
    for start in range(0, len(split.train), HASHED_ROWS):
        digest.update(np.ascontiguousarray(split.train[start : start + HASHED_ROWS]).data)
    parts = [*((split.x.data, split.x.indices) if sparse.issparse(split.x) else (split.x,))]
    parts += [part for part in (split.cells, split.conditions, split.weights) if part is not None]
    for part in parts:
        for block in (block for _, block in part.blocks()) if isinstance(part, StoredRows) else (part,):
            for values in (block.data, block.indices) if sparse.issparse(block) else (block,):
                digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def labels_fingerprint(split: Split) -> str:
    """Return a hash of what `fingerprint` leaves out: the labels, and where the rows of a sparse matrix begin."""
    digest = hashlib.blake2b(digest_size=16)
    if sparse.issparse(split.x) or isinstance(split.x, StoredCsr):
        digest.update(repr(split.x.shape).encode())
        digest.update(np.ascontiguousarray(split.x.indptr, dtype=np.int64).data)
    if split.labels is not None:
        digest.update("\n".join(split.labels.astype(str).tolist()).encode(errors="surrogatepass"))
    return digest.hexdigest()


AS_THEY_ARE = Preparation()
"""The preparation of rows about which nothing else is known."""


@dataclass(frozen=True)
class Split:
    """Rows of one data set and which of them are for training.

    `x` is (N, D): a NumPy array, a memory map, a SciPy CSR matrix or `StoredRows`, float32 when dense.
    """

    x: Any
    """All rows, training and test."""
    train: npt.NDArray[np.int64]
    """Row numbers used for training; of rows that stay on disk they are `RowNumbers`, and so are those held out."""
    test: npt.NDArray[np.int64]
    """Row numbers held out."""
    labels: npt.NDArray[Any] | None
    """(N,) labels of any type, or None."""
    likelihood: str
    """The observation model that suits x: 'bernoulli' or 'gaussian'."""
    preprocessing: str
    """What was done to x, in words."""
    warnings: tuple[str, ...] = ()
    """What the user should know about the data, in words."""
    preparation: Preparation = AS_THEY_ARE
    """How rows of the same kind become rows of x."""
    image_shape: tuple[int, int, int] | None = None
    """Height, width and channels where a row is an image stored in this order, else None."""
    known: npt.NDArray[np.bool_] | None = None
    """(N,) whether each row's label is known; None where all are, or there are none."""
    weights: npt.NDArray[np.float64] | None = None
    """(N,) positive weights: a row of weight 2 counts as two rows. None: every row has weight 1."""

    schema: TableSchema | None = None
    """What each column of a table is; None where the data are an array."""
    table: pd.DataFrame | None = None
    """The table as it was read, (N rows); None where the data are an array."""
    cells: npt.NDArray[np.float32] | None = None
    """Values that the likelihoods take, (N, C), NaN where one is missing; None: they take x."""
    flags: npt.NDArray[np.float32] | None = None
    """1 where a value is missing, (N, S), for the cells that are missing in a training row; None where none is."""
    conditions: npt.NDArray[np.float32] | None = None
    """Covariates of encoder and decoder, (N, Q), or None."""
    gaps: InputGaps | None = None
    """The inputs of columns whose values may be missing; None where none may."""
    row_names: npt.NDArray[Any] | None = None
    """Names of the rows, (N,) text, where they have any."""

    numbers: npt.NDArray[np.int64] | None = None
    """The rows' numbers in the data set that they are a sample of, (N,) ascending; None: they are a whole data set."""

    @property
    def is_stored(self) -> bool:
        """Whether the rows stay on disk, so that what needs them in memory takes a sample of them."""
        return isinstance(self.x, StoredRows)

    def row_numbers(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the numbers of these rows in the whole data set, from 0."""
        return rows if self.numbers is None else self.numbers[rows]

    @property
    def rows(self) -> RowSet:
        """All rows as a model takes them."""
        return RowSet(self.x, self.cells, self.flags, self.conditions, self.weights, self.gaps)

    @property
    def n_classes(self) -> int | None:
        """The number of different labels, unknown ones left out; None without labels."""
        if self.labels is None:
            return None
        return len(np.unique(self.labels if self.known is None else self.labels[self.known]))

    def weights_of(self, side: npt.NDArray[np.int64]) -> npt.NDArray[np.float64] | None:
        """Return the weights of these rows; None if no row has a weight."""
        return None if self.weights is None else self.weights[side]

    def take(self, side: npt.NDArray[np.int64] | slice) -> Any:
        """Return these rows as a trained run takes them: an array's rows, or a table's `RowSet`."""
        return self.x[side] if self.schema is None else self.rows.take(side)

    def scored(self, side: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return which of these rows have a label to score by."""
        return np.ones(len(side), dtype=bool) if self.known is None else self.known[side]
