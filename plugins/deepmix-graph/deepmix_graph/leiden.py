"""Leiden's communities of the graph of shared neighbours (Traag, Waltman and van Eck 2019; Levine et al. 2015)."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass, field
from typing import final

import numpy as np
from scipy import sparse
from sklearn.neighbors import kneighbors_graph
from sknetwork.clustering import Leiden

from deepmix.errors import UsageError
from deepmix.maths import Array

from .carrying import NeighbourHead, NeighbourInitializer, PlaceOptions, without_limit

NEIGHBOURS = 15
"""Neighbours per row, as in scanpy's graphs of cells."""

LOWEST_RESOLUTION, HIGHEST_RESOLUTION = 1e-3, 1e3
"""Between these, the number of communities goes from that of the graph's separate pieces to about the rows'."""

TRIALS = 16
"""Resolutions tried for K communities; each halves the interval, in logarithms, to 1/65536 of its width."""


def _check_neighbours(neighbours: int) -> None:
    if neighbours < 2:
        raise UsageError(f"neighbours must be at least 2, got {neighbours}")


@dataclass(frozen=True)
class LeidenInitializerOptions(PlaceOptions):
    """Options of the initial clustering by Leiden."""

    neighbours: int = field(default=NEIGHBOURS, metadata={"help": "neighbours of each row in the graph"})

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_neighbours(self.neighbours)


@dataclass(frozen=True)
class LeidenHeadOptions:
    """Options of the head."""

    neighbours: int = field(default=NEIGHBOURS, metadata={"help": "neighbours of each row in the graph"})
    resolution: float | None = field(
        default=None,
        metadata={
            "help": "resolution of the modularity, which sets the number of clusters (1: the usual modularity); "
            "auto: the one that gives one cluster per component"
        },
    )

    def __post_init__(self) -> None:
        _check_neighbours(self.neighbours)
        if self.resolution is not None and self.resolution <= 0.0:
            raise UsageError(f"resolution must be above 0, got {self.resolution}")


@final
class LeidenInitializer(NeighbourInitializer):
    """Leiden communities of the graph of shared neighbours, at the resolution that gives K of them."""

    Options = LeidenInitializerOptions

    def clusters(self, row_ND: Array, n_clusters: int, seed: int) -> Array:
        """Return K communities."""
        return k_communities(shared_neighbours(row_ND, self.options.neighbours), n_clusters, seed)


@final
class LeidenHead(NeighbourHead):
    """Leiden communities of the latents' graph of shared neighbours: K, or as many as a resolution gives."""

    Options = LeidenHeadOptions

    def clusters(self, row_NM: Array, n_clusters: int, seed: int) -> tuple[Array, Array]:
        """Return the communities; a new row joins that of its nearest row, however far."""
        graph = shared_neighbours(row_NM, self.options.neighbours)
        if self.options.resolution is None:
            return without_limit(k_communities(graph, n_clusters, seed))
        return without_limit(communities(graph, self.options.resolution, seed))


def shared_neighbours(row_ND: Array, neighbours: int) -> sparse.csr_matrix:
    """Return the graph of shared neighbours, (N, N): |A and B| / |A or B| for the neighbourhoods of linked rows.

    A row's neighbourhood is the row and its nearest rows; two rows are linked if one is in the other's (PhenoGraph).
    """
    near = kneighbors_graph(row_ND, min(neighbours, len(row_ND) - 1))
    near = sparse.csr_matrix(near + sparse.identity(len(row_ND)))
    size = near[0].sum()
    overlap = sparse.coo_matrix((near @ near.T).multiply(near.maximum(near.T)))
    apart = overlap.row != overlap.col
    weight = overlap.data[apart] / (2 * size - overlap.data[apart])
    return sparse.csr_matrix((weight, (overlap.row[apart], overlap.col[apart])), shape=near.shape)


def communities(graph_NN: sparse.csr_matrix, resolution: float, seed: int) -> Array:
    """Return Leiden's communities, numbered from 0 in order of size.

    scikit-network's Leiden draws from C's rand() too, which `random_state` does not seed.
    """
    ctypes.CDLL("msvcrt" if sys.platform == "win32" else None).srand(seed % 2**31)
    leiden = Leiden(resolution=resolution, shuffle_nodes=True, random_state=seed)
    return np.asarray(leiden.fit_predict(graph_NN), dtype=np.int64)


def k_communities(graph_NN: sparse.csr_matrix, n_clusters: int, seed: int) -> Array:
    """Return K communities, at a resolution found by bisection.

    Where no resolution tried gives K, the one that gives the fewest above K is taken, and communities are merged.
    """
    low, high = np.log(LOWEST_RESOLUTION), np.log(HIGHEST_RESOLUTION)
    best, best_resolution = np.arange(graph_NN.shape[0]), HIGHEST_RESOLUTION
    for resolution in [LOWEST_RESOLUTION, *[None] * TRIALS]:
        middle = (low + high) / 2 if resolution is None else low
        label_N = communities(graph_NN, float(np.exp(middle)), seed)
        n_found = label_N.max() + 1
        if n_found >= n_clusters and n_found <= best.max():
            best, best_resolution = label_N, float(np.exp(middle))
        if n_found == n_clusters or (n_found > n_clusters and resolution is not None):
            break
        low, high = (middle, high) if n_found < n_clusters else (low, middle)
    return merge_communities(graph_NN, best, n_clusters, best_resolution)


def merge_communities(graph_NN: sparse.csr_matrix, label_N: Array, n_clusters: int, resolution: float) -> Array:
    """Merge the two communities whose union gains most modularity, or loses least, until K are left."""
    member_NC = sparse.csr_matrix((np.ones(len(label_N)), (np.arange(len(label_N)), label_N)))
    link_CC = (member_NC.T @ graph_NN @ member_NC).toarray() / graph_NN.sum()
    while len(link_CC) > n_clusters:
        degree_C = link_CC.sum(axis=1)
        gain_CC = link_CC - resolution * np.outer(degree_C, degree_C)
        np.fill_diagonal(gain_CC, -np.inf)
        kept, merged = sorted(divmod(int(gain_CC.argmax()), len(link_CC)))
        link_CC[kept] += link_CC[merged]
        link_CC[:, kept] += link_CC[:, merged]
        link_CC = np.delete(np.delete(link_CC, merged, 0), merged, 1)
        label_N = np.where(label_N == merged, kept, label_N - (label_N > merged))
    return label_N
