"""A sample of a data set whose rows stay on disk, for what needs its rows in memory."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from deepmix.data.split import Split
from deepmix.maths import Array

SAMPLE_ROWS = {"train": 5_000, "test": 5_000}
"""Rows of each side that a sample has at most. Of 5,000 rows an accuracy is known to about half a percentage point, and
the initial clusterings need no compiler, whose memory would exceed that of all else."""

SAMPLE_VALUES = 16_000_000
"""Values that a sample has at most, 64 MB of them; the rows of very wide data are fewer."""

FEWEST_ROWS = 1_000
"""Rows that a sample has of each side however wide they are."""


def sample_rows(split: Split, seed: int) -> tuple[Split, npt.NDArray[np.int64]]:
    """Return a sample of the rows in memory, and the positions of its training rows among all training rows.

    Both sides are drawn without repetition. The sample's rows are in the data's order, `numbers` says which they are,
    and without names of their own they have their numbers, from 1, as names.

    Args:
        split: the data set.
        seed: draws the rows; the same seed draws the same ones.

    """
    random = np.random.default_rng(seed)
    positions_by_side: dict[str, npt.NDArray[np.int64]] = {}
    for side, most in SAMPLE_ROWS.items():
        rows = getattr(split, side)
        most = max(min(most, SAMPLE_VALUES // split.x.values_per_row * most // sum(SAMPLE_ROWS.values())), FEWEST_ROWS)
        positions_by_side[side] = np.sort(random.choice(len(rows), min(most, len(rows)), replace=False))
    sides = {side: getattr(split, side)[positions] for side, positions in positions_by_side.items()}
    return take_sample(split, sides["train"], sides["test"]), positions_by_side["train"]


def take_sample(split: Split, train: Array, test: Array) -> Split:
    """Return training and test rows with these ascending numbers in memory, in the data's order."""
    numbers = np.sort(np.concatenate([train, test]))

    def taken(part: Any) -> Any:
        return None if part is None else part[numbers]

    cells = taken(split.cells)
    names: Array = (numbers + 1).astype(str) if split.row_names is None else split.row_names[numbers]
    parts = ("labels", "known", "weights", "flags", "conditions")
    return dataclasses.replace(
        split,
        x=split.x[numbers],
        train=np.searchsorted(numbers, train),
        test=np.searchsorted(numbers, test),
        row_names=names,
        numbers=numbers,
        cells=cells,
        table=None if split.schema is None else split.schema.frame(cells),
        **{part: taken(getattr(split, part)) for part in parts},
    )
