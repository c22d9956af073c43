"""The cells of a table's column as numbers or as levels, and columns that repeat each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from deepmix.data import OTHER, ColumnSchema
from deepmix.maths import Array
from deepmix.report.analysis import label_text
from deepmix.report.tallies import ranks

if TYPE_CHECKING:
    import pandas as pd

LEVEL_KINDS = frozenset({"binary", "categorical", "ordinal"})
"""Kinds of columns whose cells are levels; the other modelled ones hold numbers or dates."""


REPEATED = 0.98
"""Absolute rank correlation from which on a column of numbers repeats an earlier one."""


CORRELATED_ROWS = 20_000
"""Approximate number of rows from which those correlations are computed."""


def numbers(cells: pd.Series, column: ColumnSchema) -> Array:
    """Return a column's numbers, (N,) float64, NaN where missing; dates as days since 1970."""
    import pandas as pd

    if column.kind == "datetime":
        days = (pd.to_datetime(cells, utc=True) - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)
        return np.asarray(days.to_numpy(dtype=np.float64, na_value=np.nan))
    value_N = np.array(pd.to_numeric(cells, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan))
    value_N[~np.isfinite(value_N)] = np.nan
    return value_N


def level_codes(cells: pd.Series, column: ColumnSchema) -> tuple[Array, tuple[str, ...]]:
    """Return the number of each row's level, (N,), -1 where missing, and the levels."""
    import pandas as pd

    value_N, values = pd.factorize(cells)
    texts = [label_text(value) for value in values]
    levels = tuple(sorted(set(texts))) if column.levels is None else column.levels
    place = {level: i for i, level in enumerate(levels)}
    if OTHER not in place and any(text not in place for text in texts):
        levels = (*levels, OTHER)
    other = place.get(OTHER, len(levels) - 1)
    code_V = np.array([*(place.get(text, other) for text in texts), -1], dtype=np.int64)
    return code_V[value_N], levels  # a missing cell's value is number -1, the last


def repeated_columns(frame: pd.DataFrame, columns: Sequence[ColumnSchema]) -> dict[str, str]:
    """Return the columns that repeat an earlier one, each with the first column that says the same.

    Of two columns of numbers or dates, the ranks are almost perfectly correlated; of two columns of levels, each level
    of one goes with one level of the other.
    """
    step = max(len(frame) // CORRELATED_ROWS, 1)
    some = frame.iloc[::step]
    with_levels = [column for column in columns if column.kind in LEVEL_KINDS]
    others = [column for column in columns if column.kind not in LEVEL_KINDS]
    return _repeated_levels(some, with_levels) | _repeated_numbers(some, others)


def _repeated_numbers(frame: pd.DataFrame, columns: Sequence[ColumnSchema]) -> dict[str, str]:
    if len(columns) < 2:
        return {}
    weight_N = np.ones(len(frame))
    score_CN = np.array([ranks(numbers(frame[column.name], column), weight_N) - 0.5 for column in columns])
    score_CN = np.nan_to_num(score_CN)
    length_C = np.sqrt(np.square(score_CN).sum(axis=1))
    alike_CC = np.abs(score_CN @ score_CN.T) >= REPEATED * np.outer(length_C, length_C)
    alike_CC &= np.outer(length_C > 0.0, length_C > 0.0)
    first_C = alike_CC.argmax(axis=0)
    return {
        column.name: columns[first].name
        for i, (column, first) in enumerate(zip(columns, first_C, strict=True))
        if first < i and alike_CC[first, i]
    }


def _repeated_levels(frame: pd.DataFrame, columns: Sequence[ColumnSchema]) -> dict[str, str]:
    originals: dict[bytes, str] = {}
    repeats: dict[str, str] = {}
    for column in columns:
        code_N = level_codes(frame[column.name], column)[0]
        levels, first_n, inverse_N = np.unique(code_N, return_index=True, return_inverse=True)
        if len(levels) < 2:
            continue
        place_n = np.argsort(np.argsort(first_n))  # levels are numbered as they first occur: their names don't count
        place_n[levels < 0] = -1
        key = place_n[inverse_N].astype(np.int32).tobytes()
        if key in originals:
            repeats[column.name] = originals[key]
        else:
            originals[key] = column.name
    return repeats
