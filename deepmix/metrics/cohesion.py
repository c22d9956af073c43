"""How well clusters keep neighbours together: a criterion that needs no labels and compares clusterings of any kind."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from sklearn.neighbors import kneighbors_graph

from deepmix.maths import Array

LINKED_NEIGHBOURS = 10
"""Neighbours that each row is linked to, as in the graph that spectral clustering cuts."""


def neighbour_links(row_ND: Array) -> sparse.csr_matrix:
    """Return the links between rows, (N, N): 1 where either of two rows is one of the other's ten nearest."""
    links = kneighbors_graph(row_ND, min(LINKED_NEIGHBOURS, len(row_ND) - 1))
    return links.maximum(links.T)


def cohesion(link_NN: sparse.csr_matrix, cluster_N: Array) -> float:
    """Return the mean over clusters of the fraction of their links that stay inside, corrected for chance.

    It is 1 where no link joins two clusters, and 0 where rows are put into clusters at random or all into one. Without
    the correction it is 1 minus the mean conductance (Kannan, Vempala and Vetta 2004), which would prefer few clusters.

    Args:
        link_NN: the links between the rows; see `neighbour_links`.
        cluster_N: the rows' clusters, of any numbers.

    """
    clusters, number_N = np.unique(cluster_N, return_inverse=True)
    if len(clusters) < 2:
        return 0.0
    member_NK = sparse.csr_matrix(
        (np.ones(len(number_N)), (np.arange(len(number_N)), number_N)), (len(number_N), len(clusters))
    )
    joint_KK = (member_NK.T @ (link_NN @ member_NK)).toarray()
    total_K = joint_KK.sum(axis=1)
    inside_K, chance_K = np.diag(joint_KK) / total_K, total_K / total_K.sum()
    return float(np.mean((inside_K - chance_K) / (1.0 - chance_K)))
