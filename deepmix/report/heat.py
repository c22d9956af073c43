"""The heat map over the clusters and columns of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from deepmix.report.html.markup import Child, Markup, element, fixed, percent, table
from deepmix.report.html.plots import short
from deepmix.report.profiles import ClusterProfile, ColumnProfile

MOST_LINES = 40
"""Lines of the heat map; if there are more columns and levels, those that differ most between clusters are shown."""


NAME_LENGTH = 48
"""Characters of a line's name."""


FULL_DIFFERENCE, FULL_SHARES, FULL_MISSING = 2.0, 0.6, 1.0
"""Standard deviations, difference between two shares, and share of missing cells at which the colour is full."""


STEPS = 5
"""Steps of a colour in style.css."""


FAINTEST = 0.1
"""Fraction of the full colour below which a cell has none."""


class HeatLine(NamedTuple):
    """One line of the heat map."""

    name: str
    unit: str
    """What its cells are: 'difference', 'shares' or 'missing'."""
    values: tuple[float, ...]
    """One per cluster; NaN where the cluster has no value."""
    weight: float
    """Largest difference in standard deviations, which decides whether the line is shown."""


def heat_map(profiles: Sequence[ClusterProfile], shown: Sequence[int]) -> Markup | None:
    """Return the heat map of the shown clusters as a table; None if no column is modelled."""
    lines = heat_lines([profiles[k] for k in shown])
    if not lines:
        return None
    first = np.argsort([-line.weight for line in lines], kind="stable")[:MOST_LINES]
    rows: list[list[Child]] = []
    for i in sorted(first.tolist()):
        line = lines[i]
        cells = [element("td", _text(line.unit, value), class_=_look(line.unit, value)) for value in line.values]
        rows.append([short(line.name, NAME_LENGTH), *cells])
    caption = (
        "Clusters by columns. Numbers and dates: difference from the other rows in standard deviations; levels: "
        "difference of the shares in percentage points (pp); missing cells: their share. Blue: more than in the other "
        "rows, orange: less, grey: missing"
    )
    if len(lines) > len(rows):
        caption += f". The {len(rows)} of {len(lines)} lines in which the clusters differ most are shown"
    return table(caption, ["column", *(str(k) for k in shown)], rows, class_="heat")


def heat_lines(profiles: Sequence[ClusterProfile]) -> list[HeatLine]:
    """Return the lines for each number, each level (of two, the second), and the missing cells of each column."""
    lines: list[HeatLine] = []
    for columns in zip(*(profile.columns for profile in profiles), strict=True):
        name = columns[0].column.name
        if columns[0].measure != "share":
            numbers = tuple(one.effects[0] if np.isfinite(one.here.centre) else np.nan for one in columns)
            lines.append(HeatLine(name, "difference", numbers, _most(numbers)))
        else:
            lines += _level_lines(name, columns)
        missing = tuple(one.here.missing for one in columns)
        if any(share > 0.0 for share in missing):
            weight = _most([one.missing_effect for one in columns])
            lines.append(HeatLine(f"{name}: missing", "missing", missing, weight))
    return lines


def _level_lines(name: str, columns: Sequence[ColumnProfile]) -> list[HeatLine]:
    levels = list(enumerate(columns[0].levels))
    if len(levels) == 2:
        levels = levels[1:]
    lines = []
    for i, level in levels:
        apart = tuple(one.here.shares[i] - one.others.shares[i] for one in columns)
        lines.append(HeatLine(f"{name}: {level}", "shares", apart, _most([one.effects[i] for one in columns])))
    return lines


def _most(effects: Sequence[float]) -> float:
    return float(np.nanmax(np.abs(effects))) if np.isfinite(effects).any() else 0.0


def _text(unit: str, value: float) -> str:
    if np.isnan(value):
        return "-"
    if unit == "missing":
        return percent(value, 0)
    sign = "+" if value > 0 else ""
    text = f"{sign}{fixed(value, 1)}" if unit == "difference" else f"{sign}{fixed(100 * value, 0)} pp"
    return text.replace("\N{MINUS SIGN}0.0", "0.0").replace("+0.0", "0.0").replace("\N{MINUS SIGN}0 pp", "0 pp")


def _look(unit: str, value: float) -> str | None:
    """Return the CSS class of a cell's colour."""
    full = {"difference": FULL_DIFFERENCE, "shares": FULL_SHARES, "missing": FULL_MISSING}[unit]
    fraction = min(abs(value) / full, 1.0)
    if np.isnan(value) or fraction < (0.0 if unit == "missing" else FAINTEST) or value == 0.0:
        return None
    letter = "m" if unit == "missing" else "h" if value > 0 else "l"
    return f"{letter}{int(np.ceil(STEPS * fraction))}"
