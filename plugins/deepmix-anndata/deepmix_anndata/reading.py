"""Reading .h5ad files: anndata's on-disk format, https://anndata.readthedocs.io/en/latest/fileformat-prose.html.

The files are read with h5py. Only what a run needs is read: one matrix, one column of obs, and the two indices.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

import h5py
import numpy as np
from scipy import sparse

from deepmix.contracts import FileRows, Format
from deepmix.errors import DeepmixError, UsageError, option
from deepmix.maths import Array

LIBRARY = 10_000.0
"""Counts per cell to which `log` scales each cell, as in scanpy's tutorials."""


@dataclass(frozen=True)
class H5adOptions:
    """Options of the format."""

    layer: str | None = field(default=None, metadata={"help": "layer to read; auto: the matrix X"})
    values: Literal["auto", "stored", "log"] = field(
        default="auto",
        metadata={
            "help": "what the model takes: the values as stored, or log(1 + counts per 10,000 of the cell); "
            "auto: the logarithm where they are whole numbers"
        },
    )


@final
class H5ad(Format):
    """Cells of an .h5ad file (anndata): X or a layer, dense or sparse, with a column of obs as labels."""

    Options = H5adOptions

    def __init__(self, options: H5adOptions) -> None:
        self.options = options

    def read(self, path: Path, label_column: str | None) -> FileRows:
        """Return the cells, named by obs_names and var_names.

        Raises:
            UsageError: there is no such layer, or X is not whole where `values` needs counts.
            DeepmixError: the file is not an .h5ad file, or of anndata before 0.7.

        """
        if not h5py.is_hdf5(path):
            raise DeepmixError(f"'{path.name}' is not an HDF5 file, which an .h5ad file is; write it again")
        with h5py.File(path, "r") as file:
            for name in ("obs", "var"):
                if not isinstance(file.get(name), h5py.Group):
                    raise DeepmixError(
                        f"'{path.name}' has no table '{name}' as anndata 0.7 and later write it; write it again with a "
                        "current anndata"
                    )
            x = read_matrix(self._stored(file, path))
            return FileRows(
                scaled(x, self.options.values, path),
                None if label_column is None else read_labels(file["obs"], label_column),
                read_index(file["var"]),
                read_index(file["obs"]),
            )

    def _stored(self, file: Any, path: Path) -> Any:
        """Return the stored matrix."""
        layer = self.options.layer
        name = "X" if layer is None else f"layers/{layer}"
        if name not in file:
            layers = ", ".join(file.get("layers", ())) or "none"
            missing = "matrix X" if layer is None else f"layer '{layer}'"
            raise UsageError(f"'{path.name}' has no {missing}; set {option('layer')}; its layers: {layers}")
        return file[name]


def _encoding(stored: Any) -> str:
    return str(stored.attrs.get("encoding-type", ""))


def read_matrix(stored: Any) -> Any:
    """Return a stored matrix as float32, (N, D): an array, or CSR where it is sparse."""
    if isinstance(stored, h5py.Dataset):
        return np.asarray(stored[()], dtype=np.float32)
    kinds = {"csr_matrix": sparse.csr_matrix, "csc_matrix": sparse.csc_matrix}
    if _encoding(stored) not in kinds:
        raise DeepmixError(f"a matrix is stored as '{_encoding(stored)}', which can't be read; write it as CSR")
    parts = (stored["data"][()].astype(np.float32), stored["indices"][()], stored["indptr"][()])
    return kinds[_encoding(stored)](parts, shape=tuple(stored.attrs["shape"])).tocsr()


def read_index(table: Any) -> list[str]:
    """Return the names of a table's rows."""
    return [str(name) for name in read_column(table[table.attrs["_index"]])]


def read_labels(obs: Any, column: str) -> Array | None:
    """Return a column of obs as labels, (N,); None if there is no such column, as in new cells."""
    return read_column(obs[column]) if column in obs else None


def read_column(stored: Any) -> Array:
    """Return a stored column, (N,): categories, text or numbers; None where a value is missing."""
    if isinstance(stored, h5py.Dataset):
        return np.asarray(stored.asstr()[()] if h5py.check_string_dtype(stored.dtype) else stored[()])
    if _encoding(stored) == "categorical":
        code_N = stored["codes"][()]
        values = np.array([*read_column(stored["categories"]), None], dtype=object)
        return np.asarray(values[code_N])  # the code of a missing value is -1
    if "values" in stored and "mask" in stored:
        value_N = read_column(stored["values"]).astype(object)
        value_N[stored["mask"][()]] = None
        return value_N
    raise DeepmixError(
        f"column '{stored.name}' is stored as '{_encoding(stored)}', which can't be read; write it as text"
    )


def scaled(x: Any, values: str, path: Path) -> Any:
    """Return the values as stored, or log(1 + counts per LIBRARY of the cell); 'auto' looks whether they are counts."""
    stored = x.data if sparse.issparse(x) else x
    are_counts = bool((stored >= 0).all()) and not np.mod(stored, 1).any()
    if values == "stored" or (values == "auto" and not are_counts):
        return x
    if not are_counts:
        raise UsageError(f"the values of '{path.name}' are not counts; set {option('values', 'stored')}")
    total_N = np.maximum(np.asarray(x.sum(axis=1), dtype=np.float64).ravel(), 1.0)
    if sparse.issparse(x):
        x = x.copy()
        x.data = np.log1p(x.data * np.repeat(LIBRARY / total_N, np.diff(x.indptr))).astype(np.float32)
        return x
    return np.log1p(x * (LIBRARY / total_N)[:, None]).astype(np.float32)
