"""What the columns of a table are, and the maps between the three forms of its values.

frame    a pandas DataFrame in the table's own units, levels and column names
cells    (N, C) float32, what the likelihoods take, NaN where a value is missing; C may differ from the number of
         columns, as a date has several parts
features (N, F) float32, what encoders and initial clusterings take: centred, 0 where a value is missing
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from deepmix.data.column_requests import check_weights, listed
from deepmix.data.column_schema import OTHER, CellBlock, ColumnSchema
from deepmix.data.column_values import is_missing, level_name, level_names_of, numbers_of
from deepmix.data.encode import column_cells, column_features, column_values, level_numbers
from deepmix.errors import UsageError
from deepmix.maths import Array

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TableSchema:
    """The columns of a table in the file's order, and the maps between frame, cells and features.

    Features are in the order of the columns; cells of one likelihood are neighbours, the likelihoods in the order in
    which they first occur among the columns.
    """

    columns: tuple[ColumnSchema, ...]
    missing_marks: tuple[str, ...] = ()
    """Marks of missing values beside the usual ones."""

    @cached_property
    def modelled(self) -> tuple[ColumnSchema, ...]:
        """The columns whose cells are modelled, in the file's order."""
        return tuple(column for column in self.columns if column.is_modelled)

    @cached_property
    def _in_cells_order(self) -> tuple[ColumnSchema, ...]:
        likelihoods = dict.fromkeys(column.likelihood for column in self.modelled)
        return tuple(column for name in likelihoods for column in self.modelled if column.likelihood == name)

    @cached_property
    def text_columns(self) -> tuple[str, ...]:
        """The columns whose cells are read as text."""
        return tuple(column.name for column in self.columns if column.is_read_as_text)

    @cached_property
    def blocks(self) -> tuple[CellBlock, ...]:
        """The blocks of the cells, in the order of the columns of `cells`: cells of one likelihood are neighbours."""
        columns: dict[str, list[ColumnSchema]] = {}
        for column in self._in_cells_order:
            columns.setdefault(str(column.likelihood), []).append(column)
        return tuple(
            CellBlock(name, sum(column.n_cells for column in block), sum((column.cell_levels for column in block), ()))
            for name, block in columns.items()
        )

    @cached_property
    def cell_columns(self) -> tuple[str, ...]:
        """The name of the table's column that each of the C cells belongs to."""
        return tuple(column.name for column in self._in_cells_order for _ in range(column.n_cells))

    @cached_property
    def feature_columns(self) -> tuple[str, ...]:
        """The name of the table's column that each of the F features belongs to."""
        return tuple(column.name for column in self.modelled for _ in range(column.n_features))

    @cached_property
    def cell_of_feature(self) -> tuple[int, ...]:
        """For each of the F features, the number of the first cell of its column, which is missing where it is."""
        return tuple(self._cell_slices[name].start for name in self.feature_columns)

    @cached_property
    def _cell_slices(self) -> dict[str, slice]:
        """The cells of each modelled column."""
        ends = np.cumsum([column.n_cells for column in self._in_cells_order]).tolist()
        columns = zip(self._in_cells_order, ends, strict=True)
        return {column.name: slice(end - column.n_cells, end) for column, end in columns}

    def cells(self, frame: pd.DataFrame, first_row: int = 0) -> tuple[Array, tuple[str, ...]]:
        """Return the cells of a table's rows, (N, C) float32, and what the user should know, in words.

        Columns are matched by name. A modelled column that is not there is missing in every row; a level that is not
        in the schema is OTHER where there is one, else missing; a number too small for a count or a positive column is
        missing; further columns are left out. Each of these is a note.

        Args:
            frame: the rows.
            first_row: number of the frame's first row in the whole table, from 0, for messages.

        Raises:
            UsageError: the table has none of the modelled columns, or a column has cells of the wrong kind; the message
                names every such column and its first cell.

        """
        positions = {str(name): position for position, name in enumerate(frame.columns)}
        absent = [column.name for column in self.modelled if column.name not in positions]
        if len(absent) == len(self.modelled):
            raise UsageError(f"the table has none of the training table's columns: {listed(absent)}; check its header")
        cells_NC = np.full((len(frame), len(self.cell_columns)), np.nan, dtype=np.float32)
        notes, problems = self._notes_on_columns(frame, absent), []
        for column in self.modelled:
            if column.name in absent:
                continue
            values = frame.iloc[:, positions[column.name]]
            cells, wrong, unlisted, outside = column_cells(column, values, is_missing(values, self.missing_marks))
            with np.errstate(over="ignore"):  # a number that float32 can't hold is infinite: its row fits no cluster
                cells_NC[:, self._cell_slices[column.name]] = cells
            if unlisted:
                notes.append(_note_on_levels(column, unlisted))
            if outside is not None and outside.any():
                least = "0 or less" if column.kind == "positive" and not column.offset else "less than 0"
                row = int(np.argmax(outside))
                notes.append(
                    f"numbers in '{column.name}' that are {least} count as missing, as the training rows had none: "
                    f"{int(outside.sum())}, the first in row {first_row + row + 1} ({values.iloc[row]})"
                )
            if wrong.any():
                row = int(np.argmax(wrong))
                problems.append(f"'{column.name}' ({column.kind}; row {first_row + row + 1}: '{values.iloc[row]}')")
        if problems:
            raise UsageError(
                f"cells are not of their column's kind: {', '.join(problems)}; correct them, or leave them empty"
            )
        return cells_NC, tuple(notes)

    def _notes_on_columns(self, frame: pd.DataFrame, absent: list[str]) -> list[str]:
        names = {column.name for column in self.columns}
        conditions = [column.name for column in self.columns if column.kind == "condition"]
        further = [str(name) for name in frame.columns if str(name) not in names]
        absent = absent + [name for name in conditions if name not in set(map(str, frame.columns))]
        notes = []
        if absent:
            notes.append(f"columns that the table lacks count as missing in every row: {listed(absent)}")
        if further:
            notes.append(f"columns that the training table did not have are left out: {listed(further)}")
        return notes

    def is_missing(self, values: pd.Series) -> Array:
        """Return whether each cell of a column is missing, (N,) bool, whatever its kind."""
        return is_missing(values, self.missing_marks)

    def features(self, cells_NC: Array) -> Array:
        """Return the features of cells, (N, F) float32."""
        parts = [
            column_features(column, cells_NC[:, self._cell_slices[column.name]].astype(np.float64)).astype(np.float32)
            for column in self.modelled
        ]
        return np.concatenate(parts, axis=1)

    def frame(self, cells_NC: Array) -> pd.DataFrame:
        """Return the modelled columns of cells in the table's units and levels, in the file's order.

        Whole numbers are int64, or float64 where a value is missing; a missing text or truth value is None, a missing
        date NaT. A level that shares OTHER in the cells is OTHER here.
        """
        import pandas as pd

        columns = {
            column.name: column_values(column, cells_NC[:, self._cell_slices[column.name]]) for column in self.modelled
        }
        return pd.DataFrame(columns)

    def conditions(self, frame: pd.DataFrame) -> Array | None:
        """Return the conditions of a table's rows, (N, Q) float32, one-hot or standardised; None if there are none.

        The mean over the training rows is 0, which a missing value has too, as a level has that the training rows did
        not have.
        """
        parts = []
        for column in self.columns:
            if column.kind != "condition":
                continue
            width = len(column.levels) if column.levels is not None else 1
            values = self._column(frame, column.name)
            if values is None:
                parts.append(np.zeros((len(frame), width)))
                continue
            missing = is_missing(values, self.missing_marks)
            if column.levels is None:
                x = (numbers_of(values, missing)[0] - column.mean) / column.spread
                parts.append(np.where(np.isnan(x), 0.0, x)[:, None])
            else:
                numbers, _ = level_numbers(column, level_names_of(values, missing, column.level_type))
                one_hot = (numbers[:, None] == np.arange(width)) - np.asarray(column.fractions)
                parts.append(np.where(np.isnan(numbers)[:, None], 0.0, one_hot))
        return np.concatenate(parts, axis=1).astype(np.float32) if parts else None

    def weights(self, frame: pd.DataFrame, first_row: int = 0) -> Array | None:
        """Return the rows' weights, (N,) float64; None if there is no weight column, or the table lacks it.

        Args:
            frame: the rows.
            first_row: number of the frame's first row in the whole table, from 0, for messages.

        Raises:
            UsageError: a weight is not a positive, finite number.

        """
        name = next((column.name for column in self.columns if column.kind == "weight"), None)
        values = None if name is None else self._column(frame, name)
        if name is None or values is None:
            return None
        numbers, _ = numbers_of(values, is_missing(values, self.missing_marks))
        check_weights(name, numbers, range(first_row + 1, first_row + len(frame) + 1))
        return numbers

    def row_names(self, frame: pd.DataFrame) -> Array | None:
        """Return the rows' names as text, (N,): of the identifier column, else of the frame's index; None without.

        Of several identifiers it is the one that the user named, else the first; a missing name is an empty text.
        """
        import pandas as pd

        identifiers = [column for column in self.columns if column.kind == "identifier"]
        identifiers.sort(key=lambda column: not column.names_rows)
        for column in identifiers:
            values = self._column(frame, column.name)
            if values is not None:
                missing = is_missing(values, self.missing_marks)
                return np.array([name or "" for name in level_names_of(values, missing)], dtype=str)
        if isinstance(frame.index, pd.RangeIndex):
            return None
        return np.array([level_name(name) for name in frame.index], dtype=str)

    def _column(self, frame: pd.DataFrame, name: str) -> pd.Series | None:
        positions = [position for position, label in enumerate(frame.columns) if str(label) == name]
        return frame.iloc[:, positions[0]] if positions else None


def _note_on_levels(column: ColumnSchema, unlisted: tuple[str, ...]) -> str:
    if OTHER in (column.levels or ()):
        return f"rare and new levels of '{column.name}' count as {OTHER}: {listed(unlisted)}"
    return f"levels of '{column.name}' that the training rows did not have count as missing: {listed(unlisted)}"
