"""How stable a run's clusters are: whether a cheap method finds them again in random samples of the rows.

Of a few well-known methods the one whose clusters of the features agree best with the run's stands in for the run,
which would take too long to repeat. It clusters samples of the rows, and each time the run's clusters are compared with
its clusters: by cluster as Hennig does (2007, Cluster-wise assessment of cluster stability, the scheme "subsetting"),
and by row after matching the clusters one to one (Ben-Hur, Elisseeff and Guyon 2002 also take samples without
repetition). Where rows are wide and no method finds clusters like the run's in the features, as in images, of which a
few hundred are too few, the latents are clustered instead. A cluster that no method finds again may still be real, but
nothing here shows it; one that is found again need not be what the labels mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.manifold import spectral_embedding
from sklearn.metrics import adjusted_rand_score
from sklearn.metrics.cluster import contingency_matrix
from sklearn.neighbors import KNeighborsRegressor

from deepmix import metrics
from deepmix.data import MOST_COLUMNS, Split, narrow
from deepmix.experiment.baselines import attempt, mixture_clusters
from deepmix.experiment.results import CARRYING_NEIGHBOURS
from deepmix.maths import Array
from deepmix.runs import Stability

STABILITY_ROWS = 800
"""Training rows that are sampled from at most, so that all refits together take a second or two."""

REFITS = 20

SAMPLE_FRACTION = 0.63
"""Fraction of the rows in each sample: what a bootstrap sample has of different rows. Rows are not repeated, because
copies upset methods that look at neighbours."""

LEAST_RESEMBLANCE = 0.5
"""Adjusted Rand index with the run's clusters below which a method's clusters of the features do not stand in for them,
where rows have more than MOST_COLUMNS of them. With fewer columns a few hundred rows are enough to find clusters.
"""

KMEANS_STARTS = 3

Refit = Callable[[Array, int, int], Array]
"""Returns the clusters of rows, (N,), from the rows, their number and a seed."""


@dataclass(frozen=True)
class RowStability:
    """The stability of a run's clusters, and of the rows that were sampled."""

    record: Stability
    chosen: Array
    """The numbers of these rows among the training rows, (n,)."""
    stable_n: Array
    """Fraction of the samples with a row in which it was in the matching cluster, (n,)."""

    def of_all(self, split: Split) -> dict[str, Array]:
        """Return every row's stability by side; rows that were not sampled take the mean of their five nearest."""
        train = split.train[self.chosen]
        nearest = KNeighborsRegressor(min(CARRYING_NEIGHBOURS, len(train))).fit(split.x[train], self.stable_n)
        stable_N = self.stable_n if len(train) == len(split.train) else nearest.predict(split.x[split.train])
        stable_N[self.chosen] = self.stable_n
        return {"train": stable_N, "test": nearest.predict(split.x[split.test])}

    def of_stored(self, sample: Split, latent_NM: Array) -> StoredStability:
        """Return what gives the stability of rows that stay on disk.

        Args:
            sample: the rows in memory, some of whose training rows are `chosen`.
            latent_NM: the latents of its training rows.

        """
        numbers = sample.row_numbers(sample.train[self.chosen])
        return StoredStability(numbers, latent_NM[self.chosen], self.stable_n)


@dataclass(frozen=True)
class StoredStability:
    """The stability of some rows, from which rows that stay on disk get theirs.

    Rows that were not sampled take the mean of the five whose latents are nearest: among features, the search takes as
    long as the rest of the pass.
    """

    number_n: Array
    """The numbers of these rows in the data set, (n,), ascending."""
    latent_nM: Array
    stable_n: Array

    @cached_property
    def _nearest(self) -> KNeighborsRegressor:
        number = min(CARRYING_NEIGHBOURS, len(self.stable_n))
        return KNeighborsRegressor(number, algorithm="brute").fit(self.latent_nM, self.stable_n)

    def of(self, number_N: Array, latent_NM: Array) -> Array:
        """Return the stability of rows with these numbers and latents, (N,)."""
        stable_N = np.asarray(self._nearest.predict(latent_NM))
        _, rows, sampled = np.intersect1d(number_N, self.number_n, assume_unique=True, return_indices=True)
        stable_N[rows] = self.stable_n[sampled]
        return stable_N


def measure_stability(
    features: Any, latent_NM: Array, cluster_N: Array, n_clusters: int, seed: int
) -> RowStability | None:
    """Return how stable clusters are; None where they are fewer than two, or no method can cluster the rows.

    Args:
        features: the training rows' features, (N, F), dense or CSR; see `clustering_features`.
        latent_NM: their latents, which are clustered where nothing like the run's clusters is found in the features.
        cluster_N: the run's clusters of these rows, 0 to K - 1; -1 for noise, which is left out.
        n_clusters: K.
        seed: draws the rows and starts the methods.

    """
    generator = np.random.default_rng(seed)
    in_cluster = np.flatnonzero(cluster_N >= 0)
    if not len(in_cluster):
        return None
    n_rows = len(in_cluster)
    subset = in_cluster[np.sort(generator.choice(n_rows, min(n_rows, STABILITY_ROWS), replace=False))]
    own_n = cluster_N[subset]
    best = _stand_in(narrow(features[subset], seed), own_n, "features", seed)
    if best is None or (features.shape[1] > MOST_COLUMNS and best.resemblance < LEAST_RESEMBLANCE):
        other = _stand_in(latent_NM[subset], own_n, "latents", seed)
        if other is not None and (best is None or other.resemblance > best.resemblance):
            best = other
    if best is None:
        return None
    drawn_n, agreed_n = np.zeros(len(subset)), np.zeros(len(subset))
    jaccard_K, times_K, n_refits = np.zeros(n_clusters), np.zeros(n_clusters), 0
    for number in range(REFITS):
        sample = np.sort(generator.choice(len(subset), max(round(SAMPLE_FRACTION * len(subset)), 2), replace=False))
        label_n = attempt(
            partial(REFIT_METHODS[best.method], best.row_nD[sample], len(np.unique(own_n)), seed + number)
        )
        if label_n is None:
            continue
        n_refits += 1
        drawn_n[sample] += 1.0
        agreed_n[sample] += _agrees(own_n[sample], label_n)
        for k, index in _jaccard(own_n[sample], label_n).items():
            jaccard_K[k] += index
            times_K[k] += 1.0
    if not n_refits:
        return None
    agreement = float(agreed_n.sum() / drawn_n.sum())
    stable_n = np.where(drawn_n > 0.0, agreed_n / np.maximum(drawn_n, 1.0), agreement)
    by_cluster = [float(jaccard_K[k] / times_K[k]) if times_K[k] else None for k in range(n_clusters)]
    record = Stability(
        best.method,
        len(subset),
        n_refits,
        agreement,
        best.resemblance,
        best.space,
        by_cluster,
        whole_agreement=float(_agrees(own_n, best.label_n).mean()),
    )
    return RowStability(record, subset, stable_n)


@dataclass(frozen=True)
class _StandIn:
    """The method whose clusters agree best with the run's, and the rows that it clusters."""

    method: str
    resemblance: float
    space: Literal["features", "latents"]
    row_nD: Array
    label_n: Array
    """Its clusters of all of these rows."""


def _stand_in(row_nD: Array, own_n: Array, space: Literal["features", "latents"], seed: int) -> _StandIn | None:
    """Return the method whose clusters of these rows agree best with the run's; None if none can cluster them."""
    row_nD, n_clusters = row_nD.astype(np.float64), len(np.unique(own_n))
    if n_clusters < 2 or len(np.unique(row_nD, axis=0)) <= n_clusters:
        return None
    candidates = [
        _StandIn(name, float(adjusted_rand_score(own_n, label_n)), space, row_nD, label_n)
        for name, refit in REFIT_METHODS.items()
        if (label_n := attempt(partial(refit, row_nD, n_clusters, seed))) is not None
    ]
    return max(candidates, key=lambda one: one.resemblance, default=None)


def _agrees(own_n: Array, label_n: Array) -> Array:
    """Return whether each row's label is the one matched to its cluster, one to one, (n,) bool."""
    clusters, cluster_n = np.unique(own_n, return_inverse=True)
    label_n = np.unique(label_n, return_inverse=True)[1]
    pairs = linear_sum_assignment(contingency_matrix(cluster_n, label_n), maximize=True)
    partner_K = np.full(len(clusters), -1)
    partner_K[pairs[0]] = pairs[1]
    return np.asarray(partner_K[cluster_n] == label_n)


def _jaccard(own_n: Array, label_n: Array) -> dict[int, float]:
    """Return the largest Jaccard index of each of these clusters with one of the labels."""
    counts = contingency_matrix(own_n, label_n)
    union = counts.sum(axis=1, keepdims=True) + counts.sum(axis=0, keepdims=True) - counts
    return dict(zip(np.unique(own_n).tolist(), (counts / union).max(axis=1).tolist(), strict=True))


def _kmeans(row_nD: Array, n_clusters: int, seed: int) -> Array:
    return np.asarray(KMeans(n_clusters, n_init=KMEANS_STARTS, random_state=seed).fit_predict(row_nD))


def _ward(row_nD: Array, n_clusters: int, seed: int) -> Array:
    return np.asarray(AgglomerativeClustering(n_clusters).fit_predict(row_nD))


def _spectral(row_nD: Array, n_clusters: int, seed: int) -> Array:
    """Return Ward's clusters of the neighbourhood graph's K leading eigenvectors, rows scaled to length 1."""
    links = metrics.neighbour_links(row_nD)
    layout = spectral_embedding(links, n_components=n_clusters, drop_first=False, random_state=seed)
    return _ward(layout / np.linalg.norm(layout, axis=1, keepdims=True).clip(min=1e-12), n_clusters, seed)


REFIT_METHODS: dict[str, Refit] = {"k-means": _kmeans, "GMM": mixture_clusters, "Ward": _ward, "spectral": _spectral}
"""The methods that may stand in for the run, by name; the first of equals is taken."""
