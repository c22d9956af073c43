"""HDBSCAN's clusters, scikit-learn's implementation (Campello, Moulavi and Sander 2013)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Literal, final

import numpy as np
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.neighbors import NearestNeighbors

from deepmix.errors import UsageError
from deepmix.maths import Array

from .carrying import MAX_ROWS_HELP, NOISE, NeighbourHead, NeighbourInitializer, PlaceOptions, join_nearest

SMALLEST_FRACTION, LEAST_SIZE = 0.1, 5
"""The smallest cluster, as a fraction of N / K, and scikit-learn's default, below which it does not go."""

MIN_SAMPLES = 5
"""The neighbour whose distance measures the density at a row, counting the row itself: scikit-learn's default."""

MIN_SAMPLES_HELP = "rows, the row itself included, whose greatest distance measures the density at a row"

METHODS = ("eom", "leaf")
"""How clusters are selected from the tree: the most persistent ones, or the finest."""


def _check_samples(min_samples: int) -> None:
    if min_samples < 1:
        raise UsageError(f"min_samples must be at least 1, got {min_samples}")


@dataclass(frozen=True)
class HdbscanInitializerOptions(PlaceOptions):
    """Options of the initial clustering by HDBSCAN."""

    max_rows: int = field(default=5000, metadata={"help": MAX_ROWS_HELP})
    min_samples: int = field(default=MIN_SAMPLES, metadata={"help": MIN_SAMPLES_HELP})

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_samples(self.min_samples)


@dataclass(frozen=True)
class HdbscanHeadOptions:
    """Options of the head."""

    min_cluster_size: int | None = field(
        default=None, metadata={"help": "smallest cluster; auto: a tenth of the rows per component, at least 5"}
    )
    min_samples: int = field(default=MIN_SAMPLES, metadata={"help": MIN_SAMPLES_HELP})
    method: Literal["eom", "leaf"] = field(
        default="eom", metadata={"help": "selection of clusters: the most persistent (eom), or the finest (leaf)"}
    )

    def __post_init__(self) -> None:
        _check_samples(self.min_samples)
        if self.min_cluster_size is not None and self.min_cluster_size < 2:
            raise UsageError(f"min_cluster_size must be at least 2, got {self.min_cluster_size}")


@final
class HdbscanInitializer(NeighbourInitializer):
    """HDBSCAN's clusters at the largest minimum size that gives K of them; noise joins the nearest cluster."""

    Options = HdbscanInitializerOptions

    def clusters(self, row_ND: Array, n_clusters: int, seed: int) -> Array:
        """Return K clusters; NOISE for the rows of none."""
        return k_clusters(row_ND, n_clusters, self.options.min_samples, seed)


@final
class HdbscanHead(NeighbourHead):
    """HDBSCAN on the latents: as many clusters as it finds, and -1 for noise."""

    Options = HdbscanHeadOptions

    def clusters(self, row_NM: Array, n_clusters: int, seed: int) -> tuple[Array, Array]:
        """Return the clusters.

        A new row joins a cluster if it lies no further from its nearest row than the cluster's sparsest row from its
        `min_samples`-th neighbour, so if the density there is that of some row of the cluster.
        """
        size = self.options.min_cluster_size or smallest_cluster(len(row_NM), n_clusters)
        cluster_N = density_clusters(row_NM, size, self.options.min_samples, self.options.method)
        n_near = min(self.options.min_samples, len(row_NM))
        core_N = NearestNeighbors(n_neighbors=n_near).fit(row_NM).kneighbors(row_NM)[0][:, -1]
        reach_N = np.zeros(len(row_NM))
        for cluster in range(cluster_N.max() + 1):
            reach_N[cluster_N == cluster] = core_N[cluster_N == cluster].max()
        return cluster_N, reach_N


def smallest_cluster(n_rows: int, n_clusters: int) -> int:
    """Return the smallest size of a cluster: a tenth of N / K, and at least scikit-learn's default."""
    return max(LEAST_SIZE, int(SMALLEST_FRACTION * n_rows / n_clusters))


def density_clusters(row_ND: Array, min_cluster_size: int, min_samples: int, method: str) -> Array:
    """Return HDBSCAN's clusters, (N,) int64, NOISE for rows of none; fewer rows than a cluster needs are all noise."""
    if len(row_ND) < min_cluster_size:
        return np.full(len(row_ND), NOISE, dtype=np.int64)
    hdbscan = HDBSCAN(
        min_cluster_size=min_cluster_size,
        min_samples=min(min_samples, len(row_ND)),
        cluster_selection_method=method,
        copy=True,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=RuntimeWarning)  # densities of identical rows are infinite
        return np.asarray(hdbscan.fit_predict(row_ND), dtype=np.int64)


def k_clusters(row_ND: Array, n_clusters: int, min_samples: int, seed: int) -> Array:
    """Return K clusters of rows of high density, and NOISE.

    The minimum size falls from N / K by a quarter at a time until at least K clusters are found, of which the K
    largest remain. Where there are never K, the largest cluster is divided by 2-means, noise included.
    """
    size, fullest = len(row_ND) / n_clusters, np.full(len(row_ND), NOISE, dtype=np.int64)
    while size >= LEAST_SIZE and fullest.max() < n_clusters - 1:
        for method in METHODS:
            cluster_N = density_clusters(row_ND, int(size), min_samples, method)
            if cluster_N.max() > fullest.max():
                fullest = cluster_N
            if fullest.max() >= n_clusters - 1:
                break
        size *= 0.75
    if fullest.max() >= n_clusters:
        largest = np.argsort(-np.bincount(fullest[fullest != NOISE]), kind="stable")[:n_clusters]
        number = np.full(fullest.max() + 2, NOISE)  # the last entry is that of NOISE
        number[largest] = np.arange(n_clusters)
        return number[fullest]
    if fullest.max() < n_clusters - 1:
        fullest = join_nearest(row_ND, fullest)
    while fullest.max() < n_clusters - 1:
        largest_N = fullest == np.bincount(fullest).argmax()
        if not np.ptp(row_ND[largest_N], axis=0).any():
            break  # identical rows are one cluster
        half_n = KMeans(2, n_init=3, random_state=seed).fit_predict(row_ND[largest_N])
        fullest[np.flatnonzero(largest_N)[half_n == 1]] = fullest.max() + 1
    return fullest
