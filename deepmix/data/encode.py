"""The maps of one column between a table's values, a likelihood's cells and a network's features.

A feature is centred: its mean over the training rows is 0, which is also the value of a missing one. Two unrelated rows
lie at squared distance 2 on average in a standardised number, and at 1/2 in a column of levels if their levels differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from deepmix.data.column_schema import OTHER, ColumnSchema
from deepmix.data.column_values import days_of, level_names_of, numbers_of
from deepmix.data.dates import cycle_cells, dates_of_days
from deepmix.maths import Array

if TYPE_CHECKING:
    import pandas as pd

CLIP = 8.0
"""Standard deviations to which the features of numbers are clipped: an encoder's input; cells are not clipped."""


LEVEL_SCALE = 0.5
"""Scale of the features of levels. Two different levels then lie at the squared distance 1/2, which is what
k-prototypes counts for a mismatch beside numbers of variance 1 (Huang 1997 advises half the numbers' standard
deviation); two unrelated numbers lie at 2 on average. With a scale of 1, few columns of levels outvote the numbers."""


BINARY_GAP = LEVEL_SCALE * 2.0**0.5
"""Distance between the two features of a binary column, as of two different levels."""


TINY = 1e-6
"""Least cell of a positive column for the logarithm; one that a sample rounds to 0 has a feature too."""


class ColumnCells(NamedTuple):
    """The cells of one column."""

    cells: Array
    """(N, number of the column's cells) float64, NaN where a value is missing."""
    wrong: Array
    """(N,) whether a cell is neither missing nor of the column's kind."""
    unlisted: tuple[str, ...] = ()
    """Levels that the schema does not list: rare ones of the training rows, and new ones."""
    outside: Array | None = None
    """(N,) whether a number is less than the column's kind allows, and is missing in the cells; None: none can be."""


def column_cells(column: ColumnSchema, values: pd.Series, missing: Array) -> ColumnCells:
    """Return the cells of a modelled column.

    Args:
        column: what the column is.
        values: N values in the table's form.
        missing: (N,) whether each is missing.

    """
    none = np.zeros(len(values), dtype=bool)
    if column.kind in ("binary", "categorical", "ordinal"):
        numbers, unlisted = level_numbers(column, level_names_of(values, missing, column.level_type))
        return ColumnCells(numbers[:, None], none, unlisted)
    if column.kind == "datetime":
        days, wrong = days_of(values, missing, column.date_order)
        cycles = [cycle_cells(days, cycle) for cycle in column.cycles]
        cells = np.concatenate([((days - column.mean) / column.spread)[:, None], *cycles], axis=1)
        return ColumnCells(cells, none if column.strays else wrong)
    numbers, wrong = numbers_of(values, missing)
    wrong = none if column.strays else wrong
    if column.kind == "continuous":
        return ColumnCells(((numbers - column.mean) / column.spread)[:, None], wrong)
    outside = numbers < 0.0
    if column.kind == "positive":
        outside = outside | (numbers + column.offset <= 0.0)
        numbers = (numbers + column.offset) / np.exp(column.mean)
    return ColumnCells(np.where(outside, np.nan, numbers)[:, None], wrong, outside=outside)


def level_numbers(column: ColumnSchema, names: Array) -> tuple[Array, tuple[str, ...]]:
    """Return the number of each level, (N,) float64, and the names that are not among the column's levels.

    Such a level is OTHER where there is one, else missing.
    """
    assert column.levels is not None
    numbers = {level: float(number) for number, level in enumerate(column.levels)}
    elsewhere = numbers.get(OTHER, np.nan)
    cells = np.array([np.nan if name is None else numbers.get(name, elsewhere) for name in names], dtype=np.float64)
    unlisted = sorted({name for name in names if name is not None and name not in numbers})
    return cells, tuple(unlisted)


def raw_features(column: ColumnSchema, cells: Array) -> Array:
    """Return the features of a column before centring, (N, F) float64, NaN where a value is missing; cells: (N, C)."""
    if column.kind == "categorical":
        assert column.levels is not None
        one_hot = (np.arange(len(column.levels)) == np.round(cells)).astype(np.float64)
        return np.where(np.isnan(cells), np.nan, LEVEL_SCALE * one_hot)
    if column.kind == "binary":
        return cells * BINARY_GAP
    if column.kind == "ordinal":
        return cells.astype(np.float64)
    if column.kind == "positive":
        cells = np.log(np.maximum(cells, TINY)) / column.spread
    elif column.kind == "count":
        cells = (np.log1p(np.maximum(cells, 0.0)) - column.mean) / column.spread
    return np.clip(cells, -CLIP, CLIP)


def column_features(column: ColumnSchema, cells: Array) -> Array:
    """Return the features of a modelled column, (N, F) float64; cells: (N, C)."""
    raw = raw_features(column, cells)
    if column.kind in ("binary", "categorical"):
        assert column.fractions is not None
        is_binary = column.kind == "binary"
        scale, fractions = (BINARY_GAP, column.fractions[1:]) if is_binary else (LEVEL_SCALE, column.fractions)
        features = raw - scale * np.asarray(fractions)
    else:
        features = (raw - np.asarray(column.feature_means)) / np.asarray(column.feature_spreads)
        if column.kind == "ordinal":
            features *= LEVEL_SCALE
        features[:, 1:] *= LEVEL_SCALE  # the cycles of a date say again what its days say
    return np.where(np.isnan(features), 0.0, features)


def column_values(column: ColumnSchema, cells: Array) -> Array:
    """Return a modelled column in the table's units and levels, (N,); cells: (N, C)."""
    first = cells[:, 0].astype(np.float64)
    missing = np.isnan(first)
    if column.levels is not None:
        return _levels_of(column, first, missing)
    if column.kind == "datetime":
        return dates_of_days(first * column.spread + column.mean, column.date_unit)
    if column.kind == "continuous":
        numbers = first * column.spread + column.mean
    elif column.kind == "positive":
        numbers = np.maximum(first * np.exp(column.mean) - column.offset, 0.0)
    else:
        numbers = np.maximum(first, 0.0)
    if column.decimals is None:
        return numbers
    numbers = np.round(numbers, column.decimals)
    is_whole = column.decimals == 0 and not missing.any() and np.all(np.abs(numbers) < 2.0**53)
    return numbers.astype(np.int64) if is_whole else numbers


def _levels_of(column: ColumnSchema, first: Array, missing: Array) -> Array:
    assert column.levels is not None
    levels: list[object] = list(column.levels)
    if column.level_type == "bool":
        levels = [level == "True" for level in column.levels]
    elif column.level_type == "number" and OTHER not in column.levels:
        levels = [float(level) for level in column.levels]
        if all(float(level).is_integer() for level in column.levels):
            levels = [int(float(level)) for level in column.levels]
    numbers = np.clip(np.round(np.where(missing, 0.0, first)), 0, len(levels) - 1).astype(np.int64)
    values = np.empty(len(first), dtype=object)
    values[:] = [levels[number] for number in numbers]
    if column.level_type == "number" and OTHER not in column.levels and missing.any():
        return np.where(missing, np.nan, values.astype(np.float64))
    values[missing] = None
    if missing.any() or column.level_type == "text" or OTHER in column.levels:
        return values
    return values.astype(type(levels[0]))
