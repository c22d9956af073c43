"""How strange a row is: its bound beside those of the training rows."""

from __future__ import annotations

import numpy as np

from deepmix.maths import Array

N_QUANTILES = 1001
"""Quantiles of the training rows' bounds that a run stores; scores are exact to a thousandth."""

ROUNDING = 1e-5
"""Relative difference of two bounds that may be rounding, as that of one row in two batches; such bounds are equal."""


def bound_quantiles(bound_N: Array) -> Array:
    """Return evenly spaced quantiles of the training rows' bounds, ascending."""
    return np.quantile(bound_N, np.linspace(0.0, 1.0, N_QUANTILES), method="lower")


def outlier_scores(bound_N: Array, quantiles: Array) -> Array:
    """Return the fraction of the training rows that the model finds more probable than each row, (N,) in 0..1.

    Args:
        bound_N: the rows' evidence lower bounds in nats.
        quantiles: those of the training rows, as `bound_quantiles` returns them.

    """
    lowest_N = bound_N - ROUNDING * np.abs(bound_N)
    return 1.0 - np.searchsorted(quantiles, lowest_N, side="left") / len(quantiles)
