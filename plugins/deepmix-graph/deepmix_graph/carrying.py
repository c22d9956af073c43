"""How clusters of some rows reach others: the base classes of this package's initial clusterings and heads.

The methods ignore the rows' weights: a row's neighbours are the same whatever its weight.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, final

import numpy as np
from sklearn.neighbors import NearestNeighbors

from deepmix.contracts import ClusteringHead, Initializer, TrainingRows
from deepmix.data import narrow
from deepmix.errors import UsageError
from deepmix.maths import Array, Inference

NOISE = -1
"""The cluster number of rows that belong to no cluster."""

MAX_ROWS_HELP = "rows that are clustered; each other row joins its nearest neighbour's cluster"


@dataclass(frozen=True)
class PlaceOptions:
    """Which rows an initial clustering takes, and where it looks for their neighbours."""

    space: Literal["data", "codes"] = field(
        default="data", metadata={"help": "where neighbours are looked for: in the data or in the pretrained codes"}
    )
    max_rows: int = field(default=60_000, metadata={"help": MAX_ROWS_HELP})

    def __post_init__(self) -> None:
        if self.max_rows < 2:
            raise UsageError(f"max_rows must be at least 2, got {self.max_rows}")


class NeighbourInitializer(Initializer):
    """Cluster at most `max_rows` of the training rows; the others join the cluster of their nearest row."""

    Options: ClassVar[type] = PlaceOptions

    @final
    def __init__(self, options: Any) -> None:
        self.options = options

    @abc.abstractmethod
    def clusters(self, row_ND: Array, n_clusters: int, seed: int) -> Array:
        """Return the clusters of the rows, (N,), in [0, K), or NOISE; 2 <= K < N."""

    @final
    def initial_labels(self, rows: TrainingRows, n_components: int, seed: int) -> Array:
        """Return the labels, (N,) int64 in [0, K): rows without a cluster join the nearest row that has one."""
        row_ND = narrow(rows.x_ND if self.options.space == "data" else rows.code_NM, seed).astype(np.float64)
        n_rows = len(row_ND)
        if n_components == 1 or n_rows <= n_components:
            return np.arange(n_rows, dtype=np.int64) % n_components
        subset = np.arange(n_rows)
        if n_rows > (most := max(self.options.max_rows, n_components + 1)):
            subset = np.sort(np.random.default_rng(seed).choice(n_rows, most, replace=False))
        label_N = np.full(n_rows, NOISE, dtype=np.int64)
        label_N[subset] = self.clusters(row_ND[subset], n_components, seed)
        return join_nearest(row_ND, label_N)


def join_nearest(row_ND: Array, label_N: Array) -> Array:
    """Return the labels with each NOISE replaced by the label of the nearest row that has another."""
    inside_N = label_N != NOISE
    if not inside_N.any():
        return np.zeros_like(label_N)
    result_N = label_N.copy()
    if not inside_N.all():
        result_N[~inside_N] = label_N[inside_N][nearest(row_ND[inside_N], row_ND[~inside_N])[1]]
    return result_N


def nearest(row_ND: Array, query_QD: Array) -> tuple[Array, Array]:
    """Return the distance of each query from its nearest row, and the number of that row, (Q,)."""
    if not len(query_QD):
        return np.zeros(0), np.zeros(0, dtype=np.int64)
    distance_Q1, number_Q1 = NearestNeighbors(n_neighbors=1).fit(row_ND).kneighbors(query_QD)
    return distance_Q1[:, 0], number_Q1[:, 0]


class NeighbourHead(ClusteringHead):
    """Cluster the latents of the training rows; a new row joins the cluster of the nearest of them, if within reach.

    The head stores the training rows' latents, their clusters and how far the reach of each extends. A training row is
    its own nearest row, so `predict` returns the cluster that `fit` put it in.
    """

    @final
    def __init__(self, options: Any) -> None:
        self.options = options

    @abc.abstractmethod
    def clusters(self, row_NM: Array, n_clusters: int, seed: int) -> tuple[Array, Array]:
        """Return each row's cluster, from 0 or NOISE, and how far from the row a new one may lie to join it, (N,)."""

    @final
    def fit(self, inference: Inference, n_clusters: int, seed: int) -> None:
        """Cluster the training rows."""
        self.row_NM = inference.latent_NM.astype(np.float64)
        self.cluster_N, self.reach_N = self.clusters(self.row_NM, n_clusters, seed)

    @final
    def predict(self, inference: Inference) -> Array:
        """Return the cluster of each row's nearest training row, or NOISE where that is out of reach."""
        distance_N, nearest_N = nearest(self.row_NM, inference.latent_NM.astype(np.float64))
        cluster_N = np.where(distance_N <= self.reach_N[nearest_N], self.cluster_N[nearest_N], NOISE)
        return np.asarray(cluster_N, dtype=np.int64)

    @final
    def state(self) -> dict[str, Array]:
        """Return the training rows' latents, clusters and reach."""
        return {"rows": self.row_NM, "clusters": self.cluster_N, "reach": self.reach_N}

    @final
    def restore(self, state: Mapping[str, Array]) -> None:
        """Restore them."""
        self.row_NM, self.cluster_N, self.reach_N = state["rows"], state["clusters"], state["reach"]


def without_limit(cluster_N: Array) -> tuple[Array, Array]:
    """Return the clusters, and a reach without end for each row."""
    return cluster_N.astype(np.int64), np.full(len(cluster_N), np.inf)
