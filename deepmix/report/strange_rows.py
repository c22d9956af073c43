"""The report's section on the rows that fit no cluster well, with the values that make them strange."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import ndtri

from deepmix.data import ColumnSchema, TableSchema
from deepmix.maths import Array
from deepmix.report.column_cells import LEVEL_KINDS, level_codes, numbers
from deepmix.report.html import plots
from deepmix.report.html.markup import Child, fixed, join, paragraph, table
from deepmix.report.html.page import Section
from deepmix.report.material import Material
from deepmix.report.phrases import cell_text, percent_text, value_text

if TYPE_CHECKING:
    import pandas as pd

LISTED = 10
"""Rows that are listed."""


MOST_VALUES = 3
"""Values that are given for each row."""


LEAST_STRANGENESS = 2.0
"""Standard deviations from which a value counts as strange; one in twenty values of a normal column is."""


FEWEST_ROWS = 8
"""A cluster with fewer rows says little about what is usual; all rows are taken instead."""


NORMAL_QUARTILES = 1.349
"""Distance between the quartiles of a normal distribution, in standard deviations."""


NAME_LENGTH = 40
"""Characters of a row's name, of a column's and of a cell."""


class StrangeValue(NamedTuple):
    """A value that is unusual in its row's cluster."""

    strangeness: float
    """Distance from what is usual, in standard deviations of a normal distribution."""
    text: str


def strange_rows(material: Material) -> Section | None:
    """Return the section on the rows that the model finds least probable; None without scores."""
    if material.outlier_N is None:
        return None
    score_N = np.where(np.isfinite(material.outlier_N), material.outlier_N, 1.0)
    rows = np.argsort(-score_N, kind="stable")[:LISTED]
    values = None
    if material.schema is not None and material.frame is not None:
        values = strange_values(material.frame, material.schema, material.cluster_N, rows)
    header: list[Child] = ["row", "score", "cluster"]
    header += ["unusual values"] if values is not None else []
    lines: list[list[Child]] = []
    for i, row in enumerate(rows):
        line: list[Child] = [
            plots.short(material.row_name(int(row)), NAME_LENGTH),
            fixed(float(score_N[row])),
            str(material.cluster_N[row]) if material.cluster_N[row] >= 0 else "none",
        ]
        if values is not None:
            line.append("; ".join(value.text for value in values[i]) or "no single value: the combination is rare")
        lines.append(line)
    opening = paragraph(
        "The score of a row is the fraction of the training rows that the model finds more probable: 0.5 is ordinary, "
        "near 1 is strange. Every table has some rows near 1, so look at the values before you call a row wrong."
    )
    listed = table(f"The {len(rows)} strangest rows", header, lines, text_columns=(0, 3))
    return Section("Rows that fit no cluster well", join([opening, listed]))


def strange_values(frame: pd.DataFrame, schema: TableSchema, cluster_N: Array, rows: Array) -> list[list[StrangeValue]]:
    """Return for each of some rows its values that are unusual in its cluster, the strangest first.

    Numbers are measured from the cluster's median, in interquartile ranges made comparable with standard deviations,
    on the logarithmic scale for positive columns and counts. A level, or a missing cell, that a share p of the cluster
    has, counts like a number that a share p of a normal distribution exceeds in absolute value.
    """
    values: list[list[StrangeValue]] = [[] for _ in rows]
    beside: dict[int, tuple[Array, str]] = {}
    for cluster in np.unique(cluster_N[rows]):
        inside = np.flatnonzero(cluster_N == cluster)
        is_enough = cluster >= 0 and len(inside) >= FEWEST_ROWS
        beside[cluster] = (inside, "its cluster") if is_enough else (np.arange(len(cluster_N)), "all rows")
    for column in schema.modelled:
        if column.name not in frame.columns:
            continue
        cells = frame[column.name]
        is_level = column.kind in LEVEL_KINDS
        value_N = level_codes(cells, column)[0] if is_level else numbers(cells, column)
        missing_N = value_N < 0 if is_level else np.isnan(value_N)
        for i, row in enumerate(rows):
            inside, where = beside[cluster_N[row]]
            if missing_N[row]:
                value = _rare(column, "missing", float(missing_N[inside].mean()), where)
            else:
                seen = value_N[inside][~missing_N[inside]]
                text = plots.short(cell_text(column, cells.iloc[row]), NAME_LENGTH)
                if is_level:
                    value = _rare(column, text, float((seen == value_N[row]).mean()), where)
                else:
                    value = _far(column, text, float(value_N[row]), seen, where)
            if value.strangeness >= LEAST_STRANGENESS:
                values[i].append(value)
    return [sorted(row, key=lambda value: -value.strangeness)[:MOST_VALUES] for row in values]


def _rare(column: ColumnSchema, text: str, share: float, where: str) -> StrangeValue:
    strangeness = float(-ndtri(share / 2)) if share > 0.0 else np.inf
    return StrangeValue(strangeness, f"{_name(column)} {text} ({percent_text(share)} of {where})")


def _far(column: ColumnSchema, text: str, value: float, seen_n: Array, where: str) -> StrangeValue:
    scale_n, place = seen_n, value
    shift = {"positive": column.offset, "count": 1.0}.get(column.kind)
    if shift is not None and min(float(seen_n.min()), value) + shift > 0.0:
        scale_n, place = np.log(seen_n + shift), float(np.log(value + shift))
    low, middle, high = np.quantile(scale_n, [0.25, 0.5, 0.75])
    spread = float(high - low) / NORMAL_QUARTILES or float(scale_n.std())
    strangeness = abs(place - float(middle)) / spread if spread > 0.0 else 0.0
    median = value_text(column, float(np.median(seen_n)))
    return StrangeValue(strangeness, f"{_name(column)} {text} (median of {where}: {median})")


def _name(column: ColumnSchema) -> str:
    return plots.short(column.name, NAME_LENGTH)
