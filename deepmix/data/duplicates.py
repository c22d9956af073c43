"""Columns that repeat an earlier column: equal ones, other names of its levels, exact linear functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from deepmix.data.number_kinds import robust_scale
from deepmix.maths import Array

LEAST_CORRELATION = 0.99999
"""Absolute correlation above which one column is a linear function of another, up to rounding."""


MOST_RESIDUAL = 0.01
"""Median absolute residual of that linear function, in robust standard deviations; two columns that share one outlier
have a correlation of nearly 1 and larger residuals."""


MOST_COLUMNS = 4000
"""Number of columns above which only equal ones are detected: correlations of all pairs take too long."""


SAMPLE = 1000
"""Rows, evenly spaced, from which candidates come; all rows then decide about those."""


LEAST_ROWS = 10
"""Least number of rows in which a correlation can show that a column repeats another."""


def repeated_columns(numbers: Mapping[str, Array], levels: Mapping[str, Array]) -> dict[str, tuple[str, str]]:
    """Return each column that repeats an earlier one, with the earlier one's name and the way it repeats it, in words.

    Args:
        numbers: by column name in the table's order, (N,) numbers or days, NaN where missing.
        levels: likewise, (N,) names of levels, None where missing.

    Returns:
        A column repeats another only where both have values in the same rows.

    """
    repeats: dict[str, tuple[str, str]] = {}
    first_by_codes: dict[bytes, str] = {}
    for name, names in levels.items():
        codes = _codes(names)
        if np.sum(codes >= 0) < LEAST_ROWS:
            continue
        first = first_by_codes.setdefault(codes.tobytes(), name)
        if first != name:
            repeats[name] = (first, "its levels are other names for those of")
    by_seen: dict[bytes, list[str]] = {}
    for name, x in numbers.items():
        by_seen.setdefault(np.isnan(x).tobytes(), []).append(name)
    for names_together in by_seen.values():
        repeats |= _repeated_numbers(numbers, names_together)
    return repeats


def _codes(names: Array) -> Array:
    """Return the number of each name in the order of first occurrence, (N,) int64; -1 where there is none."""
    numbers: dict[object, int] = {}
    return np.array([-1 if name is None else numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)


def _repeated_numbers(numbers: Mapping[str, Array], names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the repeats among columns of numbers that have values in the same rows."""
    repeats: dict[str, tuple[str, str]] = {}
    present = ~np.isnan(numbers[names[0]])
    if present.sum() < LEAST_ROWS:
        return repeats
    first_by_values: dict[bytes, str] = {}
    for name in names:
        first = first_by_values.setdefault(numbers[name][present].tobytes(), name)
        if first != name:
            repeats[name] = (first, "it equals")
    if len(names) > MOST_COLUMNS:
        return repeats
    different = [name for name in names if name not in repeats]
    x_ND = np.stack([numbers[name][present] for name in different], axis=1)
    sample_ND = _unit_columns(x_ND[:: max(len(x_ND) // SAMPLE, 1)])
    for later in range(1, len(different)):
        for earlier in np.flatnonzero(np.abs(sample_ND[:, later] @ sample_ND[:, :later]) > LEAST_CORRELATION):
            if different[earlier] not in repeats and _fits(x_ND[:, later], x_ND[:, earlier]):
                repeats[different[later]] = (different[earlier], "it is a linear function of")
                break
    return repeats


def _unit_columns(x_ND: Array) -> Array:
    """Return columns with mean 0 and norm 1; a constant one is 0."""
    x_ND = x_ND - x_ND.mean(axis=0)
    norms = np.linalg.norm(x_ND, axis=0)
    return x_ND / np.where(norms > 0.0, norms, 1.0)


def _fits(later_N: Array, earlier_N: Array) -> bool:
    """Whether one column is a linear function of another in nearly all rows."""
    later_N, earlier_N = _unit_columns(np.stack([later_N, earlier_N], axis=1)).T
    slope = float(later_N @ earlier_N)
    if abs(slope) <= LEAST_CORRELATION:
        return False
    residual = float(np.median(np.abs(later_N - slope * earlier_N)))
    return residual <= MOST_RESIDUAL * robust_scale(later_N)[1]
