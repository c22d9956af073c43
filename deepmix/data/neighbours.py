"""Approximate nearest neighbours of many rows, dense or CSR, by a k-d tree or pynndescent."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree
from sklearn.decomposition import TruncatedSVD

from deepmix.maths import Array, own_threads

TREE_COLUMNS = 15
"""Up to so many columns a k-d tree finds neighbours well, and needs no compiler."""

SLACK = 1.0
"""A neighbour that a tree finds is at most so much farther away, relatively, than the true one."""

LEADING_DIRECTIONS = 50
"""Columns that sparse rows are reduced to before their neighbours are looked for."""

FITTED_ROWS = 20_000
"""Rows that these directions are computed from at most."""


def nearest_sparse(rows: sparse.csr_matrix, n_neighbours: int, seed: int = 0) -> Array:
    """Return the numbers of the nearest other rows of many sparse rows, (N, n_neighbours) int64, approximately.

    Neighbours are looked for among the rows' coordinates in the leading singular directions, as latent semantic
    analysis does with texts: the search among thousands of sparse columns takes far longer.
    """
    directions = TruncatedSVD(min(LEADING_DIRECTIONS, rows.shape[1] - 1), random_state=seed)
    sample = np.sort(np.random.default_rng(seed).permutation(rows.shape[0])[:FITTED_ROWS])
    coordinates = directions.fit(rows[sample]).transform(rows).astype(np.float32)
    return NearestRows(coordinates, n_neighbours, seed).of_own()


class NearestRows:
    """An index of rows; building it takes time of about N log N, and a search about log N.

    Rows of few columns are in a k-d tree, of which a search leaves out branches that are little nearer than what it has
    found. For wider rows pynndescent follows the neighbours of neighbours (Dong, Moses and Li 2011), and misses a few
    in a hundred; it compiles for a while first.
    """

    def __init__(self, rows: Array, n_neighbours: int, seed: int) -> None:
        """Build the index.

        Args:
            rows: (N, D) float32.
            n_neighbours: how many neighbours of each row it knows, the row itself not counted.
            seed: makes the result reproducible.

        """
        self._rows, self._n_neighbours = rows, n_neighbours
        self._tree = cKDTree(rows) if rows.shape[1] <= TREE_COLUMNS else None
        if self._tree is None:
            from pynndescent import NNDescent  # here, because its compiler takes seconds to load

            with own_threads():
                self._index = NNDescent(rows, n_neighbors=n_neighbours + 1, random_state=seed)

    def of_own(self) -> Array:
        """Return the numbers of the nearest other rows of each row of the index, (N, n_neighbours) int64."""
        if self._tree is None:
            numbers: Array = self._index.neighbor_graph[0]
        else:
            numbers = self.search(self._rows, self._n_neighbours + 1)
        own = np.arange(len(numbers))[:, None]
        last = np.argsort(numbers == own, axis=1, kind="stable")  # the row itself, which copies may precede, goes last
        return np.take_along_axis(numbers, last, axis=1)[:, : self._n_neighbours].astype(np.int64)

    def search(self, rows: Array, number: int) -> Array:
        """Return the numbers of the rows of the index that lie nearest to other rows, (n, number) int64."""
        if self._tree is not None:
            return np.asarray(self._tree.query(rows, k=np.arange(1, number + 1), eps=SLACK)[1], dtype=np.int64)
        with own_threads():
            return np.asarray(self._index.query(rows, k=number)[0], dtype=np.int64)
