"""What the training rows of a column hold: levels, means, spreads, ranges and decimals."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from deepmix.data.column_schema import LEVEL_KINDS, NUMBER_KINDS, ColumnSchema
from deepmix.data.column_values import days_of, level_names_of, numbers_of, storage_of
from deepmix.data.dates import cycles_of_days, dates_of_days, unit_of_days
from deepmix.data.encode import column_cells, level_numbers, raw_features
from deepmix.data.kinds import common_levels, sorted_levels
from deepmix.data.number_kinds import robust_scale
from deepmix.maths import Array

if TYPE_CHECKING:
    import pandas as pd

MOST_DECIMALS = 8
"""Numbers with more decimals are not rounded."""


MOST_STRAYS = 5
"""Stray cells that a schema lists."""


def with_facts(column: ColumnSchema, values: pd.Series, missing: Array) -> ColumnSchema:
    """Return a column with what holds for any kind: missing fraction, distinct values, range."""
    seen = values[~missing]
    facts: dict[str, Any] = {"missing": float(missing.mean()) if len(missing) else 0.0}
    if len(seen):
        none = np.zeros(len(seen), dtype=bool)
        facts["distinct"] = int(seen.nunique())
        storage = storage_of(seen)
        if storage == "number":
            numbers, wrong = numbers_of(seen, none)
            facts |= {} if wrong.all() else {"low": float(np.nanmin(numbers)), "high": float(np.nanmax(numbers))}
        elif storage == "date":
            facts |= _date_range(days_of(seen, none, None)[0], "s")
    return dataclasses.replace(column, **facts)


def with_statistics(
    column: ColumnSchema, values: pd.Series, missing: Array, levels: tuple[str, ...] | None
) -> ColumnSchema:
    """Return a modelled column with the statistics that its maps use.

    Args:
        column: its kind and likelihood.
        values: the training rows in the table's form; at least one has a value of the kind.
        missing: (N,) whether each is missing.
        levels: the levels that the user asked for, or None.

    """
    if column.kind in LEVEL_KINDS:
        column = with_levels(column, values, missing, levels)
    elif column.kind == "datetime":
        column = _with_days(column, values, missing)
    else:
        column = _with_numbers(column, values, missing)
    if column.kind in ("binary", "categorical"):
        return column
    raw = raw_features(column, column_cells(column, values, missing).cells)
    spreads = np.nanstd(raw, axis=0)
    if column.kind in NUMBER_KINDS:  # clipped already; a smaller spread would undo that
        spreads = np.maximum(spreads, 1.0)
    return dataclasses.replace(
        column,
        feature_means=tuple(np.nanmean(raw, axis=0).tolist()),
        feature_spreads=tuple(np.where(spreads > 0.0, spreads, 1.0).tolist()),
    )


def with_levels(
    column: ColumnSchema, values: pd.Series, missing: Array, levels: tuple[str, ...] | None = None
) -> ColumnSchema:
    """Return a column with its levels, their fractions, and for an ordinal one the mean and spread of their numbers."""
    seen = values[~missing]
    storage = storage_of(seen)
    names = level_names_of(seen, np.zeros(len(seen), dtype=bool))
    if levels is None:
        counts = Counter(names.tolist())
        levels = common_levels(counts) if column.kind == "categorical" else tuple(sorted_levels(seen, names))
    column = dataclasses.replace(
        column, levels=levels, level_type=storage if storage in ("number", "bool") else "text", decimals=None
    )
    numbers, _ = level_numbers(column, names)
    fractions = np.bincount(numbers[~np.isnan(numbers)].astype(np.int64), minlength=len(levels)) / max(len(numbers), 1)
    column = dataclasses.replace(column, fractions=tuple(fractions.tolist()))
    if column.kind != "ordinal":
        return column
    return dataclasses.replace(column, mean=float(numbers.mean()), spread=float(numbers.std()) or 1.0)


def _with_days(column: ColumnSchema, values: pd.Series, missing: Array) -> ColumnSchema:
    days, wrong = days_of(values, missing, column.date_order)
    finite = days[np.isfinite(days)]
    unit = unit_of_days(finite)
    mean, spread = _scale(finite, column)
    return dataclasses.replace(
        column,
        mean=mean,
        spread=spread,
        cycles=cycles_of_days(finite),
        date_unit=unit,
        strays=_strays(values, wrong),
        missing=float(np.isnan(days).mean()),
        **_date_range(finite, unit),
    )


def _with_numbers(column: ColumnSchema, values: pd.Series, missing: Array) -> ColumnSchema:
    numbers, wrong = numbers_of(values, missing)
    x = numbers[np.isfinite(numbers)]
    offset = 0.0
    if column.kind == "positive":
        offset = zero_offset(x)
        mean, spread = _scale(np.log(x + offset), column)
    elif column.kind == "count":
        mean, spread = _scale(np.log1p(x), column)
    else:
        mean, spread = _scale(x, column)
    return dataclasses.replace(
        column,
        offset=offset,
        mean=mean,
        spread=spread,
        decimals=decimals_of(x),
        strays=_strays(values, wrong),
        missing=float(np.isnan(numbers).mean()),
        low=float(x.min()),
        high=float(x.max()),
    )


def _scale(x: Array, column: ColumnSchema) -> tuple[float, float]:
    """Return the location and the spread of a column's values, which a student-t column does not let outliers move."""
    if column.likelihood == "student-t":
        location, spread = robust_scale(x)
    else:
        location, spread = float(x.mean()), float(x.std())
    return location, spread or 1.0


def zero_offset(x: Array) -> float:
    """Return what a positive column adds before the logarithm: 0, or where some values are 0, half a small value.

    The small value is the 5th percentile of those above 0, as the least one may be far below all others.
    """
    positive = x[x > 0.0]
    return float(np.quantile(positive, 0.05)) / 2.0 if len(positive) < len(x) and len(positive) else 0.0


def decimals_of(x: Array) -> int | None:
    """Return the decimals that all numbers are written with; None if any has more than MOST_DECIMALS."""
    values = np.unique(x)
    for decimals in range(MOST_DECIMALS + 1):
        rounded = np.round(values, decimals)
        if np.all(np.abs(rounded - values) <= 1e-12 * np.abs(values)):
            return decimals
    return None


def _strays(values: pd.Series, wrong: Array) -> tuple[str, ...]:
    cells = dict.fromkeys(str(cell) for cell in values[wrong])
    return tuple(cells)[:MOST_STRAYS]


def _date_range(days: Array, unit: str) -> dict[str, Any]:
    low, high = dates_of_days(np.array([np.nanmin(days), np.nanmax(days)]), unit).astype("datetime64[s]").tolist()
    form = "%Y-%m-%d" if unit == "D" else "%Y-%m-%d %H:%M:%S"
    return {"low": low.strftime(form), "high": high.strftime(form)}
