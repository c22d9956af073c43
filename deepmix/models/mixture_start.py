"""The responsibilities that a Gaussian mixture starts from: scikit-learn's, from the same random numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.neighbors import NearestNeighbors

from deepmix.maths import Array
from deepmix.models.mixture_rows import MixtureRows

MOST_STARTING_ROWS = 1_000_000
"""k-means for the start sees at most this many rows, drawn at random, because it copies its rows."""


NEIGHBOURS, MOST_ROWS_FOR_NEIGHBOURS = 10, 20_000
"""Beside a noise component, k-means for the start sees the half of at most so many rows that have their tenth nearest
neighbour nearest, as the scattered rows would draw its centres (Byers and Raftery, 1998)."""


def starting_responsibilities(
    rows: MixtureRows, n_components: int, init_params: str, random: np.random.RandomState, *, has_noise: bool
) -> Callable[[slice], Array]:
    """Return a function from slices of the rows to responsibilities, (R, K); it must be called for slices in order.

    Args:
        rows: the rows.
        n_components: K.
        init_params: 'kmeans', 'k-means++', 'random' or 'random_from_data', as in scikit-learn.
        random: the random numbers.
        has_noise: whether some rows may be scattered; k-means then leaves such rows out.

    """
    if init_params == "random":

        def draw(block: slice) -> Array:
            r_RK = random.uniform(size=(block.stop - block.start, n_components))
            return np.asarray(r_RK / r_RK.sum(axis=1, keepdims=True))

        return draw
    number_N = np.arange(len(rows))
    component_N = np.full(len(rows), -1)
    if init_params == "random_from_data":
        probability_N = None if rows.weight_N is None else rows.weight_N / rows.weight_N.sum()
        index_K = random.choice(len(rows), size=n_components, replace=False, p=probability_N)
        component_N[index_K] = np.arange(n_components)
        return lambda block: component_N[block, None] == np.arange(n_components)
    row_S: slice | Array = slice(None)
    most = MOST_ROWS_FOR_NEIGHBOURS if has_noise else MOST_STARTING_ROWS
    if len(rows) > most:
        row_S = np.sort(random.randint(len(rows), size=most))
    if has_noise:
        row_S = number_N[row_S][_dense_half(rows.filled(row_S), n_components)]
    x_SM, weight_S = rows.filled(row_S), None if rows.weight_N is None else rows.weight_N[row_S]
    if init_params == "kmeans":
        kmeans = KMeans(n_components, n_init=1, random_state=random).fit(x_SM, sample_weight=weight_S)
        component_N[row_S] = kmeans.labels_
    else:
        _, index_K = kmeans_plusplus(x_SM, n_components, random_state=random, sample_weight=weight_S)
        component_N[number_N[row_S][index_K]] = np.arange(n_components)
    return lambda block: component_N[block, None] == np.arange(n_components)


def _dense_half(x_SM: Array, least: int) -> Array:
    """Return the numbers of the half of the rows, or of the `least`, whose neighbours are nearest."""
    neighbours = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(x_SM) - 1)).fit(x_SM)
    distance_SJ, _ = neighbours.kneighbors()
    half = max(least, len(x_SM) // 2)
    return np.sort(np.argsort(distance_SJ[:, -1], kind="stable")[:half])
