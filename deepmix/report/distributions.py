"""The distribution of one column in a cluster beside all other rows, as a small chart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepmix.maths import Array
from deepmix.report.column_cells import LEVEL_KINDS, numbers
from deepmix.report.html.compared import compared_bars, compared_histogram
from deepmix.report.html.markup import Markup, element, figure
from deepmix.report.html.plots import short
from deepmix.report.phrases import percent_text, value_text, value_texts
from deepmix.report.profiles import ColumnProfile

if TYPE_CHECKING:
    import pandas as pd

N_BARS = 16
"""Most bars of a histogram."""


ENDS = (0.01, 0.99)
"""Fractions of the rows at the histogram's ends; rows beyond count in the outermost bars."""


MOST_LEVELS = 5
"""Levels that are drawn: those whose shares differ most."""


CAPTION_LENGTH = 60
"""Characters of a column's name below a chart."""


def distribution(title: str, profile: ColumnProfile, cells: pd.Series, inside_N: Array, weight_N: Array) -> Markup:
    """Return a column's distribution in a cluster as a figure.

    Args:
        title: a title that no other chart of the page has.
        profile: the column in the cluster.
        cells: the column's cells, (N,).
        inside_N: which rows are in the cluster.
        weight_N: the rows' weights.

    """
    name = element("strong", short(profile.column.name, CAPTION_LENGTH), ".")
    if profile.column.kind in LEVEL_KINDS:
        return figure(_levels(title, profile), name)
    value_N = numbers(cells, profile.column)
    edges, is_cut = bin_edges(value_N, whole=profile.column.decimals == 0)
    here, others = (shares_of_bins(value_N[rows], weight_N[rows], edges) for rows in (inside_N, ~inside_N))
    centre, elsewhere = value_texts(profile.column, profile.here.centre, profile.others.centre)
    chart = compared_histogram(
        title,
        f"The {profile.measure} is {centre} in the cluster and {elsewhere} in all other rows.",
        edges,
        here,
        others,
        lambda value: value_text(profile.column, value),
    )
    return figure(chart, name + (" The outermost bars also count the rows beyond them." if is_cut else ""))


def bin_edges(value_N: Array, *, whole: bool) -> tuple[Array, bool]:
    """Return edges of bins (B + 1,) of one width for the values, and whether rows lie beyond them."""
    seen_n = value_N[np.isfinite(value_N)]
    if not len(seen_n):
        return np.array([0.0, 1.0]), False
    low, high = (float(end) for end in np.quantile(seen_n, ENDS))
    if low == high:
        low, high = float(seen_n.min()), float(seen_n.max())
    if low == high:
        return np.array([low - 0.5, high + 0.5]), False
    if whole and np.ptp(seen_n) < N_BARS:
        low, high = float(seen_n.min()), float(seen_n.max())
        return np.arange(np.floor(low), np.floor(high) + 2.0) - 0.5, False
    return np.linspace(low, high, N_BARS + 1), bool((seen_n < low).any() or (seen_n > high).any())


def shares_of_bins(value_n: Array, weight_n: Array, edges: Array) -> Array:
    """Return the share of the rows with a value that lies in each bin, (B,); the outermost take the rows beyond."""
    seen_n = np.isfinite(value_n)
    counts = np.histogram(np.clip(value_n[seen_n], edges[0], edges[-1]), edges, weights=weight_n[seen_n])[0]
    return np.asarray(counts / max(counts.sum(), 1e-300))


def _levels(title: str, profile: ColumnProfile) -> Markup:
    here, others = (np.nan_to_num(np.array(summary.shares)) for summary in (profile.here, profile.others))
    shown_levels = np.sort(np.argsort(-np.abs(here - others), kind="stable")[:MOST_LEVELS])
    names = [profile.levels[i] for i in shown_levels]
    texts = (
        f"{name}: {percent_text(here[i])}, {percent_text(others[i])}"
        for name, i in zip(names, shown_levels, strict=True)
    )
    description = f"Shares in the cluster and in all other rows. {'; '.join(texts)}."
    return compared_bars(title, description, names, here[shown_levels].tolist(), others[shown_levels].tolist())
