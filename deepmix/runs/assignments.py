"""The table of assignments of a run as it is read: typed columns, rows in the data's order."""

from __future__ import annotations

from typing import Any

import numpy as np

from deepmix.errors import DeepmixError
from deepmix.maths import Array
from deepmix.runs.names import ASSIGNMENTS, METRICS
from deepmix.runs.records import Metrics, RunConfig, damaged
from deepmix.runs.store import RunStore


def read_assignments(store: RunStore, config: RunConfig) -> dict[str, Array]:
    """Return the columns of assignments.csv: row, split, each head's clusters, probability, outlier, ...

    The rows are in the data's order, however the file is sorted.

    Args:
        store: the run's folder.
        config: its config.json.

    Raises:
        DeepmixError: the file is missing or damaged, does not list every row once, or holds other values than were
            written; the order of the rows and columns, further columns and the way numbers are written don't matter.

    """
    table, where = store.read_table(ASSIGNMENTS), str(store.path / ASSIGNMENTS)
    expected = store.read(Metrics).assignments if store.has(METRICS) else None
    if expected is not None:  # other columns are the user's
        table = {name: cells for name, cells in table.items() if name in expected.columns}
    heads = dict.fromkeys(config.requested.heads, np.int64)
    kinds: dict[str, Any] = {"row": np.int64, "split": np.str_, "name": np.str_, "label": np.str_, **heads}
    try:
        columns = {name: np.array(cells).astype(kinds.get(name, np.float64)) for name, cells in table.items()}
    except (ValueError, OverflowError) as error:
        raise damaged(where, error) from error
    missing = [name for name in ("row", "split", *heads) if name not in columns]
    if missing:
        raise damaged(where, f"it has no column '{missing[0]}'")
    n_rows = config.data.rows.total
    order = np.argsort(columns["row"], kind="stable")
    if not np.array_equal(columns["row"][order], np.arange(1, n_rows + 1)):
        raise damaged(where, f"it must list each of the {n_rows} rows once")
    if expected is not None and not expected.fits(table):
        raise DeepmixError(
            f"'{where}' has changed since it was written: its checksum is not that in {METRICS}; restore it, or write "
            f"it again with: deepmix train --resume --out '{store.path}'"
        )
    return {name: column[order] for name, column in columns.items()}
