"""Warnings about rows so far from the training rows that the figures of a run rest on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from deepmix.data import Split
from deepmix.experiment.results import bounds_of
from deepmix.maths import Array, Inference

FAR = 10.0
"""A row is far if it alone lowers the mean bound of its side by so many interquartile ranges of the training rows'
bounds."""


LEAST_SPREAD = 1.0
"""Nats that the interquartile range counts as at least, for training rows whose bounds hardly differ."""


MOST_LISTED = 5


SIDES = {"train": "training", "test": "held-out"}


def warnings_on_far_rows(split: Split, inferences: Mapping[str, Inference]) -> list[str]:
    """Return sentences on the rows without a finite bound, and on those that decide the mean ELBO alone."""
    texts = []
    bounds = {side: bounds_of(inference) for side, inference in inferences.items()}
    endless = np.concatenate([getattr(split, side)[np.isneginf(bound_N)] for side, bound_N in bounds.items()])
    if len(endless):
        texts.append(
            f"{len(endless)} row(s) are so far from the others that the model's numbers overflow, and are left out of "
            f"the ELBO: {_listed(split, np.sort(endless))}; check their values"
        )
    finite_N = bounds["train"][np.isfinite(bounds["train"])]
    if not len(finite_N):
        return texts
    low, middle, high = np.quantile(finite_N, [0.25, 0.5, 0.75])
    least = FAR * max(float(high - low), LEAST_SPREAD)
    for side, bound_N in bounds.items():
        far_N = np.isfinite(bound_N) & ((middle - bound_N) / len(bound_N) > least)
        if far_N.any():
            texts.append(
                f"{int(far_N.sum())} {SIDES[side]} row(s) are so far from the others that the mean ELBO says little "
                f"about the rest: {_listed(split, getattr(split, side)[far_N])}; check their values"
            )
    return texts


def _listed(split: Split, rows: npt.NDArray[np.int64]) -> str:
    """Return rows by number, from 1, each with its strangest value."""
    texts = [
        f"row {number + 1} ({_strangest_value(split, int(row))})"
        for row, number in zip(rows[:MOST_LISTED], split.row_numbers(rows[:MOST_LISTED]), strict=True)
    ]
    return ", ".join(texts) + (", ..." if len(rows) > MOST_LISTED else "")


def _strangest_value(split: Split, row: int) -> str:
    """Return the column and value of a row that lie most standard deviations from the training rows' mean."""
    table: Any = split.x if split.cells is None else split.cells
    training, one = table[split.train], table[[row]]
    if sparse.issparse(training):
        mean_D = np.asarray(training.mean(axis=0)).ravel()
        square_D = np.asarray(training.multiply(training).mean(axis=0)).ravel()
        spread_D, one = np.sqrt(np.maximum(square_D - mean_D**2, 0.0)), one.toarray()
    else:
        mean_D, spread_D = _mean_and_spread(training.astype(np.float64))
    distance_D = np.abs(one[0] - mean_D) / np.where(spread_D > 0.0, spread_D, 1.0)
    column = int(np.argmax(np.where(np.isnan(distance_D), -1.0, distance_D)))
    if split.schema is not None and split.table is not None:
        name = split.schema.cell_columns[column]
        position = [str(label) for label in split.table.columns].index(name)
        return f"'{name}' is {split.table.iloc[row, position]}"
    names = split.preparation.columns
    value = float(split.preparation.undo(one)[0, column])
    return f"{f'column {column + 1}' if names is None else repr(names[column])} is {value:g}"


def _mean_and_spread(rows: Array) -> tuple[Array, Array]:
    """Return each column's mean and standard deviation over the values that are there, (D,) each; 0 where none is."""
    present = ~np.isnan(rows)
    n_D = np.maximum(present.sum(axis=0), 1)
    mean_D = np.where(present, rows, 0.0).sum(axis=0) / n_D
    spread_D = np.sqrt((np.where(present, rows - mean_D, 0.0) ** 2).sum(axis=0) / n_D)
    return mean_D, spread_D
