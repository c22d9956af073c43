"""The training rows as an initial clustering sees them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from deepmix.contracts.steps import Progress
from deepmix.maths import Array


@dataclass(frozen=True)
class TrainingRows:
    """The training rows, with what an initial clustering may need to know of them; a new input becomes a new field."""

    x_ND: Any
    """The features of the rows, (N, D): dense or CSR, float32; missing values of a table are filled in."""
    code_NM: Array
    """The pretrained autoencoder's codes of the same rows, (N, M)."""
    weight_N: Array | None = None
    """The rows' weights, (N,) float64: a row of weight 2 counts as two rows. None: every row has weight 1."""
    progress: Progress = field(default=Progress(), repr=False, compare=False)
    """Where a clustering that takes long reports its steps."""

    def only(self, rows: Array) -> TrainingRows:
        """Return some of the rows, chosen by number or by a truth value for each row."""
        weights = None if self.weight_N is None else self.weight_N[rows]
        return replace(self, x_ND=self.x_ND[rows], code_NM=self.code_NM[rows], weight_N=weights)
