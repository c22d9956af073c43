"""A small table with columns of every kind, made from three groups of rows, for tests that go from file to clusters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

GROUPS = ("ant", "bee", "cat")
"""The true groups, which are the table's labels."""


PLANS = ("basic", "plus", "pro")
"""The levels of `plan`, the usual one of each group."""


N_ROWS = 120


TINY_TABLE = ("--init", "kmeans", "--epochs", "8", "--pretrain-epochs", "8", "--quiet", "--no-report")
"""Options of a run that takes a second or two and finds the groups."""


COLUMN_FLAGS = ("--label-column", "group", "--weight-column", "weight", "--condition", "site")
"""The flags that say what columns of `mixed_table` are for."""


def true_groups(n_rows: int = N_ROWS) -> np.ndarray:
    """Return the number of each row's group, (n_rows,)."""
    return np.arange(n_rows) % len(GROUPS)


def mixed_table(n_rows: int = N_ROWS, seed: int = 0) -> pd.DataFrame:
    """Return a table of three groups with an id, numbers, counts, levels, dates, free text and empty cells.

    Numbers have one decimal, weights are 1, 2 or 3, and each tenth label is missing.
    """
    random = np.random.default_rng(seed)
    group = true_groups(n_rows)
    length = np.round(40.0 + 15.0 * group + random.normal(size=n_rows), 1)
    width = np.round(np.array([5.0, 20.0, 5.0])[group] + random.normal(size=n_rows), 1)
    spend = np.round(np.exp(np.array([3.0, 5.0, 7.0])[group] + 0.2 * random.normal(size=n_rows)), 2)
    plan = np.where(random.random(n_rows) < 0.9, group, random.integers(3, size=n_rows))
    days = np.array([0, 400, 800])[group] + random.integers(60, size=n_rows)
    frame = pd.DataFrame(
        {
            "customer_id": np.arange(n_rows) + 5001,
            "length": length,
            "width": width,
            "spend": spend,
            "visits": random.poisson(np.array([2.0, 9.0, 30.0])[group]),
            "plan": np.array(PLANS, dtype=object)[plan],
            "member": np.where(random.random(n_rows) < np.array([0.1, 0.5, 0.9])[group], "yes", "no"),
            "joined": (pd.Timestamp("2019-03-01") + pd.to_timedelta(days, unit="D")).strftime("%Y-%m-%d"),
            "note": [f"row {i} was written by hand" for i in range(n_rows)],
            "site": np.array(["north", "south"])[random.integers(2, size=n_rows)],
            "weight": random.integers(1, 4, size=n_rows),
            "group": np.array(GROUPS, dtype=object)[group],
        }
    )
    for number, name in enumerate(("length", "width", "spend", "plan", "joined")):
        frame.loc[random.random(n_rows) < 0.05 + 0.01 * number, name] = None
    frame.loc[np.arange(n_rows) % 10 == 9, "group"] = None
    return frame


def write_table(frame: pd.DataFrame, path: Path) -> Path:
    """Write a table as CSV without its index, and return the path."""
    frame.to_csv(path, index=False)
    return path
