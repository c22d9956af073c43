"""The consensus of several seeds: matching of clusters, and votes."""

from __future__ import annotations

import numpy as np
import pytest

from deepmix.inference.consensus import match_seeds, votes


def test_clusters_are_matched_to_the_most_central_seed():
    first_N = np.repeat([0, 1, 2], 10)
    renumbered_N = np.array([2, 0, 1])[first_N]
    other_N = np.array([1, 2, 0])[first_N]
    other_N[:4] = 0
    other_N[10:14] = 1
    central, maps = match_seeds([other_N, first_N, renumbered_N], 3)
    assert central == 1
    assert maps[1].tolist() == [0, 1, 2]
    np.testing.assert_array_equal(maps[2][renumbered_N], first_N)
    assert maps[0].tolist() == [2, 0, 1]


def test_the_majority_wins_and_the_central_seed_decides_ties():
    vote_NK = votes([np.array([0, 0, 0]), np.array([0, 1, -1]), np.array([0, 1, 1]), np.array([0, 0, 1])], 1, 3)
    assert vote_NK.argmax(axis=1).tolist() == [0, 1, 1]
    np.testing.assert_allclose(vote_NK.max(axis=1), [1.0, 0.5, 0.5], atol=1e-8)
    assert vote_NK[2].sum() == pytest.approx(0.75)
