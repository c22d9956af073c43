"""What a user can say about a table's columns; read by `--help`, so nothing slow is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ColumnOptions:
    """What a user says about one column; None leaves it to the rules."""

    kind: str | None = None
    likelihood: str | None = None
    levels: tuple[str, ...] | None = None
    """Levels in their order, for an ordinal column."""


@dataclass(frozen=True)
class TableOptions:
    """What a user says about a table; the defaults leave everything to the rules."""

    columns: Mapping[str, ColumnOptions] = field(default_factory=dict)
    """By column name."""
    drop: tuple[str, ...] = ()
    """Columns to leave out."""
    id_column: str | None = None
    """Column that names the rows."""
    weight_column: str | None = None
    """Column of row weights."""
    conditions: tuple[str, ...] = ()
    """Columns that encoder and decoder see and that the clusters should not encode, such as batch or site."""
    missing: tuple[str, ...] = ()
    """Further marks of a missing value, such as -999, beside the usual ones."""

    def names(self, label_column: str | None = None) -> tuple[str, ...]:
        """Return the names of columns that the options and the label column use; a first row with them is a header."""
        single = (label_column, self.id_column, self.weight_column)
        return (*self.columns, *self.drop, *self.conditions, *(name for name in single if name is not None))
