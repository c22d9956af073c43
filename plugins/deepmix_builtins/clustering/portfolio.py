"""The partitions that `auto` chooses from: well-known clusterings of the same rows, each in seconds.

Weights count in k-means and in the mixtures. The other methods see neighbours, which are rows whatever their weight.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial

import numpy as np
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.neighbors import kneighbors_graph

from deepmix.maths import Array

from .gaussians import WeightedGaussianMixture, regularization
from .graph import spectral_clusters, tsne_layout
from .merged_gaussians import merged_gaussians
from .spanning_trees import SpanningTree, genie, robust_single_linkage, spanning_tree

Method = Callable[[], "Array | None"]
"""Returns labels, (N,); None where the method finds fewer than K clusters."""

KMEANS_STARTS, MIXTURE_STARTS, EM_ITERATIONS = 10, 5, 200
"""Starts of k-means and of a mixture, whose starts cost more, and the limit on EM iterations per start."""

FEW_STARTS = (3, 2)
"""The same numbers of starts where many samples of the rows are clustered."""

SPECTRAL_NEIGHBOURS = (5, 10, 20)

GAUSSIANS_PER_CLUSTER, MOST_GAUSSIANS, ROWS_PER_GAUSSIAN = (2, 4), 60, 5
"""Numbers of Gaussians that are merged, and their limits."""

SMALLEST_FRACTION = 0.1
"""Smallest cluster of robust single linkage, as a fraction of N / K."""

TREES: dict[int, tuple[float, ...]] = {1: (0.3, 0.5), 5: (0.3, 0.5), 10: ()}
"""Genie's Gini thresholds by the neighbour that smooths the distance. Genie's authors advise 0.3; 0.5 allows small
clusters. Smoothing by the tenth neighbour is for robust single linkage only."""


COSTS = {
    "kmeans": 1.0,
    "gmm": 2.0,
    "ward": 4.0,
    "spectral": 20.0,
    "genie": 4.0,
    "single": 1.0,
    "merged": 4.0,
    "tsne-ward": 90.0,
    "tsne-genie": 4.0,
}
"""Durations relative to that of k-means on 3,000 rows of 20 columns, by the beginning of a method's name; only the
display of the time left depends on them."""


def cheap_methods(
    rows_ND: Array, n_clusters: int, seed: int, weight_N: Array | None, starts: tuple[int, int] | None = None
) -> dict[str, Method]:
    """Return the methods that take at most a few seconds on 5,000 rows, by name.

    `starts` are those of k-means and of each mixture; None: KMEANS_STARTS and MIXTURE_STARTS.
    """
    n_rows, (n_kmeans, n_mixture) = len(rows_ND), starts or (KMEANS_STARTS, MIXTURE_STARTS)
    methods: dict[str, Method] = {"kmeans": partial(kmeans, rows_ND, n_clusters, seed, weight_N, n_kmeans)}
    for covariance in ("full", "tied", "diag"):
        methods[f"gmm-{covariance}"] = partial(gaussians, rows_ND, n_clusters, covariance, seed, weight_N, n_mixture)
    methods["ward"] = partial(ward, rows_ND, n_clusters)
    for n_neighbours in SPECTRAL_NEIGHBOURS:
        if n_neighbours < n_rows and n_clusters < n_rows - 1:
            methods[f"spectral-{n_neighbours}"] = partial(spectral, rows_ND, n_clusters, n_neighbours, seed)
    methods |= dict(_tree_methods(rows_ND, n_clusters))
    for per_cluster in GAUSSIANS_PER_CLUSTER:
        n_gaussians = min(per_cluster * n_clusters, MOST_GAUSSIANS, n_rows // ROWS_PER_GAUSSIAN)
        if n_gaussians > n_clusters:
            name = f"merged-gaussians-{per_cluster}"
            methods[name] = partial(merged_gaussians, rows_ND, n_clusters, n_gaussians, seed, weight_N)
    return methods


def quick_methods(rows_ND: Array, n_clusters: int, seed: int, weight_N: Array | None) -> dict[str, Method]:
    """Return one method of each kind, by centres, by linkage and by the graph; together they take a second or two."""
    methods = cheap_methods(rows_ND, n_clusters, seed, weight_N, FEW_STARTS)
    return {name: methods[name] for name in ("kmeans", "ward", f"spectral-{SPECTRAL_NEIGHBOURS[1]}") if name in methods}


def layout_methods(rows_ND: Array, n_clusters: int, seed: int) -> dict[str, Method]:
    """Return the cuts of a t-SNE layout, by name; the layout takes 10 s or more on 5,000 rows and is computed once."""

    @cache
    def layout() -> Array:
        return tsne_layout(rows_ND, seed)

    return {
        "tsne-ward": lambda: ward(layout(), n_clusters),
        "tsne-genie": lambda: genie(spanning_tree(layout(), 5), n_clusters, 0.5),
    }


def costs(methods: Iterable[str]) -> dict[str, float]:
    """Return about how long the methods take, relative to k-means, by name."""
    return {name: next(cost for start, cost in COSTS.items() if name.startswith(start)) for name in methods}


def run_methods(
    methods: dict[str, Method], n_clusters: int, begin: Callable[[str], None] = lambda name: None
) -> dict[str, Array]:
    """Return the labels of the methods that find K clusters, (N,) int64 in [0, K), by name; others are left out.

    A method may fail on degenerate rows, such as many copies of one; it is then left out too. `begin` is called with
    the name of each method before it runs.
    """
    partitions = {}
    for name, method in methods.items():
        begin(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            try:
                labels = method()
            except (ValueError, RuntimeError, np.linalg.LinAlgError):
                continue
        if labels is not None and len(np.unique(labels)) == n_clusters:
            partitions[name] = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    return partitions


def kmeans(rows_ND: Array, n_clusters: int, seed: int, weight_N: Array | None, n_starts: int = KMEANS_STARTS) -> Array:
    """Return the clusters of the best of several starts of k-means."""
    method = KMeans(n_clusters, n_init=n_starts, random_state=seed)
    return np.asarray(method.fit_predict(rows_ND, sample_weight=weight_N))


def gaussians(
    rows_ND: Array,
    n_clusters: int,
    covariance: str,
    seed: int,
    weight_N: Array | None,
    n_starts: int = MIXTURE_STARTS,
) -> Array:
    """Return the clusters of the best of several Gaussian mixtures with this kind of covariance."""
    mixture = WeightedGaussianMixture(
        n_clusters,
        covariance_type=covariance,
        reg_covar=regularization(rows_ND, weight_N),
        n_init=n_starts,
        max_iter=EM_ITERATIONS,
        random_state=seed,
    )
    return mixture.fit_labels(rows_ND, weight_N)


def ward(rows_ND: Array, n_clusters: int) -> Array:
    """Return the clusters of Ward's method."""
    return np.asarray(AgglomerativeClustering(n_clusters).fit_predict(rows_ND))


def spectral(rows_ND: Array, n_clusters: int, n_neighbours: int, seed: int) -> Array:
    """Return the spectral clusters of the graph of so many neighbours."""
    graph = kneighbors_graph(rows_ND, n_neighbours)
    return spectral_clusters(graph.maximum(graph.T), n_clusters, seed)


def _tree_methods(rows_ND: Array, n_clusters: int) -> Iterator[tuple[str, Method]]:
    """Yield Genie and robust single linkage on spanning trees of several smoothed distances."""
    min_size = max(2, int(SMALLEST_FRACTION * len(rows_ND) / n_clusters))

    @cache
    def tree(n_neighbours: int) -> SpanningTree:
        return spanning_tree(rows_ND, n_neighbours)

    def single(n_neighbours: int) -> Array | None:
        return robust_single_linkage(tree(n_neighbours), n_clusters, min_size)

    def by_genie(n_neighbours: int, gini: float) -> Array:
        return genie(tree(n_neighbours), n_clusters, gini)

    for n_neighbours, thresholds in TREES.items():
        for gini in thresholds:
            yield f"genie-{n_neighbours}-{gini}", partial(by_genie, n_neighbours, gini)
        yield f"single-{n_neighbours}", partial(single, n_neighbours)
