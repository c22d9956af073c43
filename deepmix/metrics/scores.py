"""How well clusters fit labels, and how they look without any."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn import metrics
from sklearn.metrics.cluster import contingency_matrix
from sklearn.neighbors import NearestNeighbors

from deepmix.maths import Array

SILHOUETTE_ROWS = 5000
"""Rows the silhouette is estimated on; it costs their square."""


NEIGHBOUR_COUNTS = (3, 5, 10)
"""Neighbours that vote on a test row's label: VaDE's Table 3."""


EVERY_ROW = slice(None)


def clustering_accuracy(labels: Array, clusters: Array) -> float:
    """Return the share of rows whose label is their cluster's under the best one-to-one matching.

    VaDE section 4.3. Any label values and any number of clusters; unmatched clusters count as wrong.
    """
    table = contingency_matrix(labels, clusters)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / table.sum())


def against_labels(labels: Array, clusters: Array) -> dict[str, float]:
    """Return acc, nmi, ari, homogeneity, completeness and v_measure, each 1 at best."""
    homogeneity, completeness, v_measure = metrics.homogeneity_completeness_v_measure(labels, clusters)
    return {
        "acc": clustering_accuracy(labels, clusters),
        "nmi": float(metrics.normalized_mutual_info_score(labels, clusters)),
        "ari": float(metrics.adjusted_rand_score(labels, clusters)),
        "homogeneity": float(homogeneity),
        "completeness": float(completeness),
        "v_measure": float(v_measure),
    }


def measure(
    latent_NM: Array,
    clusters: Array,
    labels: Array | None,
    n_clusters: int,
    seed: int,
    scored: Array | slice = EVERY_ROW,
) -> dict[str, Any]:
    """Return what metrics.json holds of a head: `without_labels` and, where there are labels, `against_labels`."""
    results = without_labels(latent_NM, clusters, n_clusters, seed)
    return results if labels is None else results | against_labels(labels[scored], clusters[scored])


def without_labels(latent_NM: Array, clusters: Array, n_clusters: int, seed: int) -> dict[str, Any]:
    """Return the clusters' sizes and their silhouette on the latents (None with fewer than two clusters)."""
    chosen = np.arange(len(clusters))
    if len(chosen) > SILHOUETTE_ROWS:
        chosen = np.random.default_rng(seed).choice(len(chosen), SILHOUETTE_ROWS, replace=False)
    n_found = len(np.unique(clusters[chosen]))
    silhouette = None
    if 2 <= n_found < len(chosen):
        silhouette = float(metrics.silhouette_score(latent_NM[chosen], clusters[chosen]))
    return {"silhouette": silhouette, "sizes": np.bincount(clusters, minlength=n_clusters).tolist()}


def neighbour_errors(train_NM: Array, train_labels: Array, test_NM: Array, test_labels: Array) -> dict[str, float]:
    """Return the share of test rows that their k nearest training latents label wrongly, by k (VaDE Table 3).

    Ties go to the label that sorts first. A k larger than the number of training rows takes them all.
    """
    classes, numbers = np.unique(train_labels, return_inverse=True)
    n_neighbours = min(max(NEIGHBOUR_COUNTS), len(train_NM))
    nearest_Nk = NearestNeighbors(n_neighbors=n_neighbours).fit(train_NM).kneighbors(test_NM, return_distance=False)
    voted_Nk = numbers[nearest_Nk]
    errors = {}
    for k in NEIGHBOUR_COUNTS:
        votes_NC = np.stack([(voted_Nk[:, :k] == number).sum(axis=1) for number in range(len(classes))], axis=1)
        errors[str(k)] = float(np.mean(classes[votes_NC.argmax(axis=1)] != test_labels))
    return errors
