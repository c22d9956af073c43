"""A data set as a run uses it: its rows, which of them are for training, and how they were prepared."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from deepmix.data.preparation import Preparation


def fingerprint(split: Split) -> str:
    """Return a hash of the scaled rows and of which are for training."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(np.ascontiguousarray(split.train).data)
    for part in (split.x.data, split.x.indices) if sparse.issparse(split.x) else (split.x,):
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


AS_THEY_ARE = Preparation()
"""The preparation of rows about which nothing else is known."""


@dataclass(frozen=True)
class Split:
    """Rows of one data set and which of them are for training.

    `x` is (N, D): a NumPy array, a memory map or a SciPy CSR matrix, float32 when dense.
    """

    x: Any
    """All rows, training and test."""
    train: npt.NDArray[np.int64]
    """Row numbers used for training."""
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

    def scored(self, side: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return which of these rows have a label to score by."""
        return np.ones(len(side), dtype=bool) if self.known is None else self.known[side]
