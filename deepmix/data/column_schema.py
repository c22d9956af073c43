"""What one column of a table is: its kind, its likelihood, and what its training rows hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "continuous",
    "positive",
    "count",
    "binary",
    "categorical",
    "ordinal",
    "datetime",
    "identifier",
    "text",
    "label",
    "weight",
    "condition",
    "constant",
    "empty",
    "duplicate",
    "dropped",
]
"""What a column is. Columns of the first seven kinds are modelled."""


LIKELIHOODS: dict[str, tuple[str, ...]] = {
    "continuous": ("gaussian-per-column", "student-t"),
    "positive": ("log-normal",),
    "count": ("negative-binomial", "poisson"),
    "binary": ("bernoulli", "categorical"),
    "categorical": ("categorical",),
    "ordinal": ("ordinal", "categorical"),
    "datetime": ("gaussian-per-column", "student-t"),
}
"""The built-in likelihoods that suit each modelled kind, the usual one first."""


NUMBER_KINDS = ("continuous", "positive", "count")
"""Kinds whose cells are numbers, which likelihoods of other plugins may take too."""


LEVEL_KINDS = ("binary", "categorical", "ordinal")
"""Kinds whose cells are the numbers of levels."""


SETTABLE_KINDS = (*LIKELIHOODS, "identifier", "text", "dropped")
"""Kinds that a user may give a column; the others have options of their own or follow from the rows."""


WITH_LEVELS = ("categorical", "ordinal")
"""Likelihoods whose blocks say how many levels each cell has."""


OTHER = "(other)"
"""The level that rare levels share."""


@dataclass(frozen=True)
class CellBlock:
    """Neighbouring cells of a row that share one likelihood."""

    likelihood: str
    """The name of a plugin of kind `likelihoods`."""
    n_cells: int
    levels: tuple[int, ...] = ()
    """Number of levels of each cell, whose values are then 0, 1, ..., levels - 1; empty where cells are numbers."""


@dataclass(frozen=True)
class ColumnSchema:
    """One column of a table: its kind, why, and what its training rows hold.

    The unit of a column's cells follows from its kind:
        continuous  (x - mean) / spread
        positive    (x + offset) / exp(mean), which is greater than 0
        count       x
        binary      0 or 1
        categorical, ordinal    the level's number, from 0
        datetime    (days - mean) / spread, then the sine and the cosine of each cycle
    """

    name: str
    kind: Kind
    reason: str
    """Why the column has this kind and what is done with it, in words."""
    likelihood: str | None = None
    """The plugin whose distribution the column has; None where it is not modelled."""
    levels: tuple[str, ...] | None = None
    """Levels in order (binary, categorical, ordinal, and a condition that is not a number); rare ones share OTHER."""
    level_type: Literal["text", "number", "bool"] | None = None
    """What the levels are in the table."""
    fractions: tuple[float, ...] | None = None
    """Fraction of each level among the training rows that have a value."""
    offset: float = 0.0
    """Number added before the logarithm of a positive column, so that zeros have one."""
    mean: float = 0.0
    """Mean of the training rows on the column's own scale: of logarithms for positive, of log(1 + x) for count, of
    level numbers for ordinal, of days since 1970 for datetime; the median where the likelihood is student-t."""
    spread: float = 1.0
    """Standard deviation on the same scale; the interquartile range / 1.349 where the likelihood is student-t."""
    feature_means: tuple[float, ...] = ()
    """Mean of each feature before the last centring (numbers, ordinal, datetime); other levels use `fractions`."""
    feature_spreads: tuple[float, ...] = ()
    """Standard deviation of each of these features; of numbers 1 at least, so that they stay clipped."""
    cycles: tuple[str, ...] = ()
    """Cyclic parts of a date: 'year', 'week', 'day'."""
    date_order: str | None = None
    """How dates that are text are written: 'ymd', 'dmy' or 'mdy'; None where the cells are dates."""
    date_unit: str = "s"
    """The unit that dates are rounded to: 'D', 'h', 'min' or 's'."""
    decimals: int | None = None
    """Decimals that the column's numbers are written with; None where they are not rounded."""
    names_rows: bool = False
    """Whether the user named this identifier as the column of row names."""
    strays: tuple[str, ...] = ()
    """Some cells of the training rows that count as missing because they are neither numbers nor dates."""
    missing: float = 0.0
    """Fraction of the training rows without a value, strays included."""
    distinct: int = 0
    """Number of different values in the training rows."""
    low: float | str | None = None
    high: float | str | None = None
    """Least and greatest value of the training rows; dates as text."""

    @property
    def is_modelled(self) -> bool:
        """Whether the column has cells."""
        return self.kind in LIKELIHOODS

    @property
    def is_read_as_text(self) -> bool:
        """Whether a file's cells stay text, as they were in training even where some rows hold numbers only.

        Those of a dropped column do too, so that they may hold anything.
        """
        is_text_id = self.kind == "identifier" and (self.names_rows or self.low is None)
        has_text_levels = self.levels is not None and self.level_type != "number"
        return self.kind == "dropped" or has_text_levels or is_text_id

    @property
    def n_cells(self) -> int:
        """Number of cells per row."""
        return (1 + 2 * len(self.cycles)) if self.is_modelled else 0

    @property
    def n_features(self) -> int:
        """Number of features per row."""
        if self.kind == "categorical":
            return len(self.levels or ())
        return self.n_cells

    @property
    def cell_levels(self) -> tuple[int, ...]:
        """Number of levels of each cell; empty where the likelihood takes numbers."""
        return (len(self.levels or ()),) if self.likelihood in WITH_LEVELS else ()
