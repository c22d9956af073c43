"""Criteria that compare partitions of the same rows without labels; larger is better in all of them.

No single one is reliable: each prefers the clusters that some method optimises. There is one of each family: how much
of the neighbourhood graph is cut, how wide the gaps in density are, how likely held-out rows are, and how far the
partitions agree. `benchmarks/suite.py` scores each of them, and their sum, against labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import linalg, sparse
from scipy.special import logsumexp
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestNeighbors

from deepmix.maths import Array
from deepmix.metrics import neighbour_links

from .gaussians import regularization
from .spanning_trees import spanning_tree

GAP_ROWS = 800
"""Rows that the gaps are measured on; time grows with their square for each partition."""

CORE_NEIGHBOURS = 5
"""The neighbour whose distance says how dense a row's surroundings are."""

SMALLEST_TREE = 3
"""A cluster with fewer rows has no density to speak of and counts as badly separated."""

FOLDS = 5

WEIGHTS = {"agreement": 2.0, "gaussian": 20.0, "simplest": 20.0}
"""How often a criterion counts in the total, where it does not count once. The agreement depends least on which rows
are held out; with a weight of 1.5 to 3 the totals choose about equally well (`benchmarks/results/auto.md`). The last
two are only there where they decide: `deciding_partition`."""

FEW_COLUMNS = 3
"""Up to this many columns any shape can be told from noise, and a layout in two dimensions shows nothing more."""

UNCLEAR = 0.5
"""Agreement of the best partition below which the methods see no common clusters. Where they found shapes in over three
columns, such as rings, it was 0.55 and more (`benchmarks/results/auto.md`)."""

SIMPLEST_METHOD = "kmeans"


def cut_criterion(graph_NN: sparse.csr_matrix, labels_N: Array) -> float:
    """Return minus the mean fraction of a cluster's edges that leave it, in [-1, 0]: the conductance."""
    one_hot_NK = np.eye(labels_N.max() + 1)[labels_N]
    edges_KK = one_hot_NK.T @ (graph_NN @ one_hot_NK)
    return float(np.mean(np.diag(edges_KK) / edges_KK.sum(axis=0)) - 1.0)


def gap_criterion(rows_ND: Array, core_N: Array, distance_NN: Array, labels_N: Array) -> float:
    """Return the density-based validity of a partition, in [-1, 1], after DBCV (Moulavi et al. 2014).

    A cluster is good where the smallest mutual reachability distance to another cluster exceeds the longest edge of
    its own spanning tree. Unlike DBCV, the core distance is that to the fifth neighbour, which does not depend on the
    number of columns.
    """
    n_rows, members = len(rows_ND), [np.flatnonzero(labels_N == k) for k in np.unique(labels_N)]
    reach_NN = np.maximum(distance_NN, np.maximum(core_N[:, None], core_N))
    validity = 0.0
    for inside in members:
        if len(inside) < SMALLEST_TREE:
            validity -= len(inside) / n_rows
            continue
        outside = np.setdiff1d(np.arange(n_rows), inside)
        gap = float(reach_NN[np.ix_(inside, outside)].min()) if len(outside) else 0.0
        tree = spanning_tree(rows_ND[inside], min(CORE_NEIGHBOURS, len(inside) - 1))
        sparseness = float(tree.length_E[-1])
        validity += len(inside) / n_rows * (gap - sparseness) / max(gap, sparseness, np.finfo(np.float64).tiny)
    return validity


def likelihood_criterion(rows_ND: Array, labels_N: Array, seed: int, weight_N: Array | None = None) -> float:
    """Return the mean log-likelihood of held-out rows, in nats, under one full Gaussian per cluster.

    In each of five folds the Gaussians' moments and weights are those of the other folds' clusters; no EM follows.
    """
    n_rows, n_clusters = len(rows_ND), int(labels_N.max()) + 1
    weights = np.ones(n_rows) if weight_N is None else weight_N / weight_N.mean()
    added = regularization(rows_ND, weight_N)
    fold_N = np.random.default_rng(seed).permutation(n_rows) % FOLDS
    log_prob_N = np.empty(n_rows)
    for fold in range(FOLDS):
        held_out_N = fold_N == fold
        terms = []
        for k in range(n_clusters):
            own_N = (labels_N == k) & ~held_out_N
            mass = weights[own_N].sum()
            source_N = own_N if mass > 0 else ~held_out_N
            mean, covariance = _moments(rows_ND[source_N], weights[source_N])
            prior = (mass + 1.0) / (weights[~held_out_N].sum() + n_clusters)
            terms.append(np.log(prior) + _log_density(rows_ND[held_out_N], mean, covariance, added))
        log_prob_N[held_out_N] = logsumexp(np.stack(terms), axis=0)
    return float(np.average(log_prob_N, weights=weights))


def agreement_matrix(partitions: Sequence[Array]) -> Array:
    """Return the adjusted Rand index of each pair of P partitions, (P, P).

    scikit-learn's function gives the same values, but checks its arguments at each of the P^2 / 2 calls, which takes
    longer than the rest.
    """
    agreement_PP = np.eye(len(partitions))
    for i, left_N in enumerate(partitions):
        for j, right_N in enumerate(partitions[:i]):
            n_right = int(right_N.max()) + 1
            counts = np.bincount(left_N * n_right + right_N, minlength=(int(left_N.max()) + 1) * n_right)
            agreement_PP[i, j] = agreement_PP[j, i] = _adjusted_rand(counts.reshape(-1, n_right).astype(np.float64))
    return agreement_PP


def score_partitions(
    rows_ND: Array, partitions: Sequence[Array], seed: int, weight_N: Array | None = None
) -> dict[str, Array]:
    """Return the criteria's values, each (P,), by criterion: `cut`, `gap`, `likelihood` and `agreement`.

    Args:
        rows_ND: the rows, dense float64.
        partitions: P times the rows' labels, (N,) in [0, K).
        seed: draws folds and the rows that gaps are measured on.
        weight_N: the rows' weights, which count in the likelihood.

    """
    alone = score_alone(rows_ND, partitions, seed, weight_N)
    return {**alone, "agreement": agreement_matrix(partitions).mean(axis=1)}


def score_alone(
    rows_ND: Array, partitions: Sequence[Array], seed: int, weight_N: Array | None = None
) -> dict[str, Array]:
    """Return the values, each (P,), of the criteria that need no other partition: `cut`, `gap` and `likelihood`.

    The arguments are those of `score_partitions`.
    """
    graph = neighbour_links(rows_ND)
    sample = np.arange(len(rows_ND))
    if len(sample) > GAP_ROWS:
        sample = np.sort(np.random.default_rng(seed).choice(len(sample), GAP_ROWS, replace=False))
    sampled = rows_ND[sample]
    nearest = NearestNeighbors(n_neighbors=min(CORE_NEIGHBOURS, len(sample) - 1)).fit(sampled)
    core_N = nearest.kneighbors()[0][:, -1]
    distance_NN = pairwise_distances(sampled)
    values: dict[bytes, tuple[float, float, float]] = {}  # several methods often find the same partition
    for labels in partitions:
        if (key := labels.tobytes()) not in values:
            values[key] = (
                cut_criterion(graph, labels),
                gap_criterion(sampled, core_N, distance_NN, labels[sample]),
                likelihood_criterion(rows_ND, labels, seed, weight_N),
            )
    cut_P, gap_P, likelihood_P = np.array([values[labels.tobytes()] for labels in partitions]).T
    return {"cut": cut_P, "gap": gap_P, "likelihood": likelihood_P}


def deciding_partition(
    names: Sequence[str], criteria: Mapping[str, Array], covariance: str | None, n_columns: int
) -> tuple[str, int] | None:
    """Return a criterion that outweighs all others and the number of its partition; None where there is none.

    Gaussian clusters are those of the mixture. Where the partition with the largest total hardly agrees with the
    others, each method finds what it looks for, and the simplest one, k-means, errs least.

    Args:
        names: the methods of the P partitions.
        criteria: the values of the partitions by criterion, each (P,), the agreement among them.
        covariance: the kind of covariance if the clusters are Gaussians, else None; see `gaussian_clusters`.
        n_columns: D.

    """
    if covariance is not None:
        name = f"gmm-{covariance}"
        return ("gaussian", names.index(name)) if name in names else None
    leader = int(total_score(criteria).argmax())
    if n_columns > FEW_COLUMNS and criteria["agreement"][leader] < UNCLEAR and SIMPLEST_METHOD in names:
        return "simplest", names.index(SIMPLEST_METHOD)
    return None


def total_score(criteria: Mapping[str, Array], among: Mapping[str, Array] | None = None) -> Array:
    """Return the sum over criteria of WEIGHTS times their values on a common scale, (P,).

    On that scale 0 is the median, 1 the best, and -1 as far below the median as the best is above it, or further.

    Args:
        criteria: the values of P partitions by criterion.
        among: the values that make the scale; None: these.

    """
    total_P = np.zeros(len(next(iter(criteria.values()))))
    for name, value_P in criteria.items():
        scale = (among or criteria)[name]
        middle, best = np.median(scale), scale.max()
        scaled_P = np.clip((value_P - middle) / max(best - middle, 1e-9), -1.0, 1.0)
        total_P += WEIGHTS.get(name, 1.0) * scaled_P
    return total_P


def _adjusted_rand(counts_KK: Array) -> float:
    """Return the adjusted Rand index of two partitions from their contingency table (Hubert and Arabie 1985)."""
    pairs = (np.square(counts_KK) - counts_KK).sum() / 2.0
    left, right = ((np.square(side) - side).sum() / 2.0 for side in (counts_KK.sum(axis=0), counts_KK.sum(axis=1)))
    n_rows = counts_KK.sum()
    expected, most = left * right / (n_rows * (n_rows - 1.0) / 2.0), (left + right) / 2.0
    return 1.0 if most == expected else float((pairs - expected) / (most - expected))


def _moments(rows_ND: Array, weight_N: Array) -> tuple[Array, Array]:
    mean_D = np.average(rows_ND, axis=0, weights=weight_N)
    centred_ND = rows_ND - mean_D
    return mean_D, (centred_ND * weight_N[:, None]).T @ centred_ND / weight_N.sum()


def _log_density(rows_ND: Array, mean_D: Array, covariance_DD: Array, added: float) -> Array:
    """Return log N(x | mean, covariance + added), (N,)."""
    root_DD = np.linalg.cholesky(covariance_DD + added * np.eye(len(mean_D)))
    scaled_DN = linalg.solve_triangular(root_DD, (rows_ND - mean_D).T, lower=True)
    log_root = np.log(np.diag(root_DD)).sum()
    return np.asarray(-0.5 * np.square(scaled_DN).sum(axis=0) - log_root - 0.5 * len(mean_D) * np.log(2.0 * np.pi))
