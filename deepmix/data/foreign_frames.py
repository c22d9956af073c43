"""Data frames that a caller passes: those of pandas, and those of other libraries that can become one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np


def is_frame(rows: Any) -> bool:
    """Whether rows are a pandas DataFrame."""
    return hasattr(rows, "iloc") and hasattr(rows, "columns")


def as_pandas(rows: Any) -> Any:
    """Return a data frame of another library as a pandas DataFrame, with names as text; anything else as it is.

    Raises:
        ValueError: two columns have the same name, or the rows are the path of a file.

    """
    if isinstance(rows, str | Path):
        raise ValueError(f"'{rows}' is a path, not rows; read the file first, for example with pandas.read_csv")
    if not is_frame(rows) and hasattr(rows, "to_pandas") and hasattr(rows, "columns"):
        rows = rows.to_pandas()
    if not is_frame(rows):
        return rows
    frame = rows.rename(columns=str)
    for name, number in Counter(frame.columns).items():
        if number > 1:
            raise ValueError(f"{number} columns are called '{name}'; give every column a name of its own")
    return frame


def refuse_infinite(frame: Any) -> None:
    """Raise a ValueError that names the first infinite cell of a pandas DataFrame."""
    for name, kind in frame.dtypes.items():
        if getattr(kind, "kind", "") == "f":
            infinite = np.flatnonzero(np.isinf(frame[name].to_numpy(np.float64, na_value=np.nan)))
            if len(infinite):
                row = int(infinite[0]) + 1
                raise ValueError(
                    f"row {row}, column '{name}' is infinite; give it a finite number, or leave the cell empty"
                )
