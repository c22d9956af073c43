"""Reads .parquet files, with pandas and pyarrow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from deepmix.data.table_file import LabelColumn, TableFile, TableRows, block_rows, join_blocks
from deepmix.errors import DeepmixError, UsageError, option


class ParquetFile(TableFile):
    """A table with names. An index that pandas saved in it is not a column."""

    def __init__(self, stack: ExitStack, path: Path, label: LabelColumn) -> None:
        try:
            import pandas  # noqa: F401 - what pyarrow turns batches into
            from pyarrow import parquet
        except ImportError as error:
            raise DeepmixError(
                "reading .parquet needs pandas and pyarrow; install them with: pip install 'deepmix[parquet]'"
            ) from error
        self._name, self._training = path.name, label.training
        self._file = stack.enter_context(parquet.ParquetFile(path))
        names = [str(name) for name in self._file.schema_arrow.empty_table().to_pandas().columns]
        self._label = label.position(names, len(names))
        self._numeric = [i for i in range(len(names)) if i != self._label]
        self.columns = [names[i] for i in self._numeric]

    def blocks(self) -> Iterator[TableRows]:
        """Give the rows block by block, float64; a missing value is NaN."""
        for batch in self._file.iter_batches(block_rows(len(self._numeric))):
            frame = batch.to_pandas()
            labels = None
            if self._label is not None and self._training:
                labels = frame.iloc[:, self._label].to_numpy(dtype=object)
            frame = frame.iloc[:, self._numeric]
            self._refuse_text(frame)
            yield TableRows(frame.to_numpy(dtype=np.float64, na_value=np.nan), labels)

    def whole(self) -> TableRows:
        """Return all rows in one array, float64."""
        return join_blocks(self.blocks(), len(self._numeric))

    def _refuse_text(self, frame: Any) -> None:
        """Raise a UsageError if a data frame has columns that are not numbers."""
        textual = [str(name) for name, column in frame.items() if column.dtype.kind not in "biuf"]
        if textual:
            listed = ", ".join(f"'{column}'" for column in textual)
            raise UsageError(
                f"'{self._name}' has columns that are not numbers: {listed}; encode or remove them, "
                f"or name the labels with {option('label_column')}"
            )
