"""Outlier scores: ranks of bounds among those of the training rows, which rounding does not change."""

from __future__ import annotations

import numpy as np
import pytest

from deepmix.metrics import bound_quantiles, outlier_scores


def test_the_score_is_the_fraction_of_training_rows_with_a_larger_bound():
    quantiles = bound_quantiles(-np.arange(1.0, 1002.0))
    scores = outlier_scores(np.array([-0.5, -1.0, -501.0, -1001.0, -2000.0]), quantiles)
    assert scores == pytest.approx([0.0, 1 / 1001, 501 / 1001, 1.0, 1.0], abs=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_a_row_has_the_same_score_when_its_bound_is_rounded_otherwise(scale):
    """As when `predict` infers it in another batch; among 20 rows a rank is a twentieth."""
    bound_N = np.random.default_rng(0).normal(-3.0, 2.0, 20) * scale
    quantiles = bound_quantiles(bound_N)
    expected = outlier_scores(bound_N, quantiles)
    for difference in (-1e-6, 1e-6):
        np.testing.assert_array_equal(outlier_scores(bound_N * (1.0 + difference), quantiles), expected)
