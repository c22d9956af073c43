"""Zarr folders, of versions 2 and 3, read by the package zarr."""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

from deepmix.contracts import FileRows, Format
from deepmix.errors import DeepmixError

from .array_files import ArrayFileOptions, read_arrays


@final
class Zarr(Format):
    """An array or a sparse matrix in a Zarr folder, read when rows are needed."""

    Options = ArrayFileOptions

    def __init__(self, options: ArrayFileOptions) -> None:
        self.options = options

    def read(self, path: Path, label_column: str | None) -> FileRows:
        """Return the rows as they stay in the folder; it may be a single array, or a group of them.

        Raises:
            UsageError: there is no such array, or several may be meant.
            DeepmixError: it is not a Zarr folder, or zarr is not installed.

        """
        try:
            import zarr
        except ImportError as error:
            raise DeepmixError("reading Zarr needs zarr; install it with: pip install 'deepmix[zarr]'") from error
        try:
            stored: Any = zarr.open(path, mode="r")
        except FileNotFoundError as error:
            raise DeepmixError(f"'{path.name}' is not a Zarr folder; write it again") from error
        return read_arrays({"x": stored} if hasattr(stored, "dtype") else stored, path, self.options, label_column)
