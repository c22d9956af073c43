"""The cells of a table's column as numbers, days or level names, with NaN or None where a value is missing."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Number
from typing import TYPE_CHECKING, Literal

import numpy as np

from deepmix.data.dates import days_of_dates, days_of_text
from deepmix.maths import Array

if TYPE_CHECKING:
    import pandas as pd

Storage = Literal["bool", "number", "date", "text", "nothing"]
"""What a column's cells are in the table."""


TRUTH_WORDS = {"true": 1.0, "false": 0.0}


def is_missing(column: pd.Series, marks: Sequence[str] = ()) -> Array:
    """Return whether each cell is missing, (N,) bool: NaN, None, NA, NaT, blank text, or one of the marks."""
    missing: Array = column.isna().to_numpy().copy()
    if storage_of(column) == "text":
        words = {"", *(mark.strip().lower() for mark in marks)}
        cells = column.astype(object)
        missing |= np.array([isinstance(cell, str) and cell.strip().lower() in words for cell in cells], dtype=bool)
    elif storage_of(column) == "number":
        numbers = [value for value in map(number_of, marks) if value is not None]
        if numbers:
            missing |= np.isin(column.to_numpy(dtype=np.float64, na_value=np.nan), numbers)
    return missing


def storage_of(column: pd.Series) -> Storage:
    """Return what a column's cells are; text where they are of several types."""
    import pandas as pd

    types = pd.api.types
    if types.is_bool_dtype(column.dtype) and column.dtype != object:
        return "bool"
    if types.is_numeric_dtype(column.dtype) and not types.is_complex_dtype(column.dtype):
        return "number"
    if types.is_datetime64_any_dtype(column.dtype):
        return "date"
    if isinstance(column.dtype, types.CategoricalDtype):
        return storage_of(column.astype(object))
    inferred = types.infer_dtype(column, skipna=True)
    storages: dict[str, Storage] = {"boolean": "bool", "empty": "nothing"}
    storages |= dict.fromkeys(("datetime64", "datetime", "date"), "date")
    storages |= dict.fromkeys(("integer", "floating", "mixed-integer-float", "decimal"), "number")
    return storages.get(inferred, "text")


def number_of(cell: object) -> float | None:
    """Return a cell's number; True is 1 and False is 0; None if it is neither a number nor a truth value."""
    if isinstance(cell, Number) and not isinstance(cell, complex):
        return float(cell)  # type: ignore[arg-type]
    text = str(cell).strip()
    if text.lower() in TRUTH_WORDS:
        return TRUTH_WORDS[text.lower()]
    if "_" in text:  # Python takes 1_000 for a number
        return None
    try:
        return float(text)
    except ValueError:
        return None


def numbers_of(column: pd.Series, missing: Array) -> tuple[Array, Array]:
    """Return a column's numbers, (N,) float64, and whether each cell is something else, (N,) bool.

    Args:
        column: N cells.
        missing: (N,) whether each is missing.

    Returns:
        NaN where a cell is missing or is not a finite number.

    """
    storage = storage_of(column)
    if storage in ("bool", "number") and column.dtype != object:
        numbers = np.where(missing, np.nan, column.to_numpy(dtype=np.float64, na_value=np.nan))
    elif storage == "date":
        numbers = np.full(len(column), np.nan)
    else:
        cells = [None if skip else number_of(cell) for cell, skip in zip(column.astype(object), missing, strict=True)]
        numbers = np.array([np.nan if number is None else number for number in cells], dtype=np.float64)
    numbers = np.where(np.isfinite(numbers), numbers, np.nan)
    return numbers, np.isnan(numbers) & ~missing


def days_of(column: pd.Series, missing: Array, order: str | None) -> tuple[Array, Array]:
    """Return a column's days since 1970, (N,) float64, and whether each cell is something else, (N,) bool.

    Args:
        column: N dates, or N texts.
        missing: (N,) whether each is missing.
        order: how texts write dates, see `date_order`; None: 'ymd'.

    """
    import pandas as pd

    storage = storage_of(column)
    if storage == "date":
        days = days_of_dates(pd.to_datetime(column))
    elif storage == "text":
        texts = [None if skip else str(cell) for cell, skip in zip(column.astype(object), missing, strict=True)]
        days = days_of_text(texts, order or "ymd")
    else:
        days = np.full(len(column), np.nan)
    days = np.where(missing, np.nan, days)
    return days, np.isnan(days) & ~missing


def level_name(cell: object) -> str:
    """Return the name of a cell's level: of a number without a trailing '.0', of a text without blanks around it."""
    if isinstance(cell, bool | np.bool_):
        return str(bool(cell))
    if isinstance(cell, Number) and not isinstance(cell, complex):
        number = float(cell)  # type: ignore[arg-type]
        return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)
    return str(cell).strip()


def level_names_of(column: pd.Series, missing: Array, level_type: str | None = None) -> Array:
    """Return the name of each cell's level, (N,) object; None where a cell is missing.

    Args:
        column: N cells.
        missing: (N,) whether each is missing.
        level_type: what the levels were in the training rows ('text', 'number', 'bool'), where that is known: a number
            or a truth value then has one name, however the column stores it.

    """
    import pandas as pd

    names = np.full(len(column), None, dtype=object)
    numbers, cells = pd.factorize(column[~missing].astype(object))
    by_number = np.empty(len(cells), dtype=object)
    by_number[:] = [_name_as(cell, level_type) for cell in cells]
    names[~missing] = by_number[numbers]
    return names


def _name_as(cell: object, level_type: str | None) -> str:
    if level_type in ("number", "bool"):
        number = number_of(cell)
        if number is not None and level_type == "number":
            return level_name(number)
        if number in (0.0, 1.0):
            return str(number == 1.0)
    return level_name(cell)
