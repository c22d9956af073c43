"""Rows as the plain clusterings of scikit-learn take them: dense, and not too wide."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.decomposition import PCA

from deepmix.maths import Array

MOST_COLUMNS = 50
"""Wider rows are reduced to this many principal components, as t-SNE's authors advise."""


def narrow(rows: Any, seed: int) -> Array:
    """Return rows, dense or CSR, as a dense array of at most MOST_COLUMNS columns: principal components if wider."""
    if min(rows.shape) > MOST_COLUMNS:
        solver = "arpack" if sparse.issparse(rows) else "auto"
        return np.asarray(PCA(MOST_COLUMNS, random_state=seed, svd_solver=solver).fit_transform(rows))
    return np.asarray(rows.toarray() if sparse.issparse(rows) else rows)
