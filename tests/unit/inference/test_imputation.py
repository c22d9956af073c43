"""Intervals of filled cells."""

from __future__ import annotations

import numpy as np
import pytest

from deepmix.inference.imputation import N_DRAWS, interval_ends


@pytest.mark.parametrize("interval", [0.5, 0.8, 0.9])
def test_a_further_draw_lies_within_the_interval_at_its_rate(interval):
    random = np.random.default_rng(0)
    low, high = interval_ends(random.normal(size=(N_DRAWS, 40_000, 1)), (1.0 - interval) / 2.0)
    further = random.normal(size=(40_000, 1))
    assert np.mean((low <= further) & (further <= high)) == pytest.approx(interval, abs=0.008)  # 3 standard errors
