"""What an initial clustering takes: features without holes, and no part that the conditions explain."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401  (makes the next line possible)
from sklearn.impute import IterativeImputer

from deepmix.data import Split
from deepmix.maths import Array

REGRESSORS = 20
"""Columns that a missing feature is predicted from at most, drawn by their correlation with it."""

FITTED_ROWS = 5000
"""Rows that these regressions are fitted to at most."""


def clustering_features(split: Split, seed: int) -> Any:
    """Return the training rows' features, (N, F), for an initial clustering.

    Features of missing values are predicted from the row's others by chained ridge regressions: at 0, the average,
    distances to incomplete rows would be too small. The part that the conditions explain is taken away.
    """
    features = split.x[split.train]
    if split.schema is not None and split.cells is not None:
        missing_NF = np.isnan(split.cells[split.train])[:, split.schema.cell_of_feature]
        if missing_NF.any():
            features = _predicted(features, missing_NF, seed)
    return without_conditions(features, split)


def _predicted(features_NF: Array, missing_NF: Array, seed: int) -> Array:
    """Return the features with the missing ones predicted.

    A prediction keeps to the range of the values that are there. Regressions on features that repeat each other, such
    as the levels of two columns that mean the same, would otherwise amplify their own errors until they overflow.
    """
    holed = np.where(missing_NF, np.nan, features_NF)
    low_F = np.where(missing_NF, np.inf, features_NF).min(axis=0)
    high_F = np.where(missing_NF, -np.inf, features_NF).max(axis=0)
    varies_F = low_F < high_F
    imputer = IterativeImputer(
        n_nearest_features=REGRESSORS,
        random_state=seed,
        keep_empty_features=True,
        min_value=np.where(varies_F, low_F, -np.inf),
        max_value=np.where(varies_F, high_F, np.inf),
    )
    fitted = np.random.default_rng(seed).permutation(len(holed))[:FITTED_ROWS]
    # NumPy warns of invalid values where its linear algebra library sets the flag by mistake; the features are finite
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last few digits of a first guess do not matter
        return np.asarray(imputer.fit(holed[fitted]).transform(holed))


def without_conditions(values: Any, split: Split) -> Any:
    """Return the training rows' features or codes, (N, F) float32, less the part that is linear in the conditions."""
    if split.conditions is not None:
        conditions = np.column_stack([split.conditions[split.train], np.ones(len(values))])
        values = values - conditions @ np.linalg.lstsq(conditions, values, rcond=None)[0]
    return values.astype(np.float32, copy=False)
