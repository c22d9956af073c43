"""Rows as a model takes them, on the side of NumPy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deepmix.maths import Array


@dataclass(frozen=True)
class InputGaps:
    """Which inputs of an encoder change when a table's value is missing, for J columns that had missing values."""

    emptied: Array
    """(J, n_inputs) bool: the features, which are then 0."""
    raised: Array
    """(J, n_inputs) bool: the flags, which are then 1."""


@dataclass(frozen=True)
class RowSet:
    """N rows; rows of an array have only `x`."""

    x: Any
    """Features, (N, F) float32: dense, a memory map or CSR."""
    cells: Array | None = None
    """Values that the likelihoods take, (N, C) float32, NaN where one is missing; None: they take `x`."""
    flags: Array | None = None
    """1 where a value is missing, else 0, (N, S) float32, for the S cells that were missing in a training row."""
    conditions: Array | None = None
    """Covariates that encoder and decoder see beside the row, (N, Q) float32."""
    weights: Array | None = None
    """Weights of the rows, (N,) float64; None: all rows count alike."""
    gaps: InputGaps | None = None
    """The inputs of columns whose values may be missing; None where none may."""

    def __len__(self) -> int:
        return int(self.x.shape[0])

    def take(self, numbers: Array | slice) -> RowSet:
        """Return the rows with these numbers."""
        parts = {name: getattr(self, name) for name in ("cells", "flags", "conditions", "weights")}
        subset = {name: None if part is None else part[numbers] for name, part in parts.items()}
        return replace(self, x=self.x[numbers], **subset)

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and features."""
        return (int(self.x.shape[0]), int(self.x.shape[1]))

    @property
    def n_inputs(self) -> int:
        """Width of an encoder's input: features, flags and conditions together."""
        return sum(int(part.shape[1]) for part in (self.x, self.flags, self.conditions) if part is not None)

    @property
    def n_conditions(self) -> int:
        """Q, the number of conditions."""
        return 0 if self.conditions is None else self.conditions.shape[1]

    def inputs(self, numbers: Array | slice) -> Any:
        """Return an encoder's input for these rows, (n, n_inputs): features, then flags, then conditions."""
        parts = [part[numbers] for part in (self.x, self.flags, self.conditions) if part is not None]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
