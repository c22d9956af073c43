"""Whether the clusters are Gaussians: K of them describe held-out rows as well as more, and better than one.

Then the clusters of that Gaussian mixture are the ones to take, whatever other criteria say, as these favour clusters
that gaps divide. On rings, spirals, or rows with noise, more Gaussians describe the rows better, and nothing follows.
"""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from deepmix.maths import Array

from .gaussians import WeightedGaussianMixture, fit_mixture, regularization

Covariance = Literal["full", "tied", "diag"]

COVARIANCES: tuple[Covariance, ...] = ("full", "tied", "diag")

FOLDS = 4

MOST_ROWS = 1500

MORE_GAUSSIANS, MOST_GAUSSIANS, ROWS_PER_GAUSSIAN = (2, 4), 60, 5
"""Numbers of Gaussians per cluster that K Gaussians are compared with, and their limits."""

STANDARD_ERRORS = 2.0
"""Standard errors by which more Gaussians may be better, and by which one must be worse. With 0 to 2 errors for the
former the choices are nearly the same (`benchmarks/results/auto.md`)."""

EM_ITERATIONS = 100

LIKELIER = 1e-3
"""Nats per row by which another optimum must be likelier, which is the tolerance of scikit-learn's EM."""


def gaussian_clusters(rows_ND: Array, n_clusters: int, seed: int, weight_N: Array | None = None) -> Covariance | None:
    """Return the covariances of the K Gaussians that describe the rows; None where K Gaussians do not.

    For each number of Gaussians, the covariances are those with the largest mean log-likelihood of held-out rows.

    Args:
        rows_ND: the rows, dense float64.
        n_clusters: K, at least 2.
        seed: draws the folds, and the rows where there are more than MOST_ROWS.
        weight_N: the rows' weights.

    """
    random = np.random.default_rng(seed)
    if len(rows_ND) > MOST_ROWS:
        subset = np.sort(random.choice(len(rows_ND), MOST_ROWS, replace=False))
        rows_ND, weight_N = rows_ND[subset], None if weight_N is None else weight_N[subset]
    n_rows = len(rows_ND)
    most = min(MOST_GAUSSIANS, n_rows // ROWS_PER_GAUSSIAN)
    if n_clusters > most:
        return None
    weights = np.ones(n_rows) if weight_N is None else weight_N
    fold_N = random.permutation(n_rows) % FOLDS

    def best(n_gaussians: int, n_starts: int = 1) -> tuple[Array, Covariance]:
        """Return held-out log-likelihoods, (N,), and the covariances, of which the mean is largest."""
        by_kind = {kind: _held_out(rows_ND, fold_N, n_gaussians, kind, weight_N, n_starts) for kind in COVARIANCES}
        kind = max(COVARIANCES, key=lambda kind: float(np.average(by_kind[kind], weights=weights)))
        return by_kind[kind], kind

    try:
        own_N, covariance = best(n_clusters, n_starts=2)
        for per_cluster in MORE_GAUSSIANS:
            gain, error = _gain(best(min(per_cluster * n_clusters, most))[0] - own_N, weights)
            if gain > STANDARD_ERRORS * error:
                return None
        gain, error = _gain(own_N - best(1)[0], weights)
    except ValueError:  # a mixture can't be fitted to the rows of a fold, such as many copies of one
        return None
    return covariance if gain > STANDARD_ERRORS * error else None


def likelier_mixture(
    rows_ND: Array, label_N: Array, other_N: Array, n_clusters: int, covariance: Covariance, weight_N: Array | None
) -> Array:
    """Return a mixture's clusters, or those of EM that starts from another partition where they are likelier, (N,).

    Many Gaussians that start at k-means often end in a poor optimum. Those with tied covariances stay as they are.

    Args:
        rows_ND: the rows, dense float64.
        label_N: the mixture's clusters, in [0, K).
        other_N: the other partition, in [0, K).
        n_clusters: K.
        covariance: the mixture's covariances.
        weight_N: the rows' weights.

    """
    if covariance == "tied":
        return label_N
    own, other = (fit_mixture(rows_ND, start, n_clusters, covariance, weight_N) for start in (label_N, other_N))
    restarted_N = np.asarray(other.predict(rows_ND), dtype=np.int64)
    is_likelier = other.lower_bound_ > own.lower_bound_ + LIKELIER and len(np.unique(restarted_N)) == n_clusters
    return restarted_N if is_likelier else label_N


def _held_out(
    rows_ND: Array, fold_N: Array, n_gaussians: int, covariance: Covariance, weight_N: Array | None, n_starts: int
) -> Array:
    """Return each row's log-likelihood, (N,) in nats, under the mixture of the other folds."""
    log_prob_N = np.empty(len(rows_ND))
    for fold in range(FOLDS):
        other_N = fold_N != fold
        mixture = WeightedGaussianMixture(
            n_gaussians,
            covariance_type=covariance,
            reg_covar=regularization(rows_ND, weight_N),
            n_init=n_starts,
            max_iter=EM_ITERATIONS,
            random_state=0,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the last digits do not matter
            mixture.fit_rows(rows_ND[other_N], None if weight_N is None else weight_N[other_N])
        log_prob_N[~other_N] = mixture.score_samples(rows_ND[~other_N])
    return log_prob_N


def _gain(difference_N: Array, weights: Array) -> tuple[float, float]:
    """Return the weighted mean of differences and its standard error."""
    mean = float(np.average(difference_N, weights=weights))
    variance = float(np.average(np.square(difference_N - mean), weights=weights))
    return mean, float(np.sqrt(variance / len(difference_N)))
