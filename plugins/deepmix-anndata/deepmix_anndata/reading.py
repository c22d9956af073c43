"""Reading .h5ad files: anndata's on-disk format, https://anndata.readthedocs.io/en/latest/fileformat-prose.html.

The files are read with h5py. Only what a run needs is read: one matrix, one column of obs, and the two indices. The
matrix stays in the file, and its rows are read and scaled when they are needed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

import h5py
import numpy as np
from scipy import sparse

from deepmix.contracts import FileRows, Format
from deepmix.data import StoredRows, stored_matrix
from deepmix.errors import DeepmixError, UsageError, option
from deepmix.maths import Array

RAW = "raw"
"""The layer of this name is .raw.X, unscaled and with more genes in many files."""

LARGEST_LIBRARY = 10_000
"""The largest total to which cells are scaled; scanpy's tutorials scale cells with all genes of a genome to it."""


@dataclass(frozen=True)
class H5adOptions:
    """Options of the format."""

    layer: str | None = field(default=None, metadata={"help": "layer to read; raw: .raw.X and its genes; auto: X"})
    values: Literal["auto", "stored", "log"] = field(
        default="auto",
        metadata={
            "help": "what the model takes: the values as stored, or the log of 1 + counts, with each cell's total "
            "scaled to the number of genes or 10,000; auto: the log where they are whole numbers"
        },
    )


@final
class H5ad(Format):
    """Cells of an .h5ad file (anndata): X, .raw.X or a layer, dense or sparse, with a column of obs as labels."""

    Options = H5adOptions

    def __init__(self, options: H5adOptions) -> None:
        self.options = options

    def read(self, path: Path, label_column: str | None) -> FileRows:
        """Return the cells, named by obs_names and var_names; the file stays open.

        Raises:
            UsageError: there is no such layer, or X is not whole where `values` needs counts.
            DeepmixError: the file is not an .h5ad file, or of anndata before 0.7.

        """
        if not h5py.is_hdf5(path):
            raise DeepmixError(f"'{path.name}' is not an HDF5 file, which an .h5ad file is; write it again")
        file = h5py.File(path, "r")
        for name in ("obs", "var"):
            if not isinstance(file.get(name), h5py.Group):
                raise DeepmixError(
                    f"'{path.name}' has no table '{name}' as anndata 0.7 and later write it; write it again with a "
                    "current anndata"
                )
        return FileRows(
            scaled(stored_matrix(self._stored(file, path), path), self.options.values, path),
            None if label_column is None else read_labels(file["obs"], label_column),
            read_index(file["raw/var" if self.options.layer == RAW else "var"]),
            read_index(file["obs"]),
        )

    def _stored(self, file: Any, path: Path) -> Any:
        """Return the stored matrix."""
        layer = self.options.layer
        name = {None: "X", RAW: "raw/X"}.get(layer, f"layers/{layer}")
        if name not in file:
            layers = ", ".join([*file.get("layers", ()), *([RAW] if "raw/X" in file else [])]) or "none"
            missing = "matrix X" if layer is None else f"layer '{layer}'"
            raise UsageError(f"'{path.name}' has no {missing}; name one with {option('layer', 'NAME')}: {layers}")
        return file[name]


def _encoding(stored: Any) -> str:
    return str(stored.attrs.get("encoding-type", ""))


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


def scaled(x: StoredRows, values: str, path: Path) -> StoredRows:
    """Return rows whose values are as stored, or those of `log_shares`, whenever they are read.

    'auto' looks whether the values are counts, which reads the file once.

    Raises:
        UsageError: the logarithm is requested, and the values are not counts.

    """
    are_counts = values != "stored" and all(_are_counts(block) for _, block in x.blocks())
    if are_counts:
        return x.transformed(log_shares)
    if values == "log":
        raise UsageError(f"the values of '{path.name}' are not counts; use {option('values', 'stored')}")
    return x.transformed(_as_float32)


def library(n_genes: int) -> float:
    """Return the total to which each cell's counts are scaled before log(1 + x): one per gene, at most LARGEST_LIBRARY.

    If cells with a few hundred counts were scaled to 10,000, each count would become a large number. The logarithms
    would then tell mostly which counts are 0, and there are the more of these the fewer counts a cell has.
    """
    return float(min(n_genes, LARGEST_LIBRARY))


def log_shares(x: Any) -> Any:
    """Return counts, (n, D), an array or CSR, as log(1 + x), float32, with each cell's total scaled to `library(D)`."""
    x = _as_float32(x)
    factor_N = library(x.shape[1]) / np.maximum(np.asarray(x.sum(axis=1), dtype=np.float64).ravel(), 1.0)
    if not sparse.issparse(x):
        return np.log1p(x * factor_N[:, None]).astype(np.float32)
    shares = x.copy()
    shares.data = np.log1p(x.data * np.repeat(factor_N, np.diff(x.indptr))).astype(np.float32)
    return shares


def _are_counts(x: Any) -> bool:
    """Whether all values are whole numbers from 0."""
    values = x.data if sparse.issparse(x) else x
    return bool((values >= 0).all()) and not np.mod(values, 1).any()


def _as_float32(x: Any) -> Any:
    return x.astype(np.float32, copy=False)
