"""From a table with columns of several kinds to a checked and split data set."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from deepmix.data.arrange import split_rows, unlabelled_note
from deepmix.data.checks import CHECK_ROWS, check_labels
from deepmix.data.frame_arrays import frame_labels, label_position
from deepmix.data.preparation import Preparation
from deepmix.data.row_set import InputGaps, RowSet
from deepmix.data.schema import TableSchema
from deepmix.data.schema_inference import infer_schema
from deepmix.data.split import Split
from deepmix.data.split_options import SplitOptions
from deepmix.data.table_file import LabelColumn
from deepmix.data.table_options import TableOptions
from deepmix.errors import UsageError
from deepmix.maths import Array

if TYPE_CHECKING:
    import pandas as pd

TABLE_LIKELIHOOD = "columns"
"""The name of a table's observation model, which is made of one likelihood for each column."""


def arrange_table(
    frame: pd.DataFrame,
    options: SplitOptions,
    table: TableOptions,
    *,
    label_column: str | None = None,
    labels: Array | None = None,
    weights: Array | None = None,
    n_train: int | None = None,
    name: str = "the table",
) -> Split:
    """Split a table's rows, infer what its columns are and encode them.

    Args:
        frame: the table; columns have distinct names.
        options: the split.
        table: what the user says about columns.
        label_column: the column of labels, by name.
        labels: the labels, (N,), where they are not a column.
        weights: weights of the rows, (N,), where they are not a column.
        n_train: how many of the first rows are for training, where an official split exists.
        name: what messages call the table.

    Raises:
        UsageError: the table can't be used; the message names every column that is at fault.

    """
    if len(frame) < 2:
        raise UsageError(f"{name} has {len(frame)} row(s); at least 2 are needed")
    train, test = split_rows(len(frame), n_train, options)
    position = label_position(frame, LabelColumn(label_column))
    if position is not None:
        labels, label_column = frame_labels(frame, position), str(frame.columns[position])
    known = None
    notes: list[str] = list(frame.attrs.get("notes", ()))
    if labels is not None:
        labels, known = check_labels(labels, len(frame))
        notes += [] if known is None else [unlabelled_note(known)]
    schema = infer_schema(frame, train, table, label_column)
    if not schema.modelled:
        raise UsageError(f"{name} has no column to tell clusters apart by; see: deepmix inspect")
    rows, cell_notes = encode_table(schema, frame, weights)
    assert rows.cells is not None
    notes += cell_notes
    empty = np.flatnonzero(np.isnan(rows.cells).all(axis=1))
    if len(empty):
        notes.append(f"{len(empty)} row(s) have no value in any column, the first is row {int(empty[0]) + 1}")
    return Split(
        x=rows.x,
        train=train,
        test=test,
        labels=labels,
        likelihood=TABLE_LIKELIHOOD,
        preprocessing=_described(schema, rows.cells),
        warnings=tuple(notes),
        preparation=Preparation(columns=tuple(column.name for column in schema.modelled)),
        known=known,
        schema=schema,
        table=frame,
        cells=rows.cells,
        flags=rows.flags,
        conditions=rows.conditions,
        weights=rows.weights,
        gaps=rows.gaps,
        row_names=schema.row_names(frame),
    )


def has_gaps(rows: Any) -> bool:
    """Return whether rows are a dense array of numbers with missing values, NaN."""
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.dtype.kind != "f":
        return False
    return any(np.isnan(rows[first : first + CHECK_ROWS]).any() for first in range(0, len(rows), CHECK_ROWS))


def numbered_frame(rows: Array) -> pd.DataFrame:
    """Return an array's rows as a data frame whose columns are x1, x2, ..."""
    import pandas as pd

    rows = rows.astype(rows.dtype.newbyteorder("="), copy=False)  # pandas takes no other byte order
    return pd.DataFrame(rows, columns=[f"x{i + 1}" for i in range(rows.shape[1])])


def encode_table(
    schema: TableSchema, frame: pd.DataFrame, weights: Array | None = None, first_row: int = 0
) -> tuple[RowSet, tuple[str, ...]]:
    """Return a table's rows as a model takes them, and what the user should know about them, in words.

    Args:
        schema: the table's columns.
        frame: the rows.
        weights: weights of the rows, (N,), where they are not a column.
        first_row: number of the frame's first row in the whole table, from 0, for messages.

    Raises:
        UsageError: a column is missing from every row, or has cells of the wrong kind.

    """
    cells, notes = schema.cells(frame, first_row)
    flagged = _flagged(schema)
    flags = np.isnan(cells[:, flagged]).astype(np.float32) if flagged else None
    if weights is None:
        weights = schema.weights(frame, first_row)
    conditions = schema.conditions(frame)
    gaps = _gaps(schema, 0 if conditions is None else conditions.shape[1]) if flagged else None
    return RowSet(schema.features(cells), cells, flags, conditions, weights, gaps), notes


def _flagged(schema: TableSchema) -> list[int]:
    """Return the cells that have a flag: those that were missing in a training row."""
    in_training = {column.name for column in schema.modelled if column.missing > 0.0}
    return [c for c, name in enumerate(schema.cell_columns) if name in in_training]


def _gaps(schema: TableSchema, n_conditions: int) -> InputGaps:
    """Return which inputs change when a value is missing; inputs are features, flags and conditions."""
    cell_columns = np.array(schema.cell_columns)[_flagged(schema)]
    features = np.array(schema.feature_columns)
    columns = list(dict.fromkeys(cell_columns))
    emptied, raised = (np.array([names == column for column in columns]) for names in (features, cell_columns))
    before, after = np.zeros((len(columns), len(features)), bool), np.zeros((len(columns), n_conditions), bool)
    return InputGaps(
        np.concatenate([emptied, np.zeros_like(raised), after], axis=1), np.concatenate([before, raised, after], axis=1)
    )


def rows_of_cells(schema: TableSchema, cells: Array, n_flags: int, n_conditions: int) -> RowSet:
    """Return complete cells, such as generated ones, as rows: nothing is flagged, and conditions are the average."""
    flags = np.zeros((len(cells), n_flags), np.float32) if n_flags else None
    conditions = np.zeros((len(cells), n_conditions), np.float32) if n_conditions else None
    return RowSet(schema.features(cells), cells, flags, conditions)


def _described(schema: TableSchema, cells: Array) -> str:
    """Return what was done to the columns, in words."""
    modelled, others = (
        ", ".join(
            f"{number} {kind}"
            for kind, number in Counter(c.kind for c in schema.columns if c.is_modelled is side).items()
        )
        for side in (True, False)
    )
    missing = float(np.isnan(cells).mean())
    return (
        f"kinds: {modelled}"
        + (f"; besides: {others}" if others else "")
        + (f"; {missing:.1%} of the cells are missing" if missing else "")
    )
