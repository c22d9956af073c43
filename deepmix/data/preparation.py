"""How raw rows become a model's rows; saved with a run so that new rows are treated like the training rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

Scale = Literal["none", "bytes", "standard"]


BYTE_RANGE = np.float32(255)
"""The number by which `bytes` divides."""


@dataclass(frozen=True)
class Preparation:
    """x -> (x / divisor, then: as it is, / 255, or (x - mean) / spread), as float32.

    The default leaves rows as they are; it stands for data sets whose plugins do not say what they did.
    """

    columns: tuple[str, ...] | None = None
    """Names of the D columns, where the data has them."""
    row_shape: tuple[int, ...] | None = None
    """Shape of a row before it was flattened, such as (28, 28)."""
    divisor: float = 1.0
    """The number by which the values were divided first."""
    scale: Scale = "none"
    mean: npt.NDArray[np.float64] | None = None
    """Means of the training rows, (D,), in units of x / divisor; None where sparse rows were not centred."""
    spread: npt.NDArray[np.float64] | None = None
    """Standard deviations of the training rows, (D,), or their root mean square, (), where sparse."""

    def __post_init__(self) -> None:
        """Raise a ValueError where the parts do not fit together, as in a damaged file."""
        if self.scale == "standard" and self.spread is None:
            raise ValueError("standardised rows need a spread")
        if self.mean is not None and (self.spread is None or self.mean.shape != self.spread.shape):
            raise ValueError("there are not as many means as spreads")
        if not np.isfinite(self.divisor) or self.divisor == 0.0:
            raise ValueError(f"rows can't be divided by {self.divisor}")

    def apply(self, x: Any) -> Any:
        """Return rows (N, D) float32, dense or CSR, as the model takes them; sparse rows stay sparse unless centred."""
        with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, which is refused where it is used
            return self._applied(x)

    def _applied(self, x: Any) -> Any:
        if self.divisor != 1.0:
            x = x / self.divisor
        if self.scale == "none":
            return x.astype(np.float32, copy=False)
        if self.scale == "bytes":
            x = x.astype(np.float32)
            x /= BYTE_RANGE
            return x
        if sparse.issparse(x) and self.mean is None:
            x = x.astype(np.float64)
            x.data /= self.spread
            return x.astype(np.float32)
        if sparse.issparse(x):
            x = x.toarray()
        if self.mean is not None:
            x = x - self.mean
        return (x / self.spread).astype(np.float32)

    def undo(self, x: Any) -> Any:
        """Return a model's rows (N, D), dense or CSR, in the units of the data, float64."""
        x = x.astype(np.float64)
        if self.scale == "bytes":
            x = x * float(BYTE_RANGE)
        elif self.mean is not None:
            x = x * self.spread + self.mean
        elif self.spread is not None:
            x = x * self.spread.item()
        return x * self.divisor
