"""Dates in a table: how text writes them, days since 1970, and the sine and cosine of their cycles."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from deepmix.maths import Array

if TYPE_CHECKING:
    import pandas as pd

CYCLE_DAYS = {"year": 365.2425, "week": 7.0, "day": 1.0}
"""Length of each cycle in days."""


DAY_IN_MICROSECONDS = 86_400_000_000


UNITS = {"D": 1.0, "h": 24.0, "min": 1440.0, "s": 86400.0}
"""How often each unit goes into a day, from the coarsest."""


TIME = r"(?:[T ](\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?)\s*(Z|[+-]\d{2}:?\d{2})?)?"
YEAR_FIRST = re.compile(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})" + TIME)
YEAR_LAST = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4})" + TIME)
MONTH_ONLY = re.compile(r"(\d{4})-(\d{2})")


def date_order(texts: Iterable[str]) -> str | None:
    """Return the order in which texts write dates: 'ymd', 'dmy' or 'mdy'.

    A date with dots and the year last is day first. One with slashes or dashes and the year last is day first or month
    first if some text leaves no other reading.

    Returns:
        None if most texts are not dates, or if their order is ambiguous.

    """
    counts = {"ymd": 0, "dmy": 0, "mdy": 0, "either": 0, "none": 0}
    for text in texts:
        counts[_possible_order(text.strip())] += 1
    ymd, either = counts["ymd"], counts["either"]
    if ymd > max(counts["dmy"], counts["mdy"], either):
        return "ymd"
    if counts["dmy"] > counts["mdy"]:
        return "dmy" if counts["mdy"] == 0 or counts["dmy"] > 20 * counts["mdy"] else None
    if counts["mdy"] > counts["dmy"]:
        return "mdy" if counts["dmy"] == 0 or counts["mdy"] > 20 * counts["dmy"] else None
    return None


def _possible_order(text: str) -> str:
    if YEAR_FIRST.fullmatch(text) or MONTH_ONLY.fullmatch(text):
        return "ymd"
    match = YEAR_LAST.fullmatch(text)
    if not match:
        return "none"
    first, second = int(match[1]), int(match[3])
    if match[2] == "." or (first > 12 >= second):
        return "dmy"
    return "mdy" if second > 12 >= first else "either"


def _iso_text(text: str, order: str) -> str:
    """Return a date as ISO 8601 writes it; an empty text if it is not a date of this order."""
    if order == "ymd":
        if match := MONTH_ONLY.fullmatch(text):
            return f"{text}-01"
        if not (match := YEAR_FIRST.fullmatch(text)):
            return ""
        year, month, day = match[1], match[3], match[4]
    else:
        if not (match := YEAR_LAST.fullmatch(text)):
            return ""
        year, month, day = match[4], match[3], match[1]
        if order == "mdy":
            month, day = day, month
    time = f"T{match[5].rjust(5 if match[5].count(':') == 1 else 8, '0')}{match[6] or ''}" if match[5] else ""
    return f"{year}-{month:0>2}-{day:0>2}{time}"


def days_of_text(texts: Iterable[str | None], order: str) -> Array:
    """Return days since 1970 of texts, (N,) float64; NaN where there is no text or it is not a date of this order."""
    import pandas as pd

    isos = ["" if text is None else _iso_text(text.strip(), order) for text in texts]
    dates = pd.to_datetime(pd.Series(isos, dtype=object), format="ISO8601", errors="coerce", utc=True)
    return days_of_dates(dates)


def days_of_dates(dates: pd.Series) -> Array:
    """Return days since 1970 of a column of dates, (N,) float64, in UTC; NaN where one is missing."""
    if getattr(dates.dt, "tz", None) is not None:
        dates = dates.dt.tz_convert("UTC").dt.tz_localize(None)
    microseconds = dates.to_numpy().astype("datetime64[us]")
    days = microseconds.astype(np.int64) / DAY_IN_MICROSECONDS
    return np.where(np.isnat(microseconds), np.nan, days)


def dates_of_days(days: Array, unit: str) -> Array:
    """Return days since 1970, (N,), as datetime64[us] that are rounded to a unit; NaT where one is NaN."""
    steps = np.round(days * UNITS[unit])
    microseconds = np.where(np.isfinite(steps), steps, 0.0) * (DAY_IN_MICROSECONDS / UNITS[unit])
    dates = microseconds.astype(np.int64).astype("datetime64[us]")
    dates[~np.isfinite(days)] = np.datetime64("NaT")
    return dates


def texts_of_dates(dates: Array, unit: str, order: str, example: str) -> Array:
    """Return dates as text, (N,) object, as a column of texts writes them; None where one is NaT.

    Args:
        dates: (N,) datetime64.
        unit: the unit that they are rounded to.
        order: the order of year, month and day in the column.
        example: one of the column's texts; dates are as in ISO 8601 where it is not a date.

    """
    import pandas as pd

    match = (YEAR_FIRST if order == "ymd" else YEAR_LAST).fullmatch(example)
    parts = {"y": "%Y", "m": "%m", "d": "%d"}
    layout = match[2].join(parts[letter] for letter in order) if match else "%Y-%m-%d"
    if MONTH_ONLY.fullmatch(example):
        layout = "%Y-%m"
    elif unit != "D":
        layout += ("T" if "T" in example else " ") + ("%H:%M:%S" if unit == "s" else "%H:%M")
    texts = pd.Series(dates).dt.strftime(layout).astype(object)
    return texts.where(texts.notna(), None).to_numpy()


def unit_of_days(days: Array) -> str:
    """Return the coarsest unit in which all days are whole; seconds if none is."""
    for unit, per_day in UNITS.items():
        steps = days * per_day
        if np.all(np.abs(steps - np.round(steps)) < 1e-6):
            return unit
    return "s"


def cycle_cells(days: Array, cycle: str) -> Array:
    """Return the sine and the cosine of the position in a cycle, (N, 2); days are (N,) since 1970."""
    angles = days / CYCLE_DAYS[cycle] * (2.0 * math.pi)
    return np.stack([np.sin(angles), np.cos(angles)], axis=1)


def cycles_of_days(days: Array) -> tuple[str, ...]:
    """Return the cycles that days span more than once, within which they vary, and that their spacing resolves.

    The first of January, for example, falls on all days of the week, which says nothing about weeks.
    """
    span = float(days.max() - days.min())
    gap = float(np.diff(np.unique(days)).min()) if span > 0.0 else 0.0
    least = 0.05  # of the standard deviation of sine and cosine, which is 0.71 for positions spread evenly
    return tuple(
        cycle
        for cycle, length in CYCLE_DAYS.items()
        if span > length > gap and np.sqrt(cycle_cells(days, cycle).var(axis=0).sum()) > least
    )
