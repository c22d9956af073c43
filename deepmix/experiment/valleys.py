"""Peaks in the density of rows, and how deep the valleys between them are beside what chance makes of one group.

The density at a row is d log(1 / r), up to a constant, with r the root mean square distance to its k nearest neighbours
and d the number of dimensions that the rows fill. In the graph of neighbours a peak is separated from any higher one by
a saddle; the depth of that valley is the peak's log density less the saddle's (the persistence of Chazal et al.,
"Persistence-based clustering in Riemannian manifolds", JACM 2013). Valleys of one group, uniform or Gaussian, are due
to chance: their depths shrink with the root of k, and `chance_depth` is what few of them exceed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import minimum_spanning_tree
from sklearn.neighbors import NearestNeighbors

from deepmix.maths import Array

SCALES = (12, 18, 27, 40, 60)
"""Numbers k of neighbours: few find small groups, many find shallow valleys."""

ROWS_PER_NEIGHBOUR = 8
"""A scale is used where there are at least this many rows per neighbour."""

FEWEST_ROWS_OF_VALLEYS = SCALES[0] * ROWS_PER_NEIGHBOUR
"""With fewer rows no scale is used, and the neighbours say nothing."""

GRAPH_NEIGHBOURS = 15
"""Neighbours that each row is connected to at least; with fewer, the graph of a thin curve falls apart."""

DIMENSION_NEIGHBOURS = 20

SMALLEST_GROUP = 0.1
"""Rows above its saddle that one of K groups has at least, as a fraction of N / K."""

FEWEST_ROWS = 4

DEEPEST = 99.0
"""The largest relative depth that is recorded; it stands for groups that no neighbours connect."""


@dataclass(frozen=True)
class Valleys:
    """What the neighbours say about the number of groups."""

    depth_K: Array
    """(highest + 1,) relative depth at which there are K groups, by K: above 1 where chance hardly makes so many."""
    dimensions: float
    """d, the number of dimensions that the rows fill (Levina and Bickel 2004)."""

    def n_peaks(self, least_depth: float = 1.0) -> int:
        """Return the largest number of groups at this relative depth; 1 where there are no two."""
        deep = np.flatnonzero(self.depth_K[2:] > least_depth)
        return int(deep[-1]) + 2 if len(deep) else 1


def find_valleys(rows_ND: Array, highest: int) -> Valleys:
    """Return the depths of the valleys between up to `highest` groups of rows, (N, D) float64 without copies."""
    n_rows = len(rows_ND)
    depth_K = np.zeros(highest + 1)
    if n_rows <= DIMENSION_NEIGHBOURS:
        return Valleys(depth_K, 1.0)
    distance_Nk, neighbour_Nk = neighbours_of(rows_ND)
    dimensions = float(np.clip(fractal_dimension(distance_Nk), 1.0, rows_ND.shape[1]))
    for k in SCALES:
        if k * ROWS_PER_NEIGHBOUR <= n_rows:
            density_N = -0.5 * dimensions * np.log(np.square(distance_Nk[:, :k]).mean(axis=1))
            graph_Ng = neighbour_Nk[:, : max(k, GRAPH_NEIGHBOURS)]
            merges_M3 = merge_peaks(density_N, graph_Ng)
            relative_K = depths_by_count(merges_M3, n_rows, highest) / chance_depth(k, dimensions, n_rows)
            depth_K = np.maximum(depth_K, relative_K)
    return Valleys(np.minimum(depth_K, DEEPEST), dimensions)


def neighbours_of(rows_ND: Array) -> tuple[Array, Array]:
    """Return the distances to and the numbers of the nearest neighbours, as many as the largest scale, (N, k)."""
    n_neighbours = min(max(SCALES), len(rows_ND) - 1)
    distance_Nk, neighbour_Nk = NearestNeighbors(n_neighbors=n_neighbours).fit(rows_ND).kneighbors()
    return np.maximum(distance_Nk, 1e-12 * max(float(distance_Nk.max()), 1e-300)), neighbour_Nk


def fractal_dimension(distance_Nk: Array) -> float:
    """Return the maximum likelihood estimate of the number of dimensions, from distances to the nearest neighbours."""
    k = DIMENSION_NEIGHBOURS
    inverse = np.log(distance_Nk[:, k - 1 : k] / distance_Nk[:, : k - 1]).mean()
    return float(1.0 / max(inverse, 1e-9))


def chance_depth(n_neighbours: int, dimensions: float, n_rows: int) -> float:
    """Return the depth in nats that the deepest valley of one group exceeds in about one sample of fifty.

    Fitted to the deepest valleys of uniform and of Gaussian samples of 150 to 6,000 rows in 1 to 10 dimensions, by
    `python benchmarks/components.py --chance`. Where there are more dimensions the valleys are shallower still.
    """
    return float((max(7.5 - dimensions, 4.4) + 0.45 * np.log(n_rows / 2000.0)) / np.sqrt(n_neighbours))


def merge_peaks(density_N: Array, neighbour_Nk: Array) -> Array:
    """Return the valleys of a density on a graph, (M, 3): depth, rows of the lower peak, rows of the higher one.

    As the level falls, groups of rows above it grow and meet. Where two meet, the lower peak ends: the depth is its
    density less that of the saddle, and rows are counted above the saddle. Groups that no edge connects meet at an
    infinite depth.
    """
    n_rows, k = neighbour_Nk.shape
    row_E, other_E = np.repeat(np.arange(n_rows), k), neighbour_Nk.ravel()
    first_E, second_E = np.minimum(row_E, other_E), np.maximum(row_E, other_E)
    _, once = np.unique(first_E * n_rows + second_E, return_index=True)
    first_E, second_E = first_E[once], second_E[once]
    top = float(density_N.max()) + 1.0  # edges of length 0 would not count
    length_E = top - np.minimum(density_N[first_E], density_N[second_E])
    tree = minimum_spanning_tree(csr_matrix((length_E, (first_E, second_E)), shape=(n_rows, n_rows))).tocoo()
    parent, peak, size = list(range(n_rows)), density_N.tolist(), [1] * n_rows
    merges: list[tuple[float, float, float]] = []
    order = np.argsort(tree.data, kind="stable")
    for left, right, length in zip(
        tree.row[order].tolist(), tree.col[order].tolist(), tree.data[order].tolist(), strict=True
    ):
        high, low = _root(parent, left), _root(parent, right)
        if peak[high] < peak[low]:
            high, low = low, high
        depth = peak[low] - (top - length)
        if depth > 1e-9:  # 0: a row without a peak of its own joins its neighbours
            merges.append((depth, size[low], size[high]))
        parent[low] = high
        size[high] += size[low]
    roots = sorted((row for row in range(n_rows) if parent[row] == row), key=lambda row: -size[row])
    merges += [(np.inf, size[row], size[roots[0]]) for row in roots[1:]]
    return np.array(merges, dtype=np.float64).reshape(-1, 3)


def depths_by_count(merges_M3: Array, n_rows: int, highest: int) -> Array:
    """Return by K the largest depth at which K groups of at least SMALLEST_GROUP N / K rows are separate, (K + 1,)."""
    depth_K = np.zeros(highest + 1)
    size_M = merges_M3[:, 1:].min(axis=1)
    for k in range(2, highest + 1):
        depths = np.sort(merges_M3[size_M >= max(SMALLEST_GROUP * n_rows / k, FEWEST_ROWS), 0])[::-1]
        depth_K[k] = depths[k - 2] if len(depths) >= k - 1 else 0.0
    return depth_K


def _root(parent: list[int], node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node
