"""The other ways to choose K that `components.py` compares with."""

from __future__ import annotations

import numpy as np
from count_rivals import combined_gaussians, entropy_by_number


def test_the_two_clusters_whose_merger_lowers_the_entropy_most_are_merged_first():
    """Rows 0 and 1 are shared by clusters 0 and 2, row 2 a little by 1 and 2."""
    prob_NG = np.array([[0.5, 0.0, 0.5], [0.5, 0.0, 0.5], [0.0, 0.9, 0.1]])
    little = -(0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    np.testing.assert_allclose(entropy_by_number(prob_NG), [0.0, little, little + 2.0 * np.log(2.0)], atol=1e-12)


def test_two_gaussians_per_cross_are_merged():
    """Two crosses of two long Gaussians each: four Gaussians, two clusters."""
    random = np.random.default_rng(0)
    arm_N, cross_N = np.arange(600) % 2, np.arange(600) // 2 % 2
    spread = np.where(arm_N[:, None] == 0, [2.0, 0.1], [0.1, 2.0])
    x_ND = random.normal(size=(600, 2)) * spread + 30.0 * cross_N[:, None]
    assert combined_gaussians(x_ND, 10) == 2
