"""What a report computes beyond a run's metrics: pure functions of arrays (shape legend: `deepmix.maths.values`)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from scipy.special import ndtri
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics.cluster import contingency_matrix
from sklearn.utils.sparsefuncs import mean_variance_axis

from deepmix.maths import Array, own_threads
from deepmix.metrics import clustering_accuracy

MAP_ROWS = 1000
"""Rows drawn on a map: enough to show the clusters' shapes, few enough for t-SNE to take about a second."""


TSNE_STEPS = 500
"""t-SNE's steps, half of them its early exaggeration; more steps change a map of this size little."""


PERPLEXITY = 30.0
"""Size of t-SNE's neighbourhood, scikit-learn's default; smaller if there are few rows."""


NO_AXES = ("near rows are alike,", "far ones need not differ more")
"""What the axes of a map of neighbours mean."""


FEWEST_MAP_ROWS = 8
"""With fewer distinct rows than this there are no neighbourhoods to draw."""


N_BINS = 10
"""Bins of the reliability diagram (Guo et al. 2017 use 15, for 10,000 rows and more)."""


INTERVAL = 0.95
"""Coverage of the intervals in the charts."""


@dataclass(frozen=True)
class Projection:
    """A map of latents: coordinates (n, 2) and the names of the axes."""

    name: str
    points: Array
    x_label: str
    y_label: str


@dataclass(frozen=True)
class Reliability:
    """How often the model was right against how sure it was, with one entry per filled bin of confidence."""

    edges: Array
    """(N_BINS + 1,) edges of the bins."""
    histogram: Array
    """(N_BINS,) number of rows in each bin, empty bins included."""
    confidence: Array
    """(B,) mean confidence of each filled bin."""
    accuracy: Array
    """(B,) fraction of its rows that are right."""
    low: Array
    high: Array
    """(B,) ends of Wilson's interval of that fraction."""
    counts: Array
    """(B,) number of its rows."""
    error: float
    """Expected calibration error: mean |confidence - accuracy|, weighted by rows (Guo et al. 2017, eq. 3)."""


def some_rows(n_rows: int, most: int, seed: int) -> Array:
    """Return up to `most` row numbers, chosen at random and sorted."""
    if n_rows <= most:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng(seed).choice(n_rows, most, replace=False))


def projections(latent_NM: Array, seed: int, *, with_umap: bool = False) -> list[Projection]:
    """Return maps of latents: PCA, t-SNE if there are enough distinct rows and, if `with_umap`, UMAP."""
    maps = [principal_components(latent_NM)]
    if len(np.unique(latent_NM, axis=0)) < FEWEST_MAP_ROWS:
        return maps
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # libraries warn about threads and seeds; the map is a picture, not a result
        perplexity = min(PERPLEXITY, (len(latent_NM) - 1) / 3)
        start = "pca" if latent_NM.shape[1] > 1 else "random"  # one dimension has no two principal components
        tsne = TSNE(init=start, max_iter=TSNE_STEPS, perplexity=perplexity, random_state=seed)
        maps.append(Projection("t-SNE", tsne.fit_transform(latent_NM), *NO_AXES))
        if with_umap:
            import umap  # here, because its compiler takes seconds to load

            with own_threads():
                layout = umap.UMAP(random_state=seed).fit_transform(latent_NM)
            maps.append(Projection("UMAP", layout, *NO_AXES))
    return [one for one in maps if np.isfinite(one.points).all()]


def principal_components(latent_NM: Array) -> Projection:
    """Return the plane of largest variance; the second coordinate is 0 if there is only one dimension or row."""
    n_axes = min(2, *latent_NM.shape)
    points = np.zeros((len(latent_NM), 2))
    fractions = np.zeros(2)
    spread = latent_NM - latent_NM.mean(axis=0)
    if np.any(spread):
        pca = PCA(n_axes, svd_solver="full").fit(latent_NM)
        points[:, :n_axes], fractions[:n_axes] = pca.transform(latent_NM), pca.explained_variance_ratio_
    axes = [
        f"{name} principal direction: {100 * fraction:.0f} % of the variance"
        for name, fraction in zip(("first", "second"), fractions, strict=True)
    ]
    return Projection("PCA", points, *axes)


def matched_pairs(labels: Array, clusters: Array) -> dict[int, Any]:
    """Return the class of each cluster that has a partner in the one-to-one matching (VaDE section 4.3)."""
    classes, numbers = np.unique(labels), np.unique(clusters)
    table = contingency_matrix(labels, clusters)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return {int(numbers[j]): classes[i] for i, j in zip(rows, columns, strict=True) if table[i, j]}


def match(labels: Array, clusters: Array) -> dict[int, Any]:
    """Return the class that each cluster with rows stands for: its partner, or else its most frequent class."""
    if not len(labels):
        return {}
    classes = np.unique(labels)
    most = classes[contingency_matrix(labels, clusters).argmax(axis=0)]
    frequent = {int(cluster): name for cluster, name in zip(np.unique(clusters), most, strict=True)}
    return frequent | matched_pairs(labels, clusters)


def reliability(confidence_N: Array, right_N: Array) -> Reliability:
    """Return the reliability diagram of predictions.

    Args:
        confidence_N: largest q(y|x) of each row, in 0..1.
        right_N: whether the class of each row's most probable component is its label.

    """
    edges = np.linspace(0.0, 1.0, N_BINS + 1)
    bin_N = np.clip(np.searchsorted(edges, confidence_N, side="right") - 1, 0, N_BINS - 1)
    histogram = np.bincount(bin_N, minlength=N_BINS)
    filled = np.flatnonzero(histogram)
    counts = histogram[filled]
    confidence = np.bincount(bin_N, confidence_N, N_BINS)[filled] / counts
    accuracy = np.bincount(bin_N, right_N, N_BINS)[filled] / counts
    low, high = wilson(accuracy, counts)
    error = float((np.abs(confidence - accuracy) * counts).sum() / counts.sum())
    return Reliability(edges, histogram, confidence, accuracy, low, high, counts, error)


def wilson(fraction: Array, n: Array) -> tuple[Array, Array]:
    """Return Wilson's score interval for fractions of n rows (Wilson 1927)."""
    z2 = float(ndtri(0.5 + INTERVAL / 2)) ** 2
    middle = (fraction + z2 / (2 * n)) / (1 + z2 / n)
    reach = np.sqrt(z2 * (fraction * (1 - fraction) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    return np.clip(middle - reach, 0.0, 1.0), np.clip(middle + reach, 0.0, 1.0)


def differences(x_ND: Any, cluster_N: Array, n_clusters: int) -> tuple[Array, Array, Array]:
    """Return what sets each cluster apart from all other rows, feature by feature.

    Returns:
        Three (K, D) arrays: the standardised differences, the means in the clusters and the means of the other rows.
        A difference is the mean in the cluster minus the mean of the other rows, in standard deviations of all rows
        (0 if the column is constant, the cluster is empty, or there is no other row).

    """
    inside_KD, outside_KD = (np.zeros((n_clusters, x_ND.shape[1])) for _ in range(2))
    total_D, variance_D = _moments(x_ND)
    n_rows, spread_D = x_ND.shape[0], np.sqrt(variance_D)
    for k in range(n_clusters):
        rows = np.flatnonzero(cluster_N == k)
        inside_KD[k] = outside_KD[k] = total_D
        if 0 < len(rows) < n_rows:
            inside_KD[k] = _moments(x_ND[rows])[0]
            outside_KD[k] = (n_rows * total_D - len(rows) * inside_KD[k]) / (n_rows - len(rows))
    apart_KD = (inside_KD - outside_KD) / np.where(spread_D > 0.0, spread_D, 1.0)
    return np.where(spread_D > 0.0, apart_KD, 0.0), inside_KD, outside_KD


def _moments(x_ND: Any) -> tuple[Array, Array]:
    """Return each column's mean and variance, float64."""
    if sparse.issparse(x_ND):
        mean_D, variance_D = mean_variance_axis(x_ND.tocsr(), axis=0)
        return mean_D.astype(np.float64), variance_D.astype(np.float64)
    return x_ND.mean(axis=0, dtype=np.float64), x_ND.var(axis=0, dtype=np.float64)


def densest(points: Array) -> Array:
    """Return the point, of (n, 2), whose nearest quarter of the others lies closest around it."""
    apart_nn = np.sqrt(np.square(points[:, None] - points).sum(axis=2))
    return np.asarray(points[np.partition(apart_nn, len(points) // 4, axis=1)[:, len(points) // 4].argmin()])


def typicality(latent_NM: Array, cluster_N: Array) -> Array:
    """Return each row's distance to its cluster's mean latent, (N,), in the cluster's standard deviations."""
    distance_N = np.zeros(len(latent_NM))
    for k in np.unique(cluster_N):
        rows = np.flatnonzero(cluster_N == k)
        z_NM = latent_NM[rows].astype(np.float64)
        spread_M = z_NM.std(axis=0)
        z_NM = (z_NM - z_NM.mean(axis=0)) / np.where(spread_M > 0.0, spread_M, 1.0)
        distance_N[rows] = np.sqrt(np.square(z_NM).sum(axis=1))
    return distance_N


def pairwise_agreement(clusterings: list[Array]) -> Array:
    """Return the fraction of rows that each pair of S clusterings puts in matching clusters, (S, S)."""
    agreement = np.eye(len(clusterings))
    for i, j in combinations(range(len(clusterings)), 2):
        agreement[i, j] = agreement[j, i] = clustering_accuracy(clusterings[i], clusterings[j])
    return agreement


def label_text(label: Any) -> str:
    """Return a label as text; whole numbers without their '.0'."""
    text = str(label)
    return text[:-2] if text.endswith(".0") and text[:-2].lstrip("-").isdigit() else text
