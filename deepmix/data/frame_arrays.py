"""From a table's data frame to what runs on arrays take: numbers without gaps, and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepmix.data.checks import label_text
from deepmix.data.table_file import LabelColumn, TableRows
from deepmix.errors import UsageError, option
from deepmix.maths import Array

if TYPE_CHECKING:
    import pandas as pd


def has_column_names(frame: pd.DataFrame) -> bool:
    """Whether a table's columns have names of their own; those of a file without a header are 1, 2, ..."""
    return [str(name) for name in frame.columns] != [str(i + 1) for i in range(frame.shape[1])]


def label_position(frame: pd.DataFrame, label: LabelColumn) -> int | None:
    """Return the position of a frame's label column, by name, or by number from 1; None if there is none.

    Raises:
        UsageError: the rows are for training and the column is not there.

    """
    names = [str(name) for name in frame.columns] if has_column_names(frame) else None
    return label.position(names, frame.shape[1])


def frame_labels(frame: pd.DataFrame, position: int) -> Array:
    """Return the labels in a column as text, (N,); a missing one is empty, and whole numbers have no decimals."""
    return np.array([label_text(cell) for cell in frame.iloc[:, position].tolist()], dtype=str)


def frame_row_names(frame: pd.DataFrame) -> Array | None:
    """Return the rows' names as text, (N,), or None where the frame's index only counts the rows."""
    import pandas as pd

    if isinstance(frame.index, pd.RangeIndex):
        return None
    return np.array([str(name) for name in frame.index.tolist()])


def frame_to_array(
    frame: pd.DataFrame, label: LabelColumn, table_name: str, first_row: int = 0
) -> tuple[TableRows, list[str] | None]:
    """Return a table's rows as numbers, with their labels, and the names of the columns.

    Args:
        frame: the rows, as `read_frame` gives them.
        label: the label column, which is left out of the rows.
        table_name: what messages call the table, such as 'rows.csv' in quotes.
        first_row: number of the frame's first row in the whole table, from 0, for messages.

    Returns:
        Rows (n, D) float64, labels as text for training, else None; and the D names, None where the table has none.

    Raises:
        UsageError: columns are text or dates, or have missing values; the message lists them all.

    """
    position = label_position(frame, label)
    labels = frame_labels(frame, position) if position is not None and label.training else None
    numeric = frame.drop(columns=frame.columns[position]) if position is not None else frame
    _require_numbers(numeric, label, table_name, first_row)
    columns = [str(name) for name in numeric.columns] if has_column_names(frame) else None
    return TableRows(numeric.to_numpy(dtype=np.float64), labels), columns


def _require_numbers(frame: pd.DataFrame, label: LabelColumn, table_name: str, first_row: int) -> None:
    texts, gaps = [], []
    for name, column in frame.items():
        missing = column.isna().to_numpy()
        if column.dtype.kind not in "biuf" and not missing.all():
            row = int(np.argmin(missing))
            texts.append(f"'{name}' (row {first_row + row + 1}: '{column.iloc[row]}')")
        elif missing.any():
            gaps.append(f"'{name}' (row {first_row + int(np.argmax(missing)) + 1})")
    if not texts and not gaps:
        return
    problems, cures = [], []
    if texts:
        problems.append(f"columns that are not numbers: {', '.join(texts)}")
        cures.append("encode or remove columns of text")
    if gaps:
        problems.append(f"columns with missing values: {', '.join(gaps)}")
        cures.append("fill in or remove missing values")
    if label.training:
        leave = f"train on the table as it is, without {option('scale')} and {option('image_shape')}"
        cures.append(f"name labels with {option('label_column')}" if texts else "")
        cures.append(leave)
    raise UsageError(f"{table_name} has {' and '.join(problems)}; {', or '.join(filter(None, cures))}")
