"""Scores of clusters, with and without labels."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors

from deepmix.maths import Array
from deepmix.metrics.weighted import contingency, weighted_silhouette

NOISE = -1
"""The cluster of rows that are in none."""


SILHOUETTE_ROWS = 5000
"""Number of rows that the silhouette is estimated on; its cost grows with their square."""


NEIGHBOUR_COUNTS = (3, 5, 10)
"""Numbers of neighbours that vote on a test row's label (VaDE Table 3)."""


def clustering_accuracy(labels: Array, clusters: Array, weight_N: Array | None = None) -> float:
    """Return the fraction of rows whose label is their cluster's under the best one-to-one matching.

    See VaDE section 4.3. Labels may have any values and there may be any number of clusters; unmatched clusters count
    as wrong, and so does noise, the cluster -1. A row of weight 2 counts as two rows.
    """
    table = contingency(labels, clusters, weight_N)
    total = table.sum()
    if clusters.dtype.kind == "i" and len(clusters) and clusters.min() == NOISE:
        table = table[:, 1:]  # clusters are sorted, so noise is the first
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / total)


def silhouette(latent_NM: Array, clusters: Array, seed: int, weight_N: Array | None = None) -> float | None:
    """Return the clusters' silhouette on the latents, from at most SILHOUETTE_ROWS rows that the seed draws.

    The result is None if those rows are in fewer than two clusters, or each row is in its own. A row of weight 2 counts
    as two rows, but is drawn as one. Noise, the cluster -1, is left out.
    """
    if clusters.dtype.kind == "i" and len(clusters) and clusters.min() == NOISE:
        in_cluster_N = clusters != NOISE
        latent_NM, clusters = latent_NM[in_cluster_N], clusters[in_cluster_N]
        weight_N = None if weight_N is None else weight_N[in_cluster_N]
    sample = np.arange(len(clusters))
    if len(sample) > SILHOUETTE_ROWS:
        sample = np.random.default_rng(seed).choice(len(sample), SILHOUETTE_ROWS, replace=False)
    if weight_N is not None:
        return weighted_silhouette(latent_NM[sample], clusters[sample], weight_N[sample])
    if not 2 <= len(np.unique(clusters[sample])) < len(sample):
        return None
    return float(silhouette_score(latent_NM[sample], clusters[sample]))


def neighbour_errors(train_NM: Array, train_labels: Array, test_NM: Array, test_labels: Array) -> dict[str, float]:
    """Return the fraction of test rows that their k nearest training latents label wrongly, by k (VaDE Table 3).

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
