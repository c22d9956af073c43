"""Writing results into a copy of an .h5ad file, in anndata's on-disk format."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from deepmix.maths import Array


def write_results(source: Path, target: Path, obs: Mapping[str, Array], obsm: Mapping[str, Array]) -> None:
    """Write a copy of an .h5ad file with further columns of obs and arrays of obsm; what has their names is replaced.

    Args:
        source: the file to copy, which stays as it is.
        target: the copy; it appears when it is complete.
        obs: columns by name, (N,): whole numbers become categories, and -1 a missing one; other numbers stay numbers.
        obsm: arrays by name, (N, M).

    """
    with _replacing(target) as partial:
        shutil.copyfile(source, partial)
        with h5py.File(partial, "r+") as file:
            table = file["obs"]
            for name, value_N in obs.items():
                _write_column(table, name, value_N)
            order = [str(name) for name in table.attrs["column-order"]]
            order += [name for name in obs if name not in order]
            table.attrs["column-order"] = np.array(order, dtype=h5py.string_dtype())
            arrays = file.require_group("obsm")
            if "encoding-type" not in arrays.attrs:
                _encode(arrays, "dict", "0.1.0")
            for name, value_NM in obsm.items():
                _write_array(arrays, name, value_NM)


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """Yield the name of a file that takes the place of the one at `target` in the end, or vanishes with an error."""
    partial = target.with_name(target.name + ".part")
    try:
        yield partial
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _encode(stored: Any, kind: str, version: str) -> None:
    stored.attrs["encoding-type"], stored.attrs["encoding-version"] = kind, version


def _write_array(group: Any, name: str, values: Any, kind: str = "array") -> None:
    if name in group:
        del group[name]
    _encode(group.create_dataset(name, data=values), kind, "0.2.0")


def _write_column(table: Any, name: str, value_N: Array) -> None:
    """Write a column of numbers, or of categories where they are whole."""
    if value_N.dtype.kind not in "iu":
        _write_array(table, name, value_N)
        return
    if name in table:
        del table[name]
    column = table.create_group(name)
    _encode(column, "categorical", "0.2.0")
    column.attrs["ordered"] = False
    categories, code_N = np.unique(value_N[value_N >= 0], return_inverse=True)
    full_N = np.full(len(value_N), -1, dtype=np.int32)
    full_N[value_N >= 0] = code_N
    _write_array(column, "codes", full_N)
    names = np.array([str(number) for number in categories], dtype=h5py.string_dtype())
    _write_array(column, "categories", names, "string-array")
