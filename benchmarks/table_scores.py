"""What benchmarks/tables.py hides in a table, and how it scores clusters and imputations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import adjusted_rand_score
from table_data import has_levels
from table_rivals import fill_mean_mode

from deepmix.metrics import clustering_accuracy

if TYPE_CHECKING:
    import pandas as pd

Scores = dict[str, float | None]


def hide_cells(frame: pd.DataFrame, columns: Sequence[str], fraction: float, seed: int) -> tuple[pd.DataFrame, Any]:
    """Hide a fraction of the known cells of some columns, at random; each row and each column keeps a cell it had.

    Returns:
        The frame with empty cells, and which cells of the columns were hidden, (N, number of columns) bool.

    """
    from pandas.api.types import is_bool_dtype, is_integer_dtype

    generator = np.random.default_rng(seed)
    known = frame[list(columns)].notna().to_numpy()
    places = np.flatnonzero(known)
    hidden = np.zeros(known.shape, dtype=bool)
    hidden.flat[generator.choice(places, round(fraction * len(places)), replace=False)] = True
    for view, seen in ((hidden, known), (hidden.T, known.T)):
        for line in np.flatnonzero(seen.any(axis=1) & ~(seen & ~view).any(axis=1)):
            view[line, generator.choice(np.flatnonzero(view[line]))] = False
    holed = frame.copy()
    for number, name in enumerate(columns):
        column = frame[name]
        if is_bool_dtype(column):
            column = column.astype("boolean")
        elif is_integer_dtype(column):
            column = column.astype("Int64")  # so that a file has 3 where the table had 3, not 3.0
        holed[name] = column.mask(hidden[:, number])
    return holed, hidden


def score_clusters(labels: Any, clusters: Any) -> Scores:
    """Return the adjusted Rand index and the accuracy under the best one-to-one matching."""
    return {"ari": float(adjusted_rand_score(labels, clusters)), "acc": clustering_accuracy(labels, clusters)}


def score_imputation(complete: pd.DataFrame, holed: pd.DataFrame, filled: pd.DataFrame, hidden: Any) -> Scores:
    """Score what a tool put into the hidden cells; a cell that it left empty gets its column's mean or mode.

    Args:
        complete: the scored columns with all the values that are known.
        holed: the same without the hidden cells.
        filled: the tool's table; it has these columns, and may have others.
        hidden: (N, number of columns) which cells are hidden.

    Returns:
        rmse: root mean squared error of the hidden numbers, in standard deviations of their columns' known values;
            columns with one value are left out; None if no number is hidden.
        error_rate: fraction of the hidden levels that are wrong; None if no level is hidden.
        unfilled: number of hidden cells left empty.

    """
    import pandas as pd

    absent = [name for name in complete if name not in filled]
    if absent or len(filled) != len(complete):
        lacks = ", ".join(map(str, absent)) or "no column"
        raise ValueError(f"the imputed table has {len(filled)} rows, for {len(complete)}, and lacks {lacks}")
    fallback = fill_mean_mode(holed, 0)
    squares, wrong, unfilled = [], [], 0
    for number, name in enumerate(complete):
        where = hidden[:, number]
        truth, values = complete[name][where], filled[name].reset_index(drop=True)[where]
        unfilled += int(values.isna().sum())
        values = values.astype(object).fillna(fallback[name][where])
        if has_levels(complete[name]):
            wrong.extend(values.astype(str).to_numpy() != truth.astype(str).to_numpy())
            continue
        spread = float(np.nanstd(complete[name].astype(float)))
        if spread > 0.0:
            errors = pd.to_numeric(values).to_numpy(dtype=float) - truth.astype(float).to_numpy()
            squares.extend((errors / spread) ** 2)
    return {
        "rmse": float(np.sqrt(np.mean(squares))) if squares else None,
        "error_rate": float(np.mean(wrong)) if wrong else None,
        "unfilled": float(unfilled),
    }
