"""Reads a folder of Parquet files as one table: the rows of the files in the order of their names."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path

from deepmix.data.block_share import WHOLE, BlockShare
from deepmix.data.file_problems import reading
from deepmix.data.frame_blocks import BlockReader, TableBlock
from deepmix.data.missing_marks import Marks
from deepmix.data.parquet_file import ParquetTable
from deepmix.errors import UsageError


def parquet_files(folder: Path) -> list[Path]:
    """Return the Parquet files of a folder, sorted by name; none if it is not a folder."""
    return (
        sorted(path for path in folder.glob("*") if path.name.lower().endswith(".parquet")) if folder.is_dir() else []
    )


class ParquetFolder(BlockReader):
    """A table in several files of one schema; names of rows are not read."""

    def __init__(self, stack: ExitStack, path: Path, marks: Marks, text_columns: Collection[str]) -> None:
        """Open the files and compare their columns.

        Raises:
            UsageError: two files have other columns, or columns of other types.
            DeepmixError: a file is damaged.

        """
        self.notes, self.styles, self._tables = [], {}, []
        for file in parquet_files(path):
            with reading(file):
                self._tables.append(ParquetTable(stack, file, marks, text_columns))
        first = self._tables[0]
        for table in self._tables[1:]:
            if set(table.types) != set(first.types):
                differing = sorted(set(table.types) ^ set(first.types))[0][0]
                raise UsageError(
                    f"'{table.name}' and '{first.name}' in '{path}' differ in the column '{differing}'; write all "
                    "files of the folder with the same columns and types"
                )
        self._files = parquet_files(path)

    @property
    def n_values(self) -> int:
        """How many cells the files have in all."""
        return sum(table.n_values for table in self._tables)

    def blocks(self, share: BlockShare = WHOLE) -> Iterator[TableBlock]:
        """Give the rows block by block; a file without rows is left out if another has some."""
        counts = [table.n_blocks for table in self._tables]
        own = share.consecutive(sum(counts))
        first_block, first_row = 0, 0
        for file, table, n_blocks in zip(self._files, self._tables, counts, strict=True):
            numbers = range(max(own.start - first_block, 0), min(own.stop - first_block, n_blocks))
            if len(numbers) > 0:
                with reading(file):
                    for block in table.blocks_at(numbers):
                        yield block._replace(row_names=None, first_row=first_row + block.first_row)
            first_block, first_row = first_block + n_blocks, first_row + table.n_rows
        if not sum(counts) and share.has(0):
            yield next(self._tables[0].blocks())
