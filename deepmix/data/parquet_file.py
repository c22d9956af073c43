"""Reads .parquet files, with pandas and pyarrow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepmix.data.block_share import WHOLE, BlockShare
from deepmix.data.file_problems import FileProblems
from deepmix.data.frame_blocks import BlockReader, TableBlock
from deepmix.data.missing_marks import Marks
from deepmix.data.table_file import block_rows
from deepmix.data.typed_columns import UnreadableColumnError, as_text, typed_column
from deepmix.errors import DeepmixError, option
from deepmix.maths import Array

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow


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
        self.n_rows = int(self._file.metadata.num_rows)
        self._block_rows = block_rows(len(self._file.schema_arrow.names))
        self._lengths: dict[str, int] = {}
        """The length of each column of lists."""

    @property
    def types(self) -> list[tuple[str, str]]:
        """The name and the type of each column."""
        return [(field.name, str(field.type)) for field in self._file.schema_arrow]

    @property
    def n_values(self) -> int:
        """How many cells the file has."""
        return self.n_rows * len(self.types)

    @property
    def n_blocks(self) -> int:
        """How many blocks hold rows."""
        return -(-self.n_rows // self._block_rows)

    def blocks(self, share: BlockShare = WHOLE) -> Iterator[TableBlock]:
        """Give the rows block by block; once there is a problem, only look for further ones."""
        yield from self.blocks_at(share.consecutive(self.n_blocks))
        if not self.n_blocks and share.has(0):
            yield self._block(self._file.schema_arrow.empty_table().to_pandas(), 0, FileProblems(self.name))

    def blocks_at(self, numbers: range) -> Iterator[TableBlock]:
        """Give the blocks with consecutive numbers."""
        problems = FileProblems(self.name)
        for name, number in Counter(map(str, self._file.schema_arrow.names)).items():
            if number > 1:
                problems.add(f"{number} columns are called '{name}'", "give every column a name of its own")
        if numbers.start > 0 and len(numbers) > 0:
            self.first_names = self._block(next(self._tables(range(1))).to_pandas(), 0, problems).row_names
        for number, table in zip(numbers, self._tables(numbers), strict=False):
            block = self._block(table.to_pandas(), number * self._block_rows, problems)
            if number == 0:
                self.first_names = block.row_names
            if not problems:
                yield block
        problems.raise_if_any()

    def _tables(self, numbers: range) -> Iterator[pyarrow.Table]:
        """Give the rows of consecutive blocks; of the file's row groups only those that hold some of them are read."""
        import pyarrow

        first, end = numbers.start * self._block_rows, min(numbers.stop * self._block_rows, self.n_rows)
        metadata = self._file.metadata
        lengths = np.array([metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)])
        ends = np.cumsum(lengths)
        groups = np.flatnonzero((ends > first) & (ends - lengths < end))
        if not len(groups):
            return
        position, waiting = int((ends - lengths)[groups[0]]), self._file.schema_arrow.empty_table()
        for batch in self._file.iter_batches(self._block_rows, row_groups=groups.tolist()):
            start, stop = max(first - position, 0), min(end - position, batch.num_rows)
            position += batch.num_rows
            if start >= stop:
                continue
            more = pyarrow.Table.from_batches([batch.slice(start, stop - start)])
            waiting = pyarrow.concat_tables([waiting, more]) if waiting.num_rows else more
            while waiting.num_rows >= self._block_rows:
                yield waiting.slice(0, self._block_rows)
                waiting = waiting.slice(self._block_rows)
        if waiting.num_rows:
            yield waiting

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
        return TableBlock(columns, row_names, len(frame), first_row)

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
        arrays = [cell for cell in cells if isinstance(cell, np.ndarray | list | tuple)]
        if not arrays and name not in self._lengths:
            return [(name, column)]
        lengths = {len(cell) for cell in arrays} | ({self._lengths[name]} if name in self._lengths else set())
        cure = "unpack it into columns of numbers"
        if len(lengths) > 1:
            raise UnreadableColumnError(f"holds lists of {min(lengths)} to {max(lengths)} values", cure)
        self._lengths[name] = n_values = lengths.pop()
        table = np.full((len(cells), n_values), None, dtype=object)
        for row, cell in enumerate(cells):
            if isinstance(cell, np.ndarray | list | tuple):
                table[row] = list(cell)
        return [(f"{name}_{i + 1}", table[:, i]) for i in range(n_values)]
