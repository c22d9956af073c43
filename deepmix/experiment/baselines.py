"""The clusterings that a user would try first, beside the run: k-means, a Gaussian mixture, HDBSCAN, UMAP + mixture.

They take the features that an initial clustering takes, at most 5,000 rows of them, and are measured as the heads are:
with labels on the training and the held-out rows, and without labels by their cohesion.
"""

from __future__ import annotations

import importlib.util
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from deepmix import metrics
from deepmix.contracts import TrainingRows, registry
from deepmix.data import MOST_COLUMNS, Split, narrow
from deepmix.experiment.results import carried_scores
from deepmix.maths import Array, own_threads
from deepmix.runs import INITIAL, TOTAL, Baseline, Baselines, InitialChoice

BASELINE_ROWS, BASELINE_CELLS = 5000, 100_000
"""Training rows, and values in them, that the methods cluster at most: each then takes a second or two."""

KMEANS_STARTS = 10

REGULARIZATION = 1e-3
"""Added to the mixture's covariances, relative to the features' mean variance, so that none is singular."""

SMALLEST_FRACTION = 0.1
"""HDBSCAN's smallest cluster, as a fraction of N / K."""

LEAST_SIZE = 5
"""HDBSCAN's smallest cluster where that fraction is smaller: scikit-learn's default."""

BY_UMAP = "UMAP + GMM"

UMAP_LEAST_ROWS, UMAP_LEAST_VALUES = 5000, 400_000
"""UMAP compiles for twenty seconds and more, so it is used only where there are more training rows, and more values in
them, than this; smaller runs end within seconds."""

UMAP_NEIGHBOURS = 15
"""UMAP's own default."""

SAME_CLUSTERS = 0.95
"""Adjusted Rand index above which a run has kept the clusters of its start."""

JUDGE = "auto"
"""The initial clustering whose criteria compare clusters, where it is installed."""

Method = Callable[[], Array]


@runtime_checkable
class Judge(Protocol):
    """An initial clustering that can also compare clusters which others found."""

    def judge(
        self, rows: TrainingRows, partitions: Mapping[str, Array], n_components: int, seed: int
    ) -> Mapping[str, float]:
        """Return a total by name, larger is better, of labels of the rows, (N,); only K clusters have one."""


def compare_baselines(
    split: Split,
    features: Any,
    clusters: Mapping[str, Array],
    n_clusters: int,
    seed: int,
    judge: Judge | None = None,
) -> Baselines:
    """Return what plain methods find in the training rows, and how the run's own clusters compare without labels.

    Args:
        split: the data.
        features: the training rows' features, (N, F), dense or CSR; see `clustering_features`.
        clusters: clusters of the training rows, (N,), by head, and those of the initial clustering by `INITIAL`.
        n_clusters: K.
        seed: draws the rows and starts the methods.
        judge: what compares clusters without labels besides; None: their cohesion does so alone.

    """
    n_rows, n_columns = features.shape[0], min(features.shape[1], MOST_COLUMNS)
    n_chosen = min(n_rows, BASELINE_ROWS, max(BASELINE_CELLS // n_columns, 2 * n_clusters))
    subset = np.sort(np.random.default_rng(seed).choice(n_rows, n_chosen, replace=False))
    row_ND = narrow(features[subset], seed).astype(np.float64)
    link_NN = metrics.neighbour_links(row_ND)
    weights = split.weights_of(split.train)
    methods, partitions = {}, {}
    weight_N = None if weights is None else weights[subset]
    is_sample = split.numbers is not None  # of rows that do not fit into memory, which UMAP's compiler needs much of
    with_umap = takes_umap(*features.shape) and not is_sample and importlib.util.find_spec("umap") is not None
    for name, method in plain_methods(row_ND, n_clusters, seed, weight_N, with_umap=with_umap).items():
        started = time.perf_counter()
        cluster_N = attempt(method)
        if cluster_N is None:
            continue
        seconds = time.perf_counter() - started
        partitions[name], scores = np.asarray(cluster_N), carried_scores(split, subset, cluster_N)
        methods[name] = Baseline(
            n_clusters=len(np.unique(cluster_N)),
            cohesion=metrics.cohesion(link_NN, cluster_N),
            seconds=seconds,
            train=scores.get("train"),
            test=scores.get("test"),
        )
    own = {name: metrics.cohesion(link_NN, cluster_N[subset]) for name, cluster_N in clusters.items()}
    result = Baselines(len(subset), methods, own)
    if judge is None:
        return result
    sampled = {name: cluster_N[subset] for name, cluster_N in clusters.items()}
    rows = TrainingRows(features[subset], np.zeros((len(subset), 0)), weight_N)
    return _with_totals(result, judge.judge(rows, {**partitions, **sampled}, n_clusters, seed))


def _with_totals(baselines: Baselines, total: Mapping[str, float]) -> Baselines:
    """Return the baselines with the totals of methods and heads, which have different names."""
    methods = {name: replace(one, total=total.get(name)) for name, one in baselines.methods.items()}
    return replace(
        baselines, methods=methods, totals={name: total[name] for name in baselines.cohesion if name in total}
    )


def standard_judge() -> Judge | None:
    """Return the built-in initial clustering that compares clusters, with its default options."""
    plugin = registry.load_plugin("initializers", JUDGE)
    judge = plugin(plugin.Options())
    return judge if isinstance(judge, Judge) else None


def keeps_choice(choice: InitialChoice | None, clusters: Mapping[str, Array], head: str) -> bool:
    """Return whether a head's clusters are those that an initial clustering chose as the ones with the largest total.

    Then no plain method can have a larger one, and nothing has to be compared again.

    Args:
        choice: what the initial clustering compared; None: nothing.
        clusters: clusters of the training rows, (N,), by head, and those of the initial clustering by `INITIAL`.
        head: the head's name.

    """
    if choice is None or INITIAL not in clusters or TOTAL not in choice.candidates[choice.method].criteria:
        return False
    return bool(adjusted_rand_score(clusters[INITIAL], clusters[head]) >= SAME_CLUSTERS)


def plain_methods(
    row_ND: Array, n_clusters: int, seed: int, weight_N: Array | None, *, with_umap: bool = False
) -> dict[str, Method]:
    """Return the methods by name; each returns the rows' clusters, (N,). Weights count in k-means only."""
    methods: dict[str, Method] = {
        "k-means": partial(_kmeans, row_ND, n_clusters, seed, weight_N),
        "GMM": partial(mixture_clusters, row_ND, n_clusters, seed),
        "HDBSCAN": partial(_hdbscan, row_ND, n_clusters),
    }
    if with_umap:
        methods[BY_UMAP] = partial(_umap, row_ND, n_clusters, seed)
    return methods


def takes_umap(n_rows: int, n_columns: int) -> bool:
    """Return whether a run on so many training rows is large enough for UMAP to be one of its baselines."""
    return n_rows > UMAP_LEAST_ROWS and n_rows * n_columns > UMAP_LEAST_VALUES


def attempt(method: Method) -> Array | None:
    """Return a method's clusters; None if it fails, as it may on degenerate rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence, of threads, of graphs in several pieces
        try:
            return method()
        except (ValueError, RuntimeError, TypeError, np.linalg.LinAlgError):
            return None


def _kmeans(row_ND: Array, n_clusters: int, seed: int, weight_N: Array | None) -> Array:
    method = KMeans(n_clusters, n_init=KMEANS_STARTS, random_state=seed)
    return np.asarray(method.fit_predict(row_ND, sample_weight=weight_N))


def mixture_clusters(row_ND: Array, n_clusters: int, seed: int) -> Array:
    """Return the clusters of a Gaussian mixture with full covariances."""
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

    n_neighbours = min(UMAP_NEIGHBOURS, len(row_ND))
    distance_NN, nearest_NN = NearestNeighbors(n_neighbors=n_neighbours).fit(row_ND).kneighbors(row_ND)
    layout = umap.UMAP(
        n_neighbors=n_neighbours,
        precomputed_knn=(nearest_NN, distance_NN),  # or a search of its own, which compiles for half a minute
        random_state=seed,
    )
    with own_threads():
        layout_ND = layout.fit_transform(row_ND)
    return mixture_clusters(layout_ND.astype(np.float64), n_clusters, seed)
