"""Clusterings that cut a minimum spanning tree: robust single linkage and linkage by the Genie rule.

Both follow chains of close rows, so they find rings, spirals and clusters of any shape. Plain single linkage does too,
but splits off single outliers first; the two differ in how they prevent that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.neighbors import NearestNeighbors

from deepmix.maths import Array


@dataclass(frozen=True)
class SpanningTree:
    """A minimum spanning tree over N rows, its N - 1 edges in ascending order of length."""

    ends_E2: Array
    """The rows that each edge connects, (N - 1, 2) int64."""
    length_E: Array
    """The edges' lengths, (N - 1,) float64."""


def spanning_tree(rows_ND: Array, n_neighbours: int) -> SpanningTree:
    """Return the minimum spanning tree of the mutual reachability distance (Campello et al. 2013), by Prim's method.

    The distance of two rows is the largest of their Euclidean distance and of both rows' distances to their neighbour
    number `n_neighbours`; 0 and 1 give the Euclidean distance. Time grows with N^2 D, memory with N D.
    """
    rows = rows_ND.astype(np.float64)
    n_rows = len(rows)
    core_N = np.zeros(n_rows)
    if n_neighbours > 1:
        distances, _ = NearestNeighbors(n_neighbors=min(n_neighbours, n_rows - 1)).fit(rows).kneighbors()
        core_N = distances[:, -1]
    rows = rows - rows.mean(axis=0)
    square_N = np.einsum("nd,nd->n", rows, rows)
    nearest_N, distance_N = np.zeros(n_rows, dtype=np.int64), np.full(n_rows, np.inf)
    remaining = np.arange(1, n_rows)  # rows that the tree does not reach yet
    current, ends, lengths = 0, [], []
    for _ in range(n_rows - 1):
        squares = square_N[remaining] + square_N[current] - 2.0 * (rows[remaining] @ rows[current])
        distances = np.maximum(np.sqrt(squares.clip(min=0.0)), np.maximum(core_N[remaining], core_N[current]))
        closer = distances < distance_N[remaining]
        distance_N[remaining[closer]] = distances[closer]
        nearest_N[remaining[closer]] = current
        position = int(distance_N[remaining].argmin())
        current = int(remaining[position])
        ends.append((nearest_N[current], current))
        lengths.append(distance_N[current])
        remaining = np.delete(remaining, position)
    order = np.argsort(lengths, kind="stable")
    return SpanningTree(np.array(ends, dtype=np.int64).reshape(-1, 2)[order], np.array(lengths)[order])


def robust_single_linkage(tree: SpanningTree, n_clusters: int, min_size: int) -> Array | None:
    """Return single linkage's K clusters, with groups of fewer than `min_size` rows attached to what they join.

    A merge of two groups of at least `min_size` rows each is one of two clusters; the K - 1 longest such merges are
    undone. This is HDBSCAN's tree cut into K clusters, without its noise label.

    Returns:
        (N,) int64 labels in [0, K), or None where the tree has fewer than K - 1 such merges.

    """
    n_rows = len(tree.ends_E2) + 1
    parent, size = list(range(n_rows)), [1] * n_rows
    real_E = np.zeros(n_rows - 1, dtype=bool)
    for edge, (left, right) in enumerate(tree.ends_E2.tolist()):
        a, b = _root(parent, left), _root(parent, right)
        real_E[edge] = size[a] >= min_size and size[b] >= min_size
        parent[a] = b
        size[b] += size[a]
    longest = np.flatnonzero(real_E)[::-1][: n_clusters - 1]
    if len(longest) < n_clusters - 1:
        return None
    saved_E = np.ones(n_rows - 1, dtype=bool)
    saved_E[longest] = False
    return _components(tree.ends_E2[saved_E], n_rows)


def genie(tree: SpanningTree, n_clusters: int, gini: float) -> Array:
    """Return K clusters by single linkage under the Genie rule (Gagolewski et al. 2016).

    Where the Gini index of the cluster sizes exceeds `gini`, the next merge must include a smallest cluster.

    Returns:
        (N,) int64 labels in [0, K).

    """
    n_rows = len(tree.ends_E2) + 1
    cluster_N = np.arange(n_rows)  # each row's cluster, numbered by one of its rows
    size_N = np.ones(n_rows, dtype=np.int64)  # of each cluster, by that number; 0 where there is none
    count_by_size = np.zeros(n_rows + 1)
    count_by_size[1] = n_rows
    open_E, first = np.ones(n_rows - 1, dtype=bool), 0
    left_E, right_E = tree.ends_E2.T
    for n_left in range(n_rows, n_clusters, -1):
        while not open_E[first]:
            first += 1
        edge = first
        sizes = np.flatnonzero(count_by_size)
        if len(sizes) > 1 and _gini_index(sizes, count_by_size[sizes], n_left) > gini:
            smallest = sizes[0]
            edges = np.flatnonzero(open_E)
            touches = size_N[cluster_N[left_E[edges]]] == smallest
            touches |= size_N[cluster_N[right_E[edges]]] == smallest
            edge = int(edges[touches.argmax()])
        open_E[edge] = False
        a, b = cluster_N[left_E[edge]], cluster_N[right_E[edge]]
        count_by_size[[size_N[a]]] -= 1
        count_by_size[[size_N[b]]] -= 1
        size_N[a] += size_N[b]
        size_N[b] = 0
        count_by_size[size_N[a]] += 1
        cluster_N[cluster_N == b] = a
    return np.unique(cluster_N, return_inverse=True)[1].astype(np.int64)


def _gini_index(sizes: Array, counts: Array, n_clusters: int) -> float:
    """Return the Gini index of cluster sizes, from the distinct sizes in ascending order and how often each occurs."""
    above = n_clusters - np.cumsum(counts)  # clusters that are larger
    below = np.cumsum(counts) - counts
    differences = float((sizes * counts * (below - above)).sum())  # sum of |s_i - s_j| over pairs
    return differences / ((n_clusters - 1) * float((sizes * counts).sum()))


def _root(parent: list[int], node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


def _components(ends_E2: Array, n_rows: int) -> Array:
    """Return each row's connected component, numbered from 0."""
    graph = coo_array((np.ones(len(ends_E2)), (ends_E2[:, 0], ends_E2[:, 1])), shape=(n_rows, n_rows))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)
