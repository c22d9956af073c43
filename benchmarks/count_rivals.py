"""Other ways to choose the number of clusters, for `components.py` to compare with; each returns a number."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.metrics import silhouette_score
from sklearn.mixture import GaussianMixture

from deepmix.maths import Array

PATIENCE = 5
"""Numbers of Gaussians that are tried after the least BIC."""

FEWEST_FOR_AN_ELBOW = 4
"""Gaussians below which the entropy has no elbow."""

REFERENCES = 5
"""Uniform data sets of the gap statistic."""

HALVINGS, STRENGTH, HALVED_CLUSTERS = 2, 0.8, 30
"""Random halvings for the prediction strength, the value that its authors advise to exceed, and the
largest K that is tried, for the sake of time."""

SMALLEST_LEAF = 5
"""Rows that X-means divides at least."""


def _kmeans(rows_ND: Array, n_clusters: int, seed: int = 0, starts: int = 3) -> KMeans:
    return KMeans(n_clusters, n_init=starts, random_state=seed).fit(rows_ND)


def silhouette_of_kmeans(rows_ND: Array, highest: int) -> int:
    """Return the K with the largest silhouette of k-means; at least 2."""
    values = {
        k: silhouette_score(rows_ND, _kmeans(rows_ND, k).labels_) for k in range(2, min(highest, len(rows_ND) - 1) + 1)
    }
    return max(values, key=lambda k: values[k])


def bic_of_mixture(rows_ND: Array, highest: int) -> int:
    """Return the number of Gaussians with the least BIC of scikit-learn's GaussianMixture, full covariances."""
    return int(_likeliest_mixture(rows_ND, highest).n_components)


def _likeliest_mixture(rows_ND: Array, highest: int) -> GaussianMixture:
    """Return the mixture with the least BIC."""
    fitted: dict[float, GaussianMixture] = {}
    for k in range(1, min(highest, len(rows_ND) // 3) + 1):
        mixture = GaussianMixture(k, n_init=2, random_state=0).fit(rows_ND)
        fitted[mixture.bic(rows_ND)] = mixture
        best = fitted[min(fitted)]
        if k - best.n_components >= PATIENCE:
            break
    return best


def combined_gaussians(rows_ND: Array, highest: int) -> int:
    """Return the number of clusters of clustCombi (Baudry et al. 2010), at the elbow of the entropy.

    The Gaussians of the mixture with the least BIC are merged pair by pair, each time the two whose merger lowers the
    entropy of the rows' assignment most. Two straight lines are then fitted to the entropy by number of clusters, as
    mclust's clustCombiOptim does; with fewer than four Gaussians nothing is merged.
    """
    prob_NG = _likeliest_mixture(rows_ND, highest).predict_proba(rows_ND)
    entropy_G = entropy_by_number(prob_NG)
    if len(entropy_G) < FEWEST_FOR_AN_ELBOW:
        return len(entropy_G)
    number_G = np.arange(1.0, len(entropy_G) + 1.0)

    def misfit(middle: int) -> float:
        """Return the squared error of two lines that meet at a number of clusters."""
        halves = slice(0, middle + 1), slice(middle, None)
        return sum(
            float(
                np.square(
                    np.polyval(np.polyfit(number_G[half], entropy_G[half], 1), number_G[half]) - entropy_G[half]
                ).sum()
            )
            for half in halves
        )

    return 1 + min(range(1, len(entropy_G) - 1), key=misfit)


def entropy_by_number(prob_NG: Array) -> Array:
    """Return the entropy of the rows' assignment, in nats, with 1 to G clusters, (G,), where G clusters are merged."""
    prob_NG, entropy = prob_NG.copy(), [float(-_x_log_x(prob_NG).sum())]
    while prob_NG.shape[1] > 1:
        own_G, n_left = _x_log_x(prob_NG).sum(axis=0), prob_NG.shape[1]
        pairs = [(i, j) for i in range(n_left) for j in range(i)]
        falls = [float(_x_log_x(prob_NG[:, i] + prob_NG[:, j]).sum() - own_G[i] - own_G[j]) for i, j in pairs]
        i, j = pairs[int(np.argmax(falls))]
        prob_NG[:, j] += prob_NG[:, i]
        prob_NG = np.delete(prob_NG, i, axis=1)
        entropy.append(entropy[-1] - max(falls))
    return np.array(entropy[::-1])


def _x_log_x(value: Array) -> Array:
    return np.asarray(value * np.log(np.maximum(value, 1e-300)))


def hdbscan(rows_ND: Array, highest: int) -> int:
    """Return the number of HDBSCAN's clusters with its defaults; 1 where all rows are noise."""
    return max(1, int(HDBSCAN(copy=True).fit_predict(rows_ND).max()) + 1)


def hdbscan_of_hundredth(rows_ND: Array, highest: int) -> int:
    """Return the same with clusters of at least a hundredth of the rows."""
    size = max(5, len(rows_ND) // 100)
    return max(1, int(HDBSCAN(min_cluster_size=size, copy=True).fit_predict(rows_ND).max()) + 1)


def x_means(rows_ND: Array, highest: int) -> int:
    """Return the number of clusters of X-means (Pelleg and Moore 2000): halve while the BIC of spherical ones rises."""
    waiting, finished = [rows_ND], 0
    while waiting:
        part_ND = waiting.pop()
        if len(part_ND) >= SMALLEST_LEAF and finished + len(waiting) + 2 <= highest:
            labels = _kmeans(part_ND, 2).labels_
            halves = [part_ND[labels == k] for k in (0, 1)]
            if min(map(len, halves)) > 1 and _spherical_bic(halves) > _spherical_bic([part_ND]):
                waiting += halves
                continue
        finished += 1
    return finished


def _spherical_bic(parts: list[Array]) -> float:
    """Return the log-likelihood of spherical Gaussians with one variance, less the penalty; larger is better."""
    n_rows, n_columns, n_parts = sum(map(len, parts)), parts[0].shape[1], len(parts)
    square = sum(float(np.square(part - part.mean(axis=0)).sum()) for part in parts)
    variance = max(square / (n_columns * max(n_rows - n_parts, 1)), 1e-12)
    likelihood = sum(len(part) * np.log(len(part) / n_rows) for part in parts)
    likelihood -= 0.5 * n_rows * n_columns * np.log(2.0 * np.pi * variance) + 0.5 * square / variance
    return likelihood - 0.5 * (n_parts * (n_columns + 1)) * np.log(n_rows)


def gap_statistic(rows_ND: Array, highest: int) -> int:
    """Return the K of the gap statistic (Tibshirani et al. 2001), with references uniform on the principal axes."""
    random = np.random.default_rng(0)
    centred_ND = rows_ND - rows_ND.mean(axis=0)
    axes = np.linalg.svd(centred_ND, full_matrices=False)[2]
    turned = centred_ND @ axes.T
    references = [random.uniform(turned.min(axis=0), turned.max(axis=0), turned.shape) for _ in range(REFERENCES)]
    last: tuple[float, float] | None = None
    for k in range(1, min(highest, len(rows_ND) - 1) + 2):
        logs = np.log([_kmeans(reference, k, starts=1).inertia_ for reference in references])
        gap = float(logs.mean() - np.log(_kmeans(turned, k).inertia_))
        if last is not None and last[0] >= gap - float(logs.std() * np.sqrt(1.0 + 1.0 / REFERENCES)):
            return k - 1
        last = (gap, 0.0)
    return highest


def prediction_strength(rows_ND: Array, highest: int) -> int:
    """Return the largest K whose k-means clusters of one half of the rows predict those of the other half."""
    best = 1
    for k in range(2, min(HALVED_CLUSTERS, len(rows_ND) // 4) + 1):
        values = []
        for seed in range(HALVINGS):
            order = np.random.default_rng(seed).permutation(len(rows_ND))
            one, other = rows_ND[order[: len(order) // 2]], rows_ND[order[len(order) // 2 :]]
            own_N, predicted_N = _kmeans(other, k, starts=1).labels_, _kmeans(one, k, starts=1).predict(other)
            shares = []
            for cluster in range(k):
                sizes = np.bincount(predicted_N[own_N == cluster]).astype(np.float64)
                pairs = sizes.sum() * (sizes.sum() - 1.0)
                shares.append((sizes * (sizes - 1.0)).sum() / pairs if pairs else 1.0)
            values.append(min(shares))
        if np.mean(values) > STRENGTH:
            best = k
    return best


RIVALS: dict[str, Callable[[Array, int], int]] = {
    "BIC of scikit-learn's GaussianMixture": bic_of_mixture,
    "clustCombi": combined_gaussians,
    "silhouette of k-means": silhouette_of_kmeans,
    "HDBSCAN, its defaults": hdbscan,
    "HDBSCAN, clusters of a hundredth": hdbscan_of_hundredth,
    "X-means": x_means,
    "gap statistic of k-means": gap_statistic,
    "prediction strength of k-means": prediction_strength,
}


def rival_counts(rows_ND: Array, highest: int) -> dict[str, int]:
    """Return the number of clusters by each rival."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: rival(rows_ND, highest) for name, rival in RIVALS.items()}
