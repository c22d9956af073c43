"""The clusterings that a user would try first, beside the run: k-means, a Gaussian mixture, HDBSCAN, UMAP + mixture.

They take the features that an initial clustering takes, at most 5,000 rows of them, and are measured as the heads are:
with labels on the training and the held-out rows, and without labels by their cohesion.
"""

from __future__ import annotations

import importlib.util
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KNeighborsClassifier

from deepmix import metrics
from deepmix.data import Split
from deepmix.maths import Array
from deepmix.runs import Baseline, Baselines, Scores

BASELINE_ROWS, BASELINE_CELLS = 5000, 100_000
"""Training rows, and values in them, that the methods cluster at most: each then takes a second or two."""

MOST_COLUMNS = 50
"""Wider rows are first reduced to this many principal components, as the initial clusterings do."""

CARRYING_NEIGHBOURS = 5
"""Number of neighbours that vote on the cluster of a held-out row, as for the initial clustering."""

KMEANS_STARTS = 10

REGULARIZATION = 1e-3
"""Added to the mixture's covariances, relative to the features' mean variance, so that none is singular."""

SMALLEST_FRACTION = 0.1
"""HDBSCAN's smallest cluster, as a fraction of N / K."""

LEAST_SIZE = 5
"""HDBSCAN's smallest cluster where that fraction is smaller: scikit-learn's default."""

UMAP_LEAST_ROWS = 5000
"""UMAP compiles for ten seconds and more, so it is used only where there are more training rows and runs take long."""

Method = Callable[[], Array]


def compare_baselines(
    split: Split,
    features: Any,
    clusters: Mapping[str, Array],
    n_clusters: int,
    seed: int,
) -> Baselines:
    """Return what plain methods find in the training rows, and how the run's own clusters compare without labels.

    Args:
        split: the data.
        features: the training rows' features, (N, F), dense or CSR; see `clustering_features`.
        clusters: clusters of the training rows, (N,), by head, and those of the initial clustering by `INITIAL`.
        n_clusters: K.
        seed: draws the rows and starts the methods.

    """
    n_rows, n_columns = features.shape[0], min(features.shape[1], MOST_COLUMNS)
    n_chosen = min(n_rows, BASELINE_ROWS, max(BASELINE_CELLS // n_columns, 2 * n_clusters))
    chosen = np.sort(np.random.default_rng(seed).choice(n_rows, n_chosen, replace=False))
    row_ND = reduced(features[chosen], seed).astype(np.float64)
    link_NN = metrics.neighbour_links(row_ND)
    weights = split.weights_of(split.train)
    methods = {}
    weight_N = None if weights is None else weights[chosen]
    with_umap = n_rows > UMAP_LEAST_ROWS and importlib.util.find_spec("umap") is not None
    for name, method in plain_methods(row_ND, n_clusters, seed, weight_N, with_umap=with_umap).items():
        started = time.perf_counter()
        cluster_N = _labels(method)
        if cluster_N is None:
            continue
        seconds = time.perf_counter() - started
        methods[name] = Baseline(
            n_clusters=len(np.unique(cluster_N)),
            cohesion=metrics.cohesion(link_NN, cluster_N),
            seconds=seconds,
            **scores_of(split, chosen, cluster_N),
        )
    own = {name: metrics.cohesion(link_NN, cluster_N[chosen]) for name, cluster_N in clusters.items()}
    return Baselines(len(chosen), methods, own)


def plain_methods(
    row_ND: Array, n_clusters: int, seed: int, weight_N: Array | None, *, with_umap: bool = False
) -> dict[str, Method]:
    """Return the methods by name; each returns the rows' clusters, (N,). Weights count in k-means only."""
    methods: dict[str, Method] = {
        "k-means": partial(_kmeans, row_ND, n_clusters, seed, weight_N),
        "GMM": partial(_mixture, row_ND, n_clusters, seed),
        "HDBSCAN": partial(_hdbscan, row_ND, n_clusters),
    }
    if with_umap:
        methods["UMAP + GMM"] = partial(_umap, row_ND, n_clusters, seed)
    return methods


def reduced(rows: Any, seed: int) -> Array:
    """Return rows, dense or CSR, as a dense array of at most MOST_COLUMNS columns: principal components if wider."""
    if min(rows.shape) > MOST_COLUMNS:
        solver = "arpack" if sparse.issparse(rows) else "auto"
        return np.asarray(PCA(MOST_COLUMNS, random_state=seed, svd_solver=solver).fit_transform(rows))
    return np.asarray(rows.toarray() if sparse.issparse(rows) else rows)


def scores_of(split: Split, chosen: Array, cluster_N: Array) -> dict[str, Scores | None]:
    """Return the metrics of a clustering of some training rows by side, `train` and `test`; none without labels.

    Each held-out row takes the cluster that most of its nearest among these rows have.
    """
    if split.labels is None:
        return {}
    train = split.train[chosen]
    carrier = KNeighborsClassifier(min(CARRYING_NEIGHBOURS, len(train))).fit(split.x[train], cluster_N)
    sides = {"train": (train, cluster_N), "test": (split.test, carrier.predict(split.x[split.test]))}
    return {
        side: metrics.measure(
            metrics.Clustering(cluster_n, split.labels[rows], weight_N=split.weights_of(rows)), split.scored(rows)
        )
        for side, (rows, cluster_n) in sides.items()
    }


def _labels(method: Method) -> Array | None:
    """Return a method's clusters; None if it fails, as it may on degenerate rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence and of threads: a baseline is used as a user would use it
        try:
            return method()
        except (ValueError, RuntimeError, np.linalg.LinAlgError):
            return None


def _kmeans(row_ND: Array, n_clusters: int, seed: int, weight_N: Array | None) -> Array:
    method = KMeans(n_clusters, n_init=KMEANS_STARTS, random_state=seed)
    return np.asarray(method.fit_predict(row_ND, sample_weight=weight_N))


def _mixture(row_ND: Array, n_clusters: int, seed: int) -> Array:
    added = REGULARIZATION * float(row_ND.var(axis=0).mean()) + float(np.finfo(np.float64).eps)
    return np.asarray(GaussianMixture(n_clusters, reg_covar=added, random_state=seed).fit_predict(row_ND))


def _hdbscan(row_ND: Array, n_clusters: int) -> Array:
    """Return HDBSCAN's clusters, whose number it chooses; rows that it calls noise join their nearest neighbour's."""
    smallest = max(LEAST_SIZE, int(SMALLEST_FRACTION * len(row_ND) / n_clusters))
    cluster_N = np.asarray(HDBSCAN(min_cluster_size=smallest, copy=True).fit_predict(row_ND))
    inside_N = cluster_N >= 0
    if inside_N.any() and not inside_N.all():
        nearest = KNeighborsClassifier(1).fit(row_ND[inside_N], cluster_N[inside_N])
        cluster_N[~inside_N] = nearest.predict(row_ND[~inside_N])
    return np.unique(cluster_N, return_inverse=True)[1]


def _umap(row_ND: Array, n_clusters: int, seed: int) -> Array:
    import umap  # here, because its compiler takes seconds to load

    return _mixture(umap.UMAP(random_state=seed).fit_transform(row_ND).astype(np.float64), n_clusters, seed)
