"""Scores of clusters whose rows have weights, as scikit-learn's functions count every row once.

A weight is a number of rows: each score is the one that scikit-learn's function gives for a table in which a row of
weight w stands w times, and weights that are not whole numbers continue the same formula. All scores but the
silhouette need only the contingency table, in which W_CK is the weight of the rows of label c in cluster k.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.metrics import pairwise_distances_chunked

from deepmix.maths import Array


def contingency(labels: Array, clusters: Array, weight_N: Array | None = None) -> Array:
    """Return the weight of the rows of each label in each cluster, (C, K); both in sorted order.

    Without weights, the table counts rows. scikit-learn's function gives the same, but its checks of every argument
    take many times as long where there are few rows and thousands of tables, as in a bootstrap.
    """
    label_values, label_N = np.unique(labels, return_inverse=True)
    cluster_values, cluster_N = np.unique(clusters, return_inverse=True)
    shape = len(label_values), len(cluster_values)
    cell_N = label_N * shape[1] + cluster_N
    return np.bincount(cell_N, weight_N, minlength=shape[0] * shape[1]).reshape(shape)


def entropy(weight_K: Array) -> float:
    """Return the entropy in nats of a distribution that is proportional to the weights, all positive."""
    fraction_K = weight_K / weight_K.sum()
    return float(-(fraction_K * np.log(fraction_K)).sum())


def mutual_information(weight_CK: Array) -> float:
    """Return the mutual information of label and cluster in nats; 0 where rounding would make it negative."""
    if 1 in weight_CK.shape:
        return 0.0
    joint_CK = weight_CK / weight_CK.sum()
    independent_CK = joint_CK.sum(1, keepdims=True) * joint_CK.sum(0)
    filled = joint_CK > 0.0
    terms = joint_CK[filled] * np.log(joint_CK[filled] / independent_CK[filled])
    terms[np.abs(terms) < np.finfo(np.float64).eps] = 0.0  # as scikit-learn does, so that independence is exactly 0
    return max(float(terms.sum()), 0.0)


def normalized_mutual_information(weight_CK: Array) -> float:
    """Return the mutual information over the mean of both entropies; 1 for one label and one cluster."""
    if weight_CK.shape == (1, 1):
        return 1.0
    information = mutual_information(weight_CK)
    if information == 0.0:
        return 0.0
    return information / (0.5 * (entropy(weight_CK.sum(1)) + entropy(weight_CK.sum(0))))


def homogeneity(weight_CK: Array) -> float:
    """Return the mutual information over the labels' entropy; 1 for one label (Rosenberg and Hirschberg 2007)."""
    return mutual_information(weight_CK) / entropy(weight_CK.sum(1)) if len(weight_CK) > 1 else 1.0


def completeness(weight_CK: Array) -> float:
    """Return the mutual information over the clusters' entropy; 1 for one cluster."""
    return homogeneity(weight_CK.T)


def v_measure(weight_CK: Array) -> float:
    """Return the harmonic mean of homogeneity and completeness."""
    parts = homogeneity(weight_CK), completeness(weight_CK)
    return 2.0 * parts[0] * parts[1] / sum(parts) if sum(parts) > 0.0 else 0.0


def adjusted_rand(weight_CK: Array) -> float | None:
    """Return the adjusted Rand index (Hubert and Arabie 1985); None if the weights make no pair of rows.

    A weight w holds w (w - 1) / 2 pairs, so that the index, unlike the other scores, depends on the weights' scale.
    """
    if weight_CK.sum() <= 1.0:
        return None
    if np.count_nonzero(weight_CK) == len(weight_CK) == weight_CK.shape[1]:
        return 1.0  # labels and clusters are the same partition, even where it has no pairs
    together, by_label, by_cluster, all_pairs = (
        _pairs(weights) for weights in (weight_CK, weight_CK.sum(1), weight_CK.sum(0), weight_CK.sum())
    )
    expected = by_label * by_cluster / all_pairs
    most = 0.5 * (by_label + by_cluster)
    return None if most == expected else (together - expected) / (most - expected)


def _pairs(weights: Any) -> float:
    """Return the number of pairs of rows within these weights."""
    return float((weights * (weights - 1.0)).sum() / 2.0)


SCORES: dict[str, Callable[[Array], float | None]] = {
    "normalized_mutual_info_score": normalized_mutual_information,
    "adjusted_rand_score": adjusted_rand,
    "homogeneity_score": homogeneity,
    "completeness_score": completeness,
    "v_measure_score": v_measure,
}
"""The weighted forms of functions of `sklearn.metrics`, by the function's name; each takes the contingency table."""


def weighted_silhouette(latent_NM: Array, clusters: Array, weight_N: Array) -> float | None:
    """Return the mean silhouette (Rousseeuw 1987); None if there is one cluster, or none has more than one row.

    A row's copies lie at distance 0 from it, so that its own cluster has its weight less 1 of other rows.
    """
    values, cluster_N = np.unique(clusters, return_inverse=True)
    if not 2 <= len(values) < weight_N.sum():
        return None
    weight_NK = weight_N[:, None] * np.eye(len(values))[cluster_N]
    weight_K = weight_NK.sum(axis=0)
    distance_NK = np.concatenate(
        list(pairwise_distances_chunked(latent_NM, reduce_func=lambda chunk, start: chunk @ weight_NK))
    )
    own_N = np.arange(len(cluster_N)), cluster_N
    others_N = weight_K[cluster_N] - 1.0
    has_others = others_N > 0.0  # a row that is alone in its cluster has the silhouette 0
    within_N = distance_NK[own_N] / np.where(has_others, others_N, 1.0)
    between_NK = distance_NK / weight_K
    between_NK[own_N] = np.inf
    between_N = between_NK.min(axis=1)
    larger_N = np.maximum(within_N, between_N)
    silhouette_N = np.where(has_others & (larger_N > 0.0), between_N - within_N, 0.0)
    return float(np.average(silhouette_N / np.where(larger_N > 0.0, larger_N, 1.0), weights=weight_N))
