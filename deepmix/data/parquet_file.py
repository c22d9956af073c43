"""Reads .parquet files, with pandas and pyarrow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepmix.data.file_problems import FileProblems
from deepmix.data.frame_blocks import BlockReader, TableBlock
from deepmix.data.missing_marks import Marks
from deepmix.data.table_file import block_rows
from deepmix.data.typed_columns import UnreadableColumnError, as_text, typed_column
from deepmix.errors import DeepmixError, option
from deepmix.maths import Array

if TYPE_CHECKING:
    import pandas as pd


class ParquetTable(BlockReader):
    """A table with types. An index that pandas saved in it names the rows."""

    def __init__(self, stack: ExitStack, path: Path, marks: Marks, text_columns: Collection[str]) -> None:
        try:
            import pandas as pd
            from pyarrow import parquet
        except ImportError as error:
            raise DeepmixError(
                "reading .parquet needs pyarrow; install it with: pip install 'deepmix[parquet]'"
            ) from error
        self.name, self._marks, self._plain_index = path.name, marks, pd.RangeIndex
        self._text_columns = text_columns
        self.notes, self.styles = [], {}
        self._file = stack.enter_context(parquet.ParquetFile(path))
        self._lengths: dict[str, int] = {}
        """The length of each column of lists."""

    @property
    def types(self) -> list[tuple[str, str]]:
        """The name and the type of each column."""
        return [(field.name, str(field.type)) for field in self._file.schema_arrow]

    @property
    def n_values(self) -> int:
        """How many cells the file has."""
        return int(self._file.metadata.num_rows) * len(self.types)

    def blocks(self) -> Iterator[TableBlock]:
        """Give the rows block by block; once there is a problem, only look for further ones."""
        problems, n_rows, has_block = FileProblems(self.name), 0, False
        schema = self._file.schema_arrow
        for name, number in Counter(map(str, schema.names)).items():
            if number > 1:
                problems.add(f"{number} columns are called '{name}'", "give every column a name of its own")
        for batch in self._file.iter_batches(block_rows(len(schema.names))):
            block = self._block(batch.to_pandas(), n_rows, problems)
            n_rows += block.n_rows
            if not problems:
                yield block
                has_block = True
        problems.raise_if_any()
        if not has_block:
            yield self._block(schema.empty_table().to_pandas(), 0, problems)

    def _block(self, frame: pd.DataFrame, first_row: int, problems: FileProblems) -> TableBlock:
        columns: list[tuple[str, Array]] = []
        for position, name in enumerate(map(str, frame.columns)):
            column = frame.iloc[:, position]
            if name in self._text_columns:
                columns.append((name, self._as_text(column)))
                continue
            try:
                for part_name, part in self._parts(name, column):
                    values = typed_column(part, self._marks)
                    columns.append((part_name, values))
                    if values.dtype.kind == "f":
                        for row in np.flatnonzero(np.isinf(values)):
                            problems.add(
                                f"row {first_row + row + 1}, column '{part_name}' is infinite",
                                "give it a finite number, or leave the cell empty",
                            )
            except UnreadableColumnError as error:
                if not problems.has(text := f"column '{name}' {error}"):
                    problems.add(text, f"{error.cure}, or leave it out with {option('drop', name)}")
        for name, number in Counter(name for name, _ in columns).items():
            if number > 1 and not problems:
                problems.add(f"{number} columns are called '{name}'", "give every column a name of its own")
        row_names: Sequence[Any] | None = self._counted_names(first_row, len(frame))
        if not isinstance(frame.index, self._plain_index):
            nested = frame.index.nlevels > 1
            row_names = [", ".join(map(str, name)) if nested else name for name in frame.index.tolist()]
        return TableBlock(columns, row_names, len(frame))

    def _as_text(self, column: pd.Series) -> Array:
        """Return a column as text, whatever it holds."""
        try:
            return as_text(typed_column(column, self._marks))
        except UnreadableColumnError:
            cells = column.tolist()
            texts = np.full(len(cells), None, dtype=object)
            texts[:] = [None if cell is None else str(cell) for cell in cells]
            return texts

    def _counted_names(self, first_row: int, n_rows: int) -> Sequence[int] | None:
        """Return rows' names that pandas saved as a range, such as every second number; None if they count from 0."""
        saved = (self._file.schema_arrow.pandas_metadata or {}).get("index_columns", [])
        if len(saved) != 1 or not isinstance(saved[0], dict) or (saved[0]["start"], saved[0]["step"]) == (0, 1):
            return None
        start, step = saved[0]["start"], saved[0]["step"]
        return range(start + first_row * step, start + (first_row + n_rows) * step, step)

    def _parts(self, name: str, column: pd.Series) -> list[tuple[str, Any]]:
        """Return a column with its name; a column of lists of one length becomes one column per element."""
        if column.dtype != object:
            return [(name, column)]
        cells = column.tolist()
        seen = [cell for cell in cells if isinstance(cell, np.ndarray | list | tuple)]
        if not seen and name not in self._lengths:
            return [(name, column)]
        lengths = {len(cell) for cell in seen} | ({self._lengths[name]} if name in self._lengths else set())
        cure = "unpack it into columns of numbers"
        if len(lengths) > 1:
            raise UnreadableColumnError(f"holds lists of {min(lengths)} to {max(lengths)} values", cure)
        self._lengths[name] = n_values = lengths.pop()
        table = np.full((len(cells), n_values), None, dtype=object)
        for row, cell in enumerate(cells):
            if isinstance(cell, np.ndarray | list | tuple):
                table[row] = list(cell)
        return [(f"{name}_{i + 1}", table[:, i]) for i in range(n_values)]
