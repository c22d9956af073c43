"""HDF5 files, read by h5py."""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

from deepmix.errors import DeepmixError

from .array_files import ArrayFormat


@final
class Hdf5(ArrayFormat):
    """An array or a sparse matrix in an HDF5 file, read when rows are needed."""

    def open_file(self, path: Path) -> Any:
        """Return the open file."""
        try:
            import h5py
        except ImportError as error:
            raise DeepmixError("reading HDF5 needs h5py; install it with: pip install 'deepmix[hdf5]'") from error
        if not h5py.is_hdf5(path):
            raise DeepmixError(f"'{path.name}' is not an HDF5 file; write it again")
        return h5py.File(path, "r")
