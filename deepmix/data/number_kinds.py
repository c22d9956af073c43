"""The rules that choose the kind of a column of numbers, and the statistics they use; no rule sees a label."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from deepmix.maths import Array


class Decision(NamedTuple):
    """What a column is, why, and, where the rules choose one, its likelihood."""

    kind: str
    reason: str
    likelihood: str | None = None


FEW_VALUES = 12
"""Most different values of whole numbers that are steps of a scale."""


ROWS_PER_STEP = 3
"""Least average number of rows per step of such a scale."""


FEW_CODES = 20
"""Most different values of whole numbers that are codes, such as area codes."""


ROWS_PER_CODE = 20
"""Least average number of rows per code."""


GAPPED = 3.0
"""Codes lie more than this many times further apart than consecutive numbers."""


SMALL = 12.0
"""Counts have a median of at most this."""


GREATEST_COUNT = 1000.0
"""99 in 100 counts are at most this; larger whole numbers, such as incomes, are amounts."""


SKEWED = 0.3
"""Quantile skewness above which a column is strongly skewed; a log-normal whose logarithms have a standard deviation
of 0.38 has it, an exponential distribution has 0.56, a symmetric one 0."""


STRETCHED = 4.0
"""Ratio of the 95th to the 5th percentile above which logarithms matter. Values between 3000 and 6000 grams may be
skewed because two groups differ, and their logarithms look the same."""


HEAVY_TAILED = 6.0
"""Excess kurtosis above which tails are heavy; a Laplace distribution has 3, an exponential one 6."""


FAR = 8.0
"""Values further from the median than this many robust standard deviations are outliers."""


NINES = (99.0, 999.0, 9999.0, 99999.0, 999999.0)
"""Numbers that, with either sign, people write where a value is missing."""


LEAST_ROWS = 20
"""Least number of rows in which a column of different values can be an identifier, unless its name leaves no doubt."""


def quantile_skewness(x: Array) -> float:
    """Return (q95 + q05 - 2 q50) / (q95 - q05), between -1 and 1; 0 where the quantiles are equal.

    Unlike the third moment it does not depend on how far the outermost values are away.
    """
    low, middle, high = np.quantile(x, [0.05, 0.5, 0.95])
    return float((high + low - 2.0 * middle) / (high - low)) if high > low else 0.0


def excess_kurtosis(x: Array) -> float:
    """Return the fourth central moment over the squared variance, minus 3; 0 for constant values."""
    centred = x - x.mean()
    variance = float(np.mean(centred**2))
    return float(np.mean(centred**4)) / variance**2 - 3.0 if variance > 0.0 else 0.0


def robust_scale(x: Array) -> tuple[float, float]:
    """Return the median and the interquartile range / 1.349, a normal distribution's standard deviation.

    Where more than half of the values are equal, the second is the standard deviation of the values between the 1st and
    the 99th percentile, or of all values if that is 0.
    """
    first, middle, third = np.quantile(x, [0.25, 0.5, 0.75])
    spread = float(third - first) / 1.349
    if spread <= 0.0:
        low, high = np.quantile(x, [0.01, 0.99])
        spread = float(np.clip(x, low, high).std()) or float(x.std())
    return float(middle), spread


def whole_numbers(x: Array) -> bool:
    """Return whether all numbers are whole and float64 holds them exactly."""
    return bool(np.all(x == np.round(x)) and np.abs(x).max() < 2.0**53)


def number_kind(x: Array, *, is_code: bool) -> Decision:
    """Return the kind of a column of more than two different numbers.

    Args:
        x: (n,) the values of the rows that have one, in the file's order.
        is_code: whether the column's name says that its numbers are codes, such as zip_code or shop_id.

    """
    values = np.unique(x)
    if (
        whole_numbers(values)
        and (decision := _whole_number_kind(x, values.astype(np.int64), is_code=is_code)) is not None
    ):
        return decision
    if len(values) <= FEW_VALUES and len(x) >= ROWS_PER_CODE * len(values):
        return Decision("ordinal", f"{len(values)} values, many rows each")
    if x.min() >= 0.0 and (x > 0.0).mean() >= 0.5:
        positive = x[x > 0.0]
        skewness, of_logarithm = quantile_skewness(positive), quantile_skewness(np.log(positive))
        low, high = np.quantile(positive, [0.05, 0.95])
        if skewness > SKEWED and abs(of_logarithm) < skewness and high > STRETCHED * low:
            least = "at least 0" if len(positive) < len(x) else "greater than 0"
            return Decision("positive", f"{least} and skewed, less so as logarithms")
    return continuous(x)


def continuous(x: Array) -> Decision:
    """Return the decision for numbers whose differences count, with the likelihood that suits their tails."""
    if excess_kurtosis(x) > HEAVY_TAILED:
        middle, spread = robust_scale(x)
        n_far = int(np.sum(np.abs(x - middle) > FAR * spread)) if spread > 0.0 else 0
        far = f", {n_far} of them far from the others" if n_far else ""
        return Decision("continuous", f"numbers with heavy tails{far}", "student-t")
    return Decision("continuous", "numbers", "gaussian-per-column")


def _whole_number_kind(x: Array, values: Array, *, is_code: bool) -> Decision | None:
    """Return the kind of whole numbers that are steps, codes or counts; None where they are like other numbers."""
    gaps = np.diff(values)
    step = math.gcd(*gaps.tolist()) if len(gaps) < 1000 else 1
    if is_code and len(values) <= len(x) / 2:
        return Decision("categorical", "codes, as the column's name says")
    stretch = float(values[-1] - values[0]) / step / (len(values) - 1)
    """How much further the values lie apart than evenly spaced ones without a gap."""
    if len(values) <= FEW_VALUES and stretch <= 1.5:
        if values[0] == 0 and step == 1:
            return Decision("count", f"whole numbers from 0 to {values[-1]}", "negative-binomial")
        if len(x) >= ROWS_PER_STEP * len(values):
            return Decision("ordinal", f"{len(values)} whole numbers in even steps")
    if (
        len(values) <= FEW_CODES
        and values[0] > 0
        and stretch > GAPPED
        and len(x) >= ROWS_PER_CODE * len(values)
        and (np.any(np.diff(gaps) < 0) or values[-1] < 5 * values[0])  # gaps of doses such as 5, 10, 20, 50 grow
    ):
        return Decision("categorical", f"{len(values)} whole numbers with uneven gaps, many rows each, as codes have")
    many_zeros = bool(np.mean(x == 0.0) > 0.1)
    is_small = bool(np.median(x) <= SMALL)
    if (
        values[0] >= 0
        and step == 1
        and (many_zeros or is_small)
        and np.quantile(x, 0.99) <= GREATEST_COUNT
        and _right_skewed(x)
    ):
        what = "with many zeros" if many_zeros else "mostly small"
        return Decision("count", f"whole numbers from {values[0]} to {values[-1]}, {what}", "negative-binomial")
    return None


def _right_skewed(x: Array) -> bool:
    """Whether a long tail is on the right: the mean lies above the median by a tenth of a standard deviation."""
    return bool(x.mean() - np.median(x) > 0.1 * x.std()) or quantile_skewness(x) > 0.1


def suspected_mark(x: Array) -> float | None:
    """Return a number that may mark missing values, such as -999; None if there is none.

    It is written with nines, stands in at least two rows, and its gap to the next number is wider than the range of all
    others.
    """
    for mark in (x.min(), x.max()):
        others = x[x != mark]
        if abs(mark) in NINES and len(others) and len(x) - len(others) >= 2:
            gap = np.abs(others - mark).min()
            if gap > others.max() - others.min():
                return float(mark)
    return None


def counts_up(x: Array, *, is_first: bool) -> bool:
    """Return whether different whole numbers count rows.

    Args:
        x: (n,) the values in the file's order.
        is_first: whether the column is the file's first, where row numbers stand.

    Returns:
        True if most neighbours in sorted order are one step apart, or if the first column only rises or only falls.

    """
    if len(x) < LEAST_ROWS or not whole_numbers(x) or len(np.unique(x)) < len(x):
        return False
    gaps = np.diff(np.sort(x))
    steps = np.diff(x)
    monotone = bool(np.all(steps > 0) or np.all(steps < 0))
    return bool(np.mean(gaps == gaps.min()) >= 0.6) or (is_first and monotone)
