"""Cohesion compares clusterings of any kind without labels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from deepmix.metrics import cohesion, neighbour_links


def two_groups(n_each: int = 30) -> np.ndarray:
    random = np.random.default_rng(0)
    return np.concatenate([random.normal(size=(n_each, 2)), 100.0 + random.normal(size=(n_each, 2))])


def test_two_triangles_joined_by_a_link():
    link_NN = np.zeros((6, 6))
    for i, j in [(0, 1), (0, 2), (1, 2), (3, 4), (3, 5), (4, 5), (2, 3)]:
        link_NN[i, j] = link_NN[j, i] = 1.0
    # each triangle has 6 of its 7 ends inside, and half of all ends: (6/7 - 1/2) / (1 - 1/2)
    actual = cohesion(sparse.csr_matrix(link_NN), np.array([7, 7, 7, 2, 2, 2]))
    assert actual == pytest.approx((6 / 7 - 0.5) / 0.5)


def test_groups_apart_have_one_random_clusters_nothing():
    row_ND = two_groups()
    link_NN = neighbour_links(row_ND)
    group_N = np.repeat([0, 1], 30)
    assert cohesion(link_NN, group_N) == 1.0
    assert abs(cohesion(link_NN, np.random.default_rng(1).integers(2, size=60))) < 0.15
    assert cohesion(link_NN, np.zeros(60, dtype=np.int64)) == 0.0
    halves_N = np.where(row_ND[:, 0] % 100 > 0, 1, 0)
    assert cohesion(link_NN, group_N) > cohesion(link_NN, halves_N)


def test_links_join_ten_neighbours_and_go_both_ways():
    link_NN = neighbour_links(two_groups())
    assert (link_NN != link_NN.T).nnz == 0
    assert link_NN.sum(axis=1).min() >= 10
    assert neighbour_links(np.arange(4.0)[:, None]).toarray().tolist() == (1.0 - np.eye(4)).tolist()
