"""What each cluster of a table's rows looks like, column by column, and what sets it apart; no HTML.

Every difference is on one scale, so that columns of all kinds can be ranked together: the mean of the cluster's rows
minus the mean of all other rows, in standard deviations of all rows. What is averaged is

    a number or a date     its value, or its rank where the values are skewed
    a level                1 where the row has the level, 0 where it has another
    a missing value        1 where the row has none, 0 where it has one

so for shares p and q the difference is (p - q) / sqrt(r (1 - r)), r being the share in all rows. Around 0.2 is small,
0.5 medium, 0.8 large (Cohen 1988).

Letters: N rows, K clusters, L levels; the last axis of sums over clusters is K + 1, rows without a cluster first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from deepmix.data import ColumnSchema, TableSchema
from deepmix.maths import Array
from deepmix.report.column_cells import LEVEL_KINDS, level_codes, numbers, repeated_columns
from deepmix.report.tallies import NEGLIGIBLE, Groups, moments, quantiles, ranks

if TYPE_CHECKING:
    import pandas as pd

LEAST_SHARE = 0.05
"""Difference between two shares below which nothing is reported, however rare the level."""


LEAST_ROWS = 2.0
"""A share counts only if the cluster has this many rows more, or fewer, than the other rows' share would give it."""


MOST_SKEWNESS = 1.0
"""Skewness, in absolute value, above which a column is described by medians and compared by ranks (Bulmer 1979)."""


@dataclass(frozen=True)
class Summary:
    """A column in some of the rows, in the table's own units; NaN where no row has a value."""

    missing: float
    """Fraction of the rows without a value."""
    centre: float = np.nan
    """Mean or median of a number; of a date, in days since 1970."""
    spread: float = np.nan
    """Standard deviation beside a mean, interquartile range beside a median."""
    quartiles: tuple[float, float] | None = None
    """Beside a median."""
    shares: tuple[float, ...] = ()
    """Fraction of each level among the rows that have one."""


@dataclass(frozen=True)
class Difference:
    """One thing that sets a cluster apart."""

    column: ColumnSchema
    aspect: Literal["mean", "median", "level", "missing"]
    level: str | None
    effect: float
    """Difference in standard deviations, positive where the cluster has more."""
    here: float
    others: float
    """Mean, median or share in the cluster and in all other rows."""


@dataclass(frozen=True)
class ColumnProfile:
    """One column in one cluster and in all other rows."""

    column: ColumnSchema
    measure: Literal["mean", "median", "share"]
    levels: tuple[str, ...]
    here: Summary
    others: Summary
    effects: tuple[float, ...]
    """Difference of the number, or of each level, in standard deviations."""
    missing_effect: float
    differences: tuple[Difference, ...]
    """Those large enough to be said, largest first."""
    repeats: str | None = None
    """An earlier column that says the same, if there is one."""


@dataclass(frozen=True)
class ClusterProfile:
    """One cluster of a table's rows."""

    cluster: int
    n_rows: int
    share: float
    """Fraction of all rows, by weight."""
    columns: tuple[ColumnProfile, ...]
    """The modelled columns in the file's order."""
    differences: tuple[Difference, ...]
    """What sets the cluster apart, largest first; columns that repeat an earlier one are left out."""


def profile_clusters(
    frame: pd.DataFrame, schema: TableSchema, cluster_N: Array, n_clusters: int, weight_N: Array | None = None
) -> tuple[ClusterProfile, ...]:
    """Return what each cluster of a table's rows looks like and what sets it apart.

    Args:
        frame: the modelled columns in the table's own units, missing where a cell is missing; others are ignored.
        schema: what each column is.
        cluster_N: each row's cluster, 0 to K - 1; rows with a negative number belong to none and count as others.
        n_clusters: K.
        weight_N: the rows' weights, positive; all 1 by default. A row of weight 2 counts like two rows.

    """
    weight_N = np.ones(len(cluster_N)) if weight_N is None else np.asarray(weight_N, dtype=np.float64)
    groups = Groups(np.maximum(np.asarray(cluster_N), -1) + 1, n_clusters, weight_N)
    columns = [column for column in schema.modelled if column.name in frame.columns]
    repeats = repeated_columns(frame, columns)
    by_column = [
        _level_profiles(column, frame[column.name], groups, repeats.get(column.name))
        if column.kind in LEVEL_KINDS
        else _number_profiles(column, numbers(frame[column.name], column), groups, repeats.get(column.name))
        for column in columns
    ]
    size_K = np.bincount(groups.place_N, minlength=n_clusters + 1)[1:]
    share_K = groups.sums(weight_N)[1:] / max(weight_N.sum(), np.finfo(np.float64).tiny)
    profiles = []
    for k in range(n_clusters):
        parts = tuple(profile[k] for profile in by_column)
        differences = [difference for part in parts if part.repeats is None for difference in part.differences]
        differences.sort(key=lambda difference: -abs(difference.effect))
        profiles.append(ClusterProfile(k, int(size_K[k]), float(share_K[k]), parts, tuple(differences)))
    return tuple(profiles)


def _number_profiles(column: ColumnSchema, value_N: Array, groups: Groups, repeats: str | None) -> list[ColumnProfile]:
    """Return a column of numbers or dates in each cluster."""
    weight_N = groups.weight_N
    mean, spread, skewness = moments(value_N, weight_N)
    skewed = abs(skewness) > MOST_SKEWNESS
    order_n = np.argsort(value_N, kind="stable")[: int(np.isfinite(value_N).sum())]
    low, middle, high = quantiles(value_N[order_n], weight_N[order_n], (0.25, 0.5, 0.75))
    by_median = skewed and low < middle < high  # the median of a column that is mostly one value says nothing
    effect_K = groups.effects(ranks(value_N, weight_N) if skewed else value_N)
    inside_K, outside_K = groups.means(value_N)
    if not by_median:
        square_K, square_outside_K = groups.means(np.square(value_N - mean))
        spread_K = _root(square_K - np.square(inside_K - mean), NEGLIGIBLE * spread**2)
        spread_outside_K = _root(square_outside_K - np.square(outside_K - mean), NEGLIGIBLE * spread**2)
    missing = _missing(np.isnan(value_N), groups)
    least_K = groups.least()
    measure: Literal["mean", "median"] = "median" if by_median else "mean"
    profiles = []
    for k in range(groups.n_clusters):
        here, others = missing.summaries[k]
        if by_median:
            summaries = []
            for summary, inside_n in zip((here, others), _sides(groups.place_N[order_n] == k + 1), strict=True):
                rows = order_n[inside_n]
                low, middle, high = quantiles(value_N[rows], weight_N[rows], (0.25, 0.5, 0.75))
                summaries.append(Summary(summary.missing, middle, high - low, (low, high)))
            here, others = summaries
        else:
            here = Summary(here.missing, float(inside_K[k]), float(spread_K[k]))
            others = Summary(others.missing, float(outside_K[k]), float(spread_outside_K[k]))
        effect = float(effect_K[k])
        said = list(missing.differences(column, k))
        if abs(effect) >= least_K[k] and here.centre != others.centre:
            said.append(Difference(column, measure, None, effect, here.centre, others.centre))
        profiles.append(
            ColumnProfile(
                column, measure, (), here, others, (effect,), float(missing.effect_K[k]), _ranked(said), repeats
            )
        )
    return profiles


def _level_profiles(column: ColumnSchema, cells: pd.Series, groups: Groups, repeats: str | None) -> list[ColumnProfile]:
    """Return a column of levels in each cluster; of its levels, the one that differs most is reported."""
    code_N, levels = level_codes(cells, column)
    value_LN = [np.where(code_N >= 0, (code_N == i).astype(np.float64), np.nan) for i in range(len(levels))]
    means = [groups.shares(value_N) for value_N in value_LN]
    effect_LK = [groups.effects(value_N) for value_N in value_LN]
    missing = _missing(code_N < 0, groups)
    least_K = groups.least()
    profiles = []
    for k in range(groups.n_clusters):
        here, others = (
            Summary(summary.missing, shares=tuple(float(mean[side][k]) for mean in means))
            for side, summary in enumerate(missing.summaries[k])
        )
        effects = tuple(float(effect_K[k]) for effect_K in effect_LK)
        said = list(missing.differences(column, k))
        if effects:
            most = max(range(len(levels)), key=lambda i: (round(abs(effects[i]), 9), effects[i]))
            p, q = here.shares[most], others.shares[most]
            if abs(effects[most]) >= least_K[k] and _is_much(p - q, groups.n_K[k]):
                said.append(Difference(column, "level", levels[most], effects[most], p, q))
        profiles.append(
            ColumnProfile(
                column, "share", levels, here, others, effects, float(missing.effect_K[k]), _ranked(said), repeats
            )
        )
    return profiles


@dataclass(frozen=True)
class _Missing:
    """The missing values of a column by cluster."""

    summaries: list[tuple[Summary, Summary]]
    effect_K: Array
    least_K: Array
    n_K: Array

    def differences(self, column: ColumnSchema, k: int) -> tuple[Difference, ...]:
        here, others = (summary.missing for summary in self.summaries[k])
        if abs(self.effect_K[k]) < self.least_K[k] or not _is_much(here - others, self.n_K[k]):
            return ()
        return (Difference(column, "missing", None, float(self.effect_K[k]), here, others),)


def _missing(missing_N: Array, groups: Groups) -> _Missing:
    value_N = missing_N.astype(np.float64)
    pairs = [(Summary(float(p)), Summary(float(q))) for p, q in zip(*groups.shares(value_N), strict=True)]
    return _Missing(pairs, groups.effects(value_N), groups.least(), groups.n_K)


def _is_much(apart: float, n_rows: float) -> bool:
    """Return whether a difference between two shares is worth saying of a cluster with that many rows."""
    return abs(apart) >= LEAST_SHARE and abs(apart) * n_rows >= LEAST_ROWS - 1e-9


def _ranked(differences: list[Difference]) -> tuple[Difference, ...]:
    return tuple(sorted(differences, key=lambda difference: -abs(difference.effect)))


def _sides(inside_n: Array) -> tuple[Array, Array]:
    return inside_n, ~inside_n


def _root(variance_K: Array, least: float) -> Array:
    """Return standard deviations, 0 where a variance is rounding alone."""
    return np.sqrt(np.where(variance_K < least, 0.0, variance_K))
