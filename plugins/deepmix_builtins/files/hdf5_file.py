"""HDF5 files, read by h5py."""

from __future__ import annotations

from pathlib import Path
from typing import final

from deepmix.contracts import FileRows, Format
from deepmix.errors import DeepmixError

from .array_files import ArrayFileOptions, read_arrays


@final
class Hdf5(Format):
    """An array or a sparse matrix in an HDF5 file, read when rows are needed."""

    Options = ArrayFileOptions

    def __init__(self, options: ArrayFileOptions) -> None:
        self.options = options

    def read(self, path: Path, label_column: str | None) -> FileRows:
        """Return the rows as they stay in the file, which stays open.

        Raises:
            UsageError: there is no such array, or several may be meant.
            DeepmixError: it is not an HDF5 file, or h5py is not installed.

        """
        try:
            import h5py
        except ImportError as error:
            raise DeepmixError("reading HDF5 needs h5py; install it with: pip install 'deepmix[hdf5]'") from error
        if not h5py.is_hdf5(path):
            raise DeepmixError(f"'{path.name}' is not an HDF5 file; write it again")
        return read_arrays(h5py.File(path, "r"), path, self.options, label_column)
