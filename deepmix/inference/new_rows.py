"""New rows as a run's model takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

from deepmix.data import Preparation, as_table, column_namer, value_range
from deepmix.errors import UsageError, option

BERNOULLI_SLACK = 1.0
"""How far outside 0..1 new rows may lie under a Bernoulli likelihood: enough for rows scaled by a scaler that was
fitted to other rows, too little for rows that were not scaled at all."""


def prepare_array(
    preparation: Preparation,
    n_features: int,
    likelihood: str,
    x: Any,
    columns: Sequence[str] | None = None,
    first_row: int = 0,
) -> Any:
    """Return raw rows of an array as the model takes them.

    Args:
        preparation: what the training rows underwent.
        n_features: the number of columns of the training rows.
        likelihood: the observation model in use.
        x: (N, D), or (N, ...) which is flattened; NumPy or SciPy sparse, any real type.
        columns: the columns' names, if they have any; matched by name if the training rows had names too. Columns that
            the training rows did not have are left out.
        first_row: number of x's first row in the whole data, from 0, for messages.

    Returns:
        (N, D) float32, dense or CSR.

    Raises:
        UsageError: there are too few or too many columns, or a value can't be used; the message names it.

    """
    x = as_table(x)
    known = preparation.columns
    if columns is not None and known is not None:
        x = _in_order(x, columns, known)
    elif x.shape[1] != n_features:
        raise UsageError(
            f"the rows have {x.shape[1]} column(s) and the run was trained on {n_features}; give it the same "
            "columns, without labels"
        )
    name = column_namer(known)
    low, high = value_range(x, name, first_row)
    _refuse_other_units(preparation, x, low, high)
    prepared = preparation.apply(x)
    if likelihood == "bernoulli" and x.shape[0]:
        least, greatest = preparation.apply(np.stack([low, high]))
        beyond = np.flatnonzero((least < -BERNOULLI_SLACK) | (greatest > 1.0 + BERNOULLI_SLACK))
        if len(beyond):
            column = int(beyond[0])
            raise UsageError(
                f"column {name(column)} ranges from {low[column]:g} to {high[column]:g} and the run was trained "
                f"on values in 0..{float(preparation.undo(np.ones(1))[0]):g}; scale the rows in the same way"
            )
    return prepared


def _in_order(x: Any, columns: Sequence[str], known: Sequence[str]) -> Any:
    """Return the known columns of rows in the order of the training rows."""
    missing = [name for name in known if name not in columns]
    repeated = sorted({name for name in columns if name in known and list(columns).count(name) > 1})
    problems = [
        f"{verb} {', '.join(repr(name) for name in names[:5])}{', ...' if len(names) > 5 else ''}"
        for verb, names in (("lack", missing), ("repeat", repeated))
        if names
    ]
    if problems:
        raise UsageError(f"the data {' and '.join(problems)}; give them the columns the run was trained on")
    if tuple(columns) == tuple(known):
        return x
    return x[:, [list(columns).index(name) for name in known]]


def _refuse_other_units(preparation: Preparation, x: Any, low: Any, high: Any) -> None:
    """Raise a UsageError if rows of a run on bytes lie in 0..1 or -1..1, so that all of them would become black.

    A dark block is legal bytes, even if it holds 0 and 1 only; values between whole numbers are not bytes at all.
    """
    if preparation.scale != "bytes" or not x.shape[0] or high.max() > 1.0:
        return
    values = x.data if sparse.issparse(x) else x
    if values.dtype.kind == "f" and np.any(values != np.floor(values)):
        cure = "multiply the rows by 255" if low.min() >= 0.0 else "rescale the rows to 0..255"
        raise UsageError(
            f"the values lie in {low.min():g}..{high.max():g} and the run was trained on bytes, 0..255; "
            f"{cure}, or train on rows like these ({option('scale', 'none')})"
        )
