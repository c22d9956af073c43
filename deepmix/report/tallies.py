"""Weighted means, ranks and quantiles of a column's values, and how far each cluster lies from all other rows.

Letters: N rows, n some of them, V distinct values, K clusters. Missing values are NaN and are left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from deepmix.maths import Array

LEAST_DIFFERENCE = 0.35
"""Difference, in standard deviations, below which nothing is reported: midway between Cohen's small and medium."""


CHANCE = 3.0
"""A difference is reported if it exceeds this many standard errors of clusters drawn at random."""


NEGLIGIBLE = 1e-12
"""Fraction of a total below which a difference of sums is rounding alone."""


@dataclass(frozen=True)
class Groups:
    """The rows of each cluster, and sums over them."""

    place_N: Array
    """Cluster + 1; 0 where a row has none."""
    n_clusters: int
    weight_N: Array
    n_K: Array = field(init=False)
    """Kish's effective number of rows, which does not depend on the unit of the weights."""
    n_outside_K: Array = field(init=False)

    def __post_init__(self) -> None:
        sums, squares = self.sums(self.weight_N), self.sums(np.square(self.weight_N))
        for name, weight_K, square_K in (
            ("n_K", sums[1:], squares[1:]),
            ("n_outside_K", sums.sum() - sums[1:], squares.sum() - squares[1:]),
        ):
            some_K = weight_K > NEGLIGIBLE * sums.sum()
            n_K = np.divide(weight_K**2, square_K, out=np.zeros(self.n_clusters), where=some_K)
            object.__setattr__(self, name, n_K)

    def sums(self, value_N: Array) -> Array:
        """Return the sums of values, (K + 1,)."""
        return np.bincount(self.place_N, value_N, self.n_clusters + 1)

    def means(self, value_N: Array) -> tuple[Array, Array]:
        """Return the weighted means in the clusters and in all other rows, both (K,), over the values that are seen."""
        mean = moments(value_N, self.weight_N)[0]
        inside_K, outside_K = self.shares(value_N - mean)  # without the mean, little is lost in differences of sums
        return mean + inside_K, mean + outside_K

    def shares(self, value_N: Array) -> tuple[Array, Array]:
        """Return those means without a loss where values are 0 or 1, both (K,)."""
        seen_N = np.isfinite(value_N)
        weight_N = np.where(seen_N, self.weight_N, 0.0)
        weight_K, sum_K = self.sums(weight_N), self.sums(weight_N * np.where(seen_N, value_N, 0.0))
        inside_K = _ratio(sum_K[1:], weight_K[1:], weight_K.sum())
        return inside_K, _ratio(sum_K.sum() - sum_K[1:], weight_K.sum() - weight_K[1:], weight_K.sum())

    def effects(self, value_N: Array) -> Array:
        """Return the differences of those means in standard deviations of all values, (K,)."""
        inside_K, outside_K = self.means(value_N)
        spread = moments(value_N, self.weight_N)[1]
        effect_K = (inside_K - outside_K) / spread if spread > 0.0 else np.zeros(self.n_clusters)
        return np.where(np.isfinite(effect_K), effect_K, 0.0)

    def least(self) -> Array:
        """Return the least difference of each cluster that is said, (K,); infinite where there is nothing beside it."""
        some_K = (self.n_K > 0.0) & (self.n_outside_K > 0.0)
        n_K, n_outside_K = np.where(some_K, self.n_K, 1.0), np.where(some_K, self.n_outside_K, 1.0)
        error_K = np.sqrt(1.0 / n_K + 1.0 / n_outside_K)
        return np.where(some_K, np.maximum(LEAST_DIFFERENCE, CHANCE * error_K), np.inf)


def moments(value_N: Array, weight_N: Array) -> tuple[float, float, float]:
    """Return the weighted mean, standard deviation and skewness of the values that are seen; NaN, 0, 0 if none are."""
    seen_N = np.isfinite(value_N)
    value_n, weight_n = value_N[seen_N], weight_N[seen_N]
    if not len(value_n):
        return np.nan, 0.0, 0.0
    mean = float(np.average(value_n, weights=weight_n))
    spread = float(np.sqrt(np.average(np.square(value_n - mean), weights=weight_n)))
    if spread <= NEGLIGIBLE * abs(mean):  # all values are the same
        return mean, 0.0, 0.0
    return mean, spread, float(np.average(((value_n - mean) / spread) ** 3, weights=weight_n))


def ranks(value_N: Array, weight_N: Array) -> Array:
    """Return the fraction of the weight below each value plus half of that at it, (N,); NaN where missing."""
    rank_N = np.full(len(value_N), np.nan)
    seen_N = np.isfinite(value_N)
    _, code_n = np.unique(value_N[seen_N], return_inverse=True)
    weight_V = np.bincount(code_n, weight_N[seen_N])
    if seen_N.any():
        rank_N[seen_N] = ((np.cumsum(weight_V) - 0.5 * weight_V) / weight_V.sum())[code_n]
    return rank_N


def quantiles(value_n: Array, weight_n: Array, fractions: tuple[float, ...]) -> list[float]:
    """Return weighted quantiles of sorted values: inverses of the distribution function, averaged at its steps."""
    if not len(value_n):
        return [np.nan] * len(fractions)
    reached_n = np.cumsum(weight_n)
    results = []
    for fraction in fractions:
        aim = fraction * reached_n[-1]
        tolerance = 1e-9 * reached_n[-1]
        first = min(int(np.searchsorted(reached_n, aim - tolerance)), len(value_n) - 1)
        last = min(int(np.searchsorted(reached_n, aim + tolerance)), len(value_n) - 1)
        results.append(float(value_n[first] + value_n[last]) / 2)
    return results


def _ratio(sum_K: Array, weight_K: Array, total: float) -> Array:
    """Return sums divided by weights, NaN where the weight is nothing."""
    return np.divide(sum_K, weight_K, out=np.full(len(sum_K), np.nan), where=weight_K > NEGLIGIBLE * total)
