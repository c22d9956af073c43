"""A stratified sample of a data set whose rows stay on disk, in which small groups have more rows than their share.

The strata are the cells of a k-means clustering of a plain sample, many more than there are clusters: a small group far
from the others has a cell of its own (the seeding of k-means prefers rows far from all centres). A pass over the file
gives each training row its cell, and as many rows are drawn at random from each.
"""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from deepmix.data.sample import take_sample
from deepmix.data.split import Split
from deepmix.maths import Array

CELLS_PER_CLUSTER, FEWEST_CELLS, ROWS_PER_CELL = 4, 64, 20
"""Cells per cluster, the least number of cells, and rows of the sample per cell at least."""

RESERVE = 2
"""How many times its share a cell keeps during the pass: cells with fewer rows than that leave some to the others."""

BLOCK_ROWS = 16_384
"""Rows that get their cells together."""


def stratified_rows(split: Split, plain: Split, n_clusters: int, seed: int) -> Array:
    """Return the numbers of as many training rows as a plain sample has, ascending, and how many rows each stands for.

    Args:
        split: the data set.
        plain: a plain sample of it, as `sample_rows` gives it.
        n_clusters: how many clusters are looked for.
        seed: draws the rows; the same seed draws the same ones.

    Returns:
        (2, n) float64.

    """
    n_rows, n_drawn = len(split.train), len(plain.train)
    n_cells = min(max(CELLS_PER_CLUSTER * n_clusters, FEWEST_CELLS), n_drawn // ROWS_PER_CELL)
    if n_drawn == n_rows or n_cells < 2:
        return np.stack([plain.row_numbers(plain.train), np.full(n_drawn, n_rows / n_drawn)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of equal rows there may be fewer cells
        cells = KMeans(n_cells, n_init=1, random_state=seed).fit(plain.x[plain.train])
    random = np.random.default_rng(seed)
    reservoir = _Drawn(n_cells, RESERVE * n_drawn // n_cells)
    for start in range(0, n_rows, BLOCK_ROWS):
        numbers = split.train[start : start + BLOCK_ROWS]
        reservoir.add(numbers, cells.predict(split.x[numbers]), random.random(len(numbers)))
    return reservoir.sample(quotas(reservoir.size_C, n_drawn))


def take_stratified(split: Split, plain: Split, rows: Array) -> Split:
    """Return the rows of `stratified_rows` as a sample with the test rows of the plain one.

    Its weights are those of the rows times the number of rows that each stands for.
    """
    sample = take_sample(split, rows[0].astype(np.int64), plain.row_numbers(plain.test))
    weight_N = np.ones(len(sample.x)) if sample.weights is None else sample.weights.copy()
    weight_N[sample.train] *= rows[1]
    return dataclasses.replace(sample, weights=weight_N)


def quotas(size_C: Array, n_drawn: int) -> Array:
    """Return how many rows each cell gives, (C,): the same number each, or all of its rows if it has fewer."""
    low, high = 0, int(size_C.max())
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if np.minimum(size_C, middle).sum() <= n_drawn else (low, middle - 1)
    return np.minimum(size_C, low)


@dataclass
class _Drawn:
    """Rows of each cell with the smallest random keys, gathered in one pass."""

    n_cells: int
    reserve: int
    """Rows that every cell keeps."""

    def __post_init__(self) -> None:
        self.size_C = np.zeros(self.n_cells, dtype=np.int64)
        self._threshold_C = np.ones(self.n_cells)
        self._number, self._cell, self._key = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)

    def add(self, numbers: Array, cell_N: Array, key_N: Array) -> None:
        """Add a block of rows, with their cells and keys, uniform in 0..1."""
        self.size_C += np.bincount(cell_N, minlength=self.n_cells)
        is_small = key_N < self._threshold_C[cell_N]
        self._number = np.concatenate([self._number, numbers[is_small]])
        self._cell = np.concatenate([self._cell, cell_N[is_small]])
        self._key = np.concatenate([self._key, key_N[is_small]])
        if len(self._number) > 2 * self.n_cells * self.reserve:
            self._prune()

    def sample(self, quota_C: Array) -> Array:
        """Return the numbers of the rows that are drawn, ascending, and how many rows each stands for, (2, n)."""
        rank = self._ranks()  # which sorts the rows
        is_sampled = rank < quota_C[self._cell]
        numbers, cell_N = self._number[is_sampled], self._cell[is_sampled]
        stands_for_C = self.size_C / np.maximum(np.bincount(cell_N, minlength=self.n_cells), 1)
        order = np.argsort(numbers)
        return np.stack([numbers[order], stands_for_C[cell_N[order]]])

    def _ranks(self) -> Array:
        """Return the rank of each row's key in its cell, from 0, after sorting the rows by cell and key."""
        order = np.lexsort((self._key, self._cell))
        self._number, self._cell, self._key = self._number[order], self._cell[order], self._key[order]
        first_C = np.searchsorted(self._cell, np.arange(self.n_cells))
        return np.arange(len(order)) - first_C[self._cell]

    def _prune(self) -> None:
        """Drop rows that can't be drawn."""
        rank = self._ranks()
        last = np.flatnonzero(rank == self.reserve - 1)
        self._threshold_C[self._cell[last]] = self._key[last]
        within = rank < self.reserve
        self._number, self._cell, self._key = self._number[within], self._cell[within], self._key[within]
