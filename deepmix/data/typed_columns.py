"""From the columns of a file or a data frame that have types to the types that tables have in deepmix."""

from __future__ import annotations

import datetime
import decimal
import numbers
from typing import Any

import numpy as np

from deepmix.data.missing_marks import Marks
from deepmix.maths import Array


class UnreadableColumnError(Exception):
    """A column holds cells that no table can hold; the error's text follows the column's name in a message."""

    def __init__(self, message: str, cure: str) -> None:
        super().__init__(message)
        self.cure = cure


def typed_column(column: Any, marks: Marks) -> Array:
    """Return a column's values as int64, float64, bool, datetime64[us], or object (text, None where missing), (n,).

    Numbers and truth values with missing ones become float64 and text; times of day with a zone become UTC; durations
    become seconds. Numbers that are written as text stay text.

    Args:
        column: a pandas Series or an array.
        marks: the marks of a missing value; they count in text, and in numbers where they are numbers.

    Raises:
        UnreadableColumnError: the cells are lists, bytes or other objects.

    """
    import pandas as pd

    series = column if isinstance(column, pd.Series) else pd.Series(column)
    if isinstance(series.dtype, pd.CategoricalDtype):
        categories = np.asarray(series.cat.categories, dtype=object)
        codes = series.cat.codes.to_numpy()
        cells = np.full(len(codes), None, dtype=object)
        cells[codes >= 0] = categories[codes[codes >= 0]]
        return _of_objects(cells, marks)
    kind = getattr(series.dtype, "kind", "O")
    if kind in "iu" and not series.isna().any():
        values = series.to_numpy()
        fits = not len(values) or int(values.max()) <= np.iinfo(np.int64).max
        return marks.without_marks(values.astype(np.int64 if fits else np.float64))
    if kind in "iuf":
        return marks.without_marks(series.to_numpy(dtype=np.float64, na_value=np.nan))
    if kind == "b" and not series.isna().any():
        return series.to_numpy(dtype=bool)
    if kind == "M":
        if getattr(series.dtype, "tz", None) is not None:
            series = series.dt.tz_convert("UTC").dt.tz_localize(None)
        return series.to_numpy(dtype="datetime64[us]")
    if kind == "m":
        seconds = series.to_numpy(dtype="timedelta64[ns]")
        return np.where(np.isnat(seconds), np.nan, seconds.astype(np.int64) / 1e9)
    if kind == "c":
        raise UnreadableColumnError("holds complex numbers", "give their parts columns of their own")
    return _of_objects(series.to_numpy(dtype=object, na_value=None), marks)


def as_text(values: Array) -> Array:
    """Return values as text, (n,) object: None where missing, and whole numbers without decimals."""
    if values.dtype.kind == "O":
        return values
    missing = values != values  # NaN and NaT
    cells = values[~missing].tolist()
    return _texts(
        [str(int(cell) if isinstance(cell, float) and cell.is_integer() else cell) for cell in cells], missing
    )


def _of_objects(cells: Array, marks: Marks) -> Array:
    """Return the values of cells that may be of any Python type."""
    missing = np.array([_is_missing(cell, marks) for cell in cells], dtype=bool)
    seen = cells[~missing].tolist()
    if not seen:
        return np.full(len(cells), np.nan)
    if all(isinstance(cell, bool | np.bool_) for cell in seen):
        if not missing.any():
            return np.array(seen, dtype=bool)
        return _texts([str(bool(cell)) for cell in seen], missing)
    if all(isinstance(cell, numbers.Real | decimal.Decimal) for cell in seen):
        if not missing.any() and all(isinstance(cell, numbers.Integral) for cell in seen):
            try:
                return marks.without_marks(np.array([int(cell) for cell in seen], dtype=np.int64))
            except OverflowError:
                pass
        values = np.full(len(cells), np.nan)
        values[~missing] = [float(cell) for cell in seen]
        return marks.without_marks(values)
    if all(isinstance(cell, datetime.date | np.datetime64) for cell in seen):
        dates = np.full(len(cells), "NaT", dtype="datetime64[us]")
        dates[~missing] = np.array([_without_zone(cell) for cell in seen], dtype="datetime64[us]")
        return dates
    strange = next((cell for cell in seen if not isinstance(cell, SIMPLE)), None)
    if strange is not None:
        raise UnreadableColumnError(
            f"holds cells of type {type(strange).__name__}", "save it as numbers, truth values, dates or text"
        )
    return _texts([str(cell).strip() for cell in seen], missing)


SIMPLE = (str, bool, np.bool_, numbers.Real, decimal.Decimal, datetime.date, datetime.time, np.datetime64)
"""The types of cells that become text where a column's cells are of several types."""


def _is_missing(cell: Any, marks: Marks) -> bool:
    if isinstance(cell, str):
        return marks.is_missing(cell)
    if isinstance(cell, numbers.Real | decimal.Decimal):
        return bool(cell != cell) or float(cell) in marks.numbers
    return cell is None or str(cell) in ("NaT", "<NA>")


def _without_zone(cell: Any) -> Any:
    """Return a date without a time zone, in UTC."""
    if getattr(cell, "tzinfo", None) is None:
        return cell
    return cell.astimezone(datetime.UTC).replace(tzinfo=None)


def _texts(seen: list[str], missing: Array) -> Array:
    values = np.full(len(missing), None, dtype=object)
    values[~missing] = seen
    return values
