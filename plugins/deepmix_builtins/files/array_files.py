"""What HDF5 files and Zarr folders have in common: named arrays in groups, of which one holds the rows."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deepmix.contracts import FileRows, Format
from deepmix.data import is_sparse_group, stored_matrix
from deepmix.errors import UsageError, option
from deepmix.maths import Array

USUAL_NAMES = ("x", "X")
"""Names that the rows have in many files."""

MOST_NAMES = 12
"""How many names a message lists."""


@dataclass(frozen=True)
class ArrayFileOptions:
    """Options of a file with several arrays."""

    array: str | None = field(
        default=None,
        metadata={
            "help": "name of the array, or of the group with a sparse matrix, that holds the rows, such as X or "
            "layers/counts; auto: x, X, or the only one"
        },
    )


class ArrayFormat(Format):
    """A format of files with named arrays."""

    Options = ArrayFileOptions

    def __init__(self, options: ArrayFileOptions) -> None:
        self.options = options

    @abc.abstractmethod
    def open_file(self, path: Path) -> Any:
        """Return a mapping from names to arrays and groups, which stays open.

        Raises:
            DeepmixError: the file is of another kind, or its library is not installed.

        """

    def read(self, path: Path, label_column: str | None) -> FileRows:
        """Return the rows as they stay in the file, which stays open; `read_arrays` says what it raises."""
        return read_arrays(self.open_file(path), path, self.options, label_column)


def read_arrays(file: Any, path: Path, options: ArrayFileOptions, label_column: str | None) -> FileRows:
    """Return the rows of an open file as they stay in it, and its labels.

    Args:
        file: a mapping from names to arrays and groups.
        path: the file or folder, for messages.
        options: which array it is.
        label_column: the name of an array of labels, (N,); None: no labels are wanted.

    Raises:
        UsageError: there is no such array, or several may be meant.
        DeepmixError: the file is damaged.

    """
    matrices = {name: member for name, member in members(file) if is_matrix(member)}
    if not matrices:
        raise UsageError(f"'{path.name}' has no array of numbers with rows and columns; save the rows in it as 'x'")
    listed = ", ".join(list(matrices)[:MOST_NAMES]) + (", ..." if len(matrices) > MOST_NAMES else "")
    usual = [*(name for name in USUAL_NAMES if name in matrices), *matrices]
    name = usual[0] if options.array is None else options.array.strip("/")
    if name not in matrices:
        raise UsageError(f"'{path.name}' has no rows under '{name}'; it has: {listed}")
    if options.array is None and name not in USUAL_NAMES and len(matrices) > 1:
        raise UsageError(f"'{path.name}' has several arrays; name one with {option('array', 'NAME')}: {listed}")
    labels = None
    if label_column is not None and label_column in file:
        labels = as_labels(file[label_column], label_column, path)
    return FileRows(stored_matrix(matrices[name], path), labels)


def members(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Give the arrays and sparse matrices of a group and of the groups in it, with their names."""
    for name in sorted(group):
        member = group[name]
        if hasattr(member, "dtype") or is_sparse_group(member):
            yield prefix + name, member
        elif hasattr(member, "keys"):
            yield from members(member, f"{prefix}{name}/")


def is_matrix(member: Any) -> bool:
    """Whether a member may hold rows: a sparse matrix, or an array of numbers with rows and columns."""
    return not hasattr(member, "dtype") or (len(member.shape) > 1 and member.dtype.kind in "biuf")


def as_labels(member: Any, name: str, path: Path) -> Array:
    """Return an array of labels, (N,), numbers or text.

    Raises:
        UsageError: it is not such an array.

    """
    if not hasattr(member, "dtype") or len(member.shape) != 1:
        raise UsageError(f"'{name}' in '{path.name}' must be an array with one label per row; name another")
    labels = np.asarray(member[:])
    if labels.dtype.kind in "OT":  # text of any length: bytes in HDF5, strings in Zarr
        labels = np.array([label.decode() if isinstance(label, bytes) else str(label) for label in labels])
    return labels
