"""Missing cells filled from p(x|z), with intervals from samples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from deepmix.contracts import Batch, Model
from deepmix.data import ColumnSchema, Rows, RowSet, TableSchema, texts_of_dates
from deepmix.maths import Array

if TYPE_CHECKING:
    import pandas as pd

N_DRAWS = 100
"""Least samples of z for each row, over which means are averaged and levels vote."""


MOST_DRAWS = 1000
"""Most samples of z for each row: one lies beyond each end of the interval, on average, up to that of 0.998."""


IMPUTED_ROWS = 1024
"""Rows per batch."""


@dataclass(frozen=True)
class Imputation:
    """A table with its missing cells filled."""

    frame: pd.DataFrame
    """The table as it came, with its modelled columns filled."""
    low: pd.DataFrame | None
    """Lower ends of the intervals of the filled cells of number columns, missing elsewhere; None if not requested."""
    high: pd.DataFrame | None
    n_filled: int
    notes: tuple[str, ...] = ()
    """What the user should know about the table, in words."""


def impute_frame(
    model: Model,
    schema: TableSchema,
    frame: pd.DataFrame,
    rows: RowSet,
    *,
    interval: float | None,
    seed: int,
    device: torch.device,
) -> Imputation:
    """Fill a table's missing cells: numbers by their mean given the rest of the row, levels by the most probable one.

    Args:
        model: a trained model of a table.
        schema: the table's columns.
        frame: the table's rows.
        rows: the same rows as the model takes them.
        interval: probability that an interval holds the value, in (0, 1); None: no intervals.
        seed: makes the result reproducible.
        device: where the model is.

    """
    cells = rows.cells
    assert cells is not None
    incomplete = np.flatnonzero(np.isnan(cells).any(axis=1))
    filled = cells.copy()
    low, high = (np.full_like(cells, np.nan) for _ in range(2))
    generator = torch.Generator(device).manual_seed(seed)
    for start in range(0, len(incomplete), IMPUTED_ROWS):
        numbers = incomplete[start : start + IMPUTED_ROWS]
        unseen = np.isnan(cells[numbers])
        tail = None if interval is None else (1.0 - interval) / 2.0
        expected, drawn = _draws(model, rows.take(numbers), schema, generator, device, tail)
        filled[numbers] = np.where(unseen, expected, cells[numbers])
        if tail is not None:
            low[numbers], high[numbers] = np.where(unseen, interval_ends(drawn, tail), np.nan)
    return _as_frames(schema, frame, cells, filled, (low, high) if interval is not None else None)


def interval_ends(drawn_SNC: Array, tail: float) -> Array:
    """Return the ends of intervals from S draws, (2, N, C): a further draw lies beyond each with probability `tail`.

    These are Weibull's quantiles, which lie a little farther out than the usual ones.
    """
    return np.asarray(np.quantile(drawn_SNC, [tail, 1.0 - tail], axis=0, method="weibull"))


@torch.no_grad()
def _draws(
    model: Model,
    rows: RowSet,
    schema: TableSchema,
    generator: torch.Generator,
    device: torch.device,
    tail: float | None,
) -> tuple[Array, Array]:
    """Return the expected cells, (n, C), and samples of them, (S, n, C): enough for quantiles so far from the middle.

    Without a `tail` there are no samples.
    """
    n_draws = N_DRAWS if tail is None else min(max(N_DRAWS, math.ceil(1.0 / tail)), MOST_DRAWS)
    tensors = next(Rows(rows, np.arange(len(rows)), device).in_order(len(rows)))
    batch = Batch.of(tensors, generator=generator)
    means, samples = [], []
    for _ in range(n_draws):
        component_N, z_NM = model.posterior_sample(batch)
        outputs_NP = model.decode(z_NM, component_N, batch.condition_NQ)
        means.append(model.likelihood.mean(outputs_NP).cpu().numpy())
        if tail is not None:
            samples.append(model.likelihood.sample(outputs_NP, generator).cpu().numpy())
    stacked = np.stack(means)
    expected = stacked.mean(axis=0)
    first = 0
    for block in schema.blocks:
        for cell, n_levels in enumerate(block.levels, start=first):
            counts = np.stack([(stacked[:, :, cell] == level).sum(axis=0) for level in range(n_levels)])
            expected[:, cell] = counts.argmax(axis=0)
        first += block.n_cells
    return expected, np.stack(samples) if samples else np.empty(0)


def _as_frames(
    schema: TableSchema, frame: pd.DataFrame, cells: Array, filled: Array, ends: tuple[Array, Array] | None
) -> Imputation:
    """Return the table with its missing cells filled, in its own units and levels."""
    import pandas as pd

    complete = schema.frame(filled)
    whole = frame.copy()
    bounds = [None, None] if ends is None else [schema.frame(np.where(np.isnan(end), filled, end)) for end in ends]
    lows_highs: list[dict[str, pd.Series]] = [{}, {}]
    n_filled = 0
    for column in schema.modelled:
        own = [c for c, name in enumerate(schema.cell_columns) if name == column.name]
        unseen = np.isnan(cells[:, own]).any(axis=1)
        if column.name in whole:  # a cell with a level that the training did not have stays as it is
            unseen &= schema.is_missing(whole[column.name])
        n_filled += int(unseen.sum())
        values = complete[column.name].to_numpy()
        if column.name not in whole:
            whole[column.name] = values
        elif unseen.any():
            known = whole[column.name]
            if column.date_order is not None:
                values = _date_texts(column, values, known[~unseen])
            whole[column.name] = pd.Series(np.where(unseen, values, known.to_numpy(dtype=object)), known.index)
            whole[column.name] = whole[column.name].infer_objects()
        if column.levels is None:
            for end, interval_ends in zip(bounds, lows_highs, strict=True):
                if end is not None:
                    ends_seen = np.where(unseen, end[column.name].to_numpy(dtype=object), None)
                    interval_ends[column.name] = pd.Series(ends_seen, frame.index)
    low, high = (None if ends is None else pd.DataFrame(one) for one in lows_highs)
    return Imputation(whole, low, high, n_filled)


def _date_texts(column: ColumnSchema, dates: Array, seen: pd.Series) -> Array:
    """Return dates as the other cells of their column are written; as dates if those are no text."""
    example = next(iter(seen), "")
    if not isinstance(example, str):
        return dates
    assert column.date_order is not None
    return texts_of_dates(dates, column.date_unit, column.date_order, example.strip())
