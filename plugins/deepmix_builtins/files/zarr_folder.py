"""Zarr folders, of versions 2 and 3, read by the package zarr."""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

from deepmix.errors import DeepmixError

from .array_files import ArrayFormat


@final
class Zarr(ArrayFormat):
    """An array or a sparse matrix in a Zarr folder, read when rows are needed."""

    def open_file(self, path: Path) -> Any:
        """Return the folder, which may be a single array or a group of them."""
        try:
            import zarr
        except ImportError as error:
            raise DeepmixError("reading Zarr needs zarr; install it with: pip install 'deepmix[zarr]'") from error
        try:
            stored: Any = zarr.open(path, mode="r")
        except FileNotFoundError as error:
            raise DeepmixError(f"'{path.name}' is not a Zarr folder; write it again") from error
        return {"x": stored} if hasattr(stored, "dtype") else stored
