"""How sure a partition is, row by row: the votes of many methods on samples of the rows.

A method that finds other clusters altogether, such as k-means on spirals, says little about a row; so each vote counts
as much as the method's clusters agree with the partition. On 38 small tables the mean share of the votes for a row's
cluster differed from the fraction of right rows by 0.05 on average (`benchmarks/results/auto.md`). Where most votes are
for another cluster, the row stays in its own, which is then as likely as the other.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score
from sklearn.metrics.cluster import contingency_matrix

from deepmix.maths import Array

from .portfolio import FEW_STARTS, cheap_methods, run_methods

SAMPLES = 6

TIE = 1.0 + 1e-3
"""Votes of a row's own cluster, relative to the most that another has, at least: the partition breaks ties."""

SAMPLE_FRACTION, SAMPLE_ROWS = 0.8, 1500
"""Rows of each sample: this fraction, and at most so many. Rows are not repeated, which upsets graphs of neighbours."""


def vote_shares(
    rows_ND: Array, label_N: Array, n_clusters: int, seed: int, weight_N: Array | None = None, n_samples: int = SAMPLES
) -> Array:
    """Return the share of the votes that each cluster of a partition has in each row, (N, K).

    Args:
        rows_ND: the rows, dense float64.
        label_N: the partition, (N,) in [0, K).
        n_clusters: K.
        seed: draws the samples and starts the methods.
        weight_N: the rows' weights, which count in k-means and in the mixtures.
        n_samples: samples of the rows.

    """
    random = np.random.default_rng(seed)
    vote_NK = np.zeros((len(rows_ND), n_clusters))
    n_drawn = min(max(int(SAMPLE_FRACTION * len(rows_ND)), 1), SAMPLE_ROWS)
    for number in range(n_samples):
        sample = np.sort(random.choice(len(rows_ND), n_drawn, replace=False))
        weights = None if weight_N is None else weight_N[sample]
        own = label_N[sample]
        methods = cheap_methods(rows_ND[sample], n_clusters, seed + number, weights, FEW_STARTS)
        for label_n in run_methods(methods, n_clusters).values():
            weight = max(float(adjusted_rand_score(own, label_n)), 0.0)
            vote_NK[sample, _matched(own, label_n, n_clusters)] += weight
    row_N, largest_N = np.arange(len(rows_ND)), vote_NK.max(axis=1)
    vote_NK[row_N, label_N] = np.where(largest_N > 0.0, np.maximum(vote_NK[row_N, label_N], TIE * largest_N), 1.0)
    return np.asarray(vote_NK / vote_NK.sum(axis=1, keepdims=True))


def _matched(own_N: Array, other_N: Array, n_clusters: int) -> Array:
    """Return clusters renumbered, one to one, so that most rows keep the number that they have in a partition."""
    whole = np.arange(n_clusters)  # each number once more, so that the table has all K rows and columns
    counts = contingency_matrix(np.concatenate([own_N, whole]), np.concatenate([other_N, whole])) - np.eye(n_clusters)
    own, found = linear_sum_assignment(counts, maximize=True)
    number_K = np.empty(n_clusters, dtype=np.int64)
    number_K[found] = own
    return number_K[other_N]
