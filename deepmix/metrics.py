"""How well clusters fit labels, and how they look without any."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn import metrics
from sklearn.metrics.cluster import contingency_matrix

from deepmix.types import Array

SILHOUETTE_ROWS = 5000
"""Rows the silhouette is estimated on; it costs their square."""


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


def measure(latent_NM: Array, clusters: Array, labels: Array | None, n_clusters: int, seed: int) -> dict[str, Any]:
    """Return what metrics.json holds of a head: `without_labels` and, where there are labels, `against_labels`."""
    results = without_labels(latent_NM, clusters, n_clusters, seed)
    return results if labels is None else results | against_labels(labels, clusters)


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
