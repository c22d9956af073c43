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
from deepmix.training import ALONE, Ranks

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
    ranks: Ranks = ALONE,
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
        ranks: the processes that share the incomplete rows; all get the whole result.

    """
    cells = rows.cells
    assert cells is not None
    incomplete = np.flatnonzero(np.isnan(cells).any(axis=1))
    filled = cells.copy()
    low, high = (np.full_like(cells, np.nan) for _ in range(2))
    tail = None if interval is None else (1.0 - interval) / 2.0
    values_3NC = np.zeros((3, len(incomplete), cells.shape[1]), cells.dtype)  # those filled, and the intervals' ends
    starts = range(0, len(incomplete), IMPUTED_ROWS)
    for batch in range(ranks.number, len(starts), ranks.size):
        places = slice(starts[batch], starts[batch] + IMPUTED_ROWS)
        generator = torch.Generator(device).manual_seed(_batch_seed(seed, batch))
        values_3NC[0, places], drawn = _draws(model, rows.take(incomplete[places]), schema, generator, device, tail)
        if tail is not None:
            values_3NC[1:, places] = interval_ends(drawn, tail)
    values_3NC = ranks.sum(torch.from_numpy(values_3NC)).numpy()  # of numbers and zeros, so it is exact
    unseen = np.isnan(cells[incomplete])
    filled[incomplete] = np.where(unseen, values_3NC[0], cells[incomplete])
    if tail is not None:
        low[incomplete], high[incomplete] = np.where(unseen, values_3NC[1:], np.nan)
    return _as_frames(schema, frame, cells, filled, (low, high) if interval is not None else None)


def _batch_seed(seed: int, batch: int) -> int:
    """Return the seed of a batch's draws, which do not depend on other batches, so that processes can share them.

    The first batch has the seed itself, as it had before processes shared batches.
    """
    return seed if batch == 0 else int(np.random.SeedSequence((seed, batch)).generate_state(1)[0])


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
            column_values = whole[column.name]
            if column.date_order is not None:
                values = _date_texts(column, values, column_values[~unseen])
            whole[column.name] = pd.Series(
                np.where(unseen, values, column_values.to_numpy(dtype=object)), column_values.index
            )
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
