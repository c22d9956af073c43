"""Reads NumPy's .npy and .npz files, and the sparse matrices that SciPy saves as .npz."""

from __future__ import annotations

import math
import sys
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from scipy import sparse

from deepmix.data.block_share import WHOLE, BlockShare, block_starts
from deepmix.data.sparse_checks import COMPRESSED, check_sparse, require_whole_numbers
from deepmix.data.stored_csr import StoredCsr
from deepmix.data.stored_rows import StoredArray, StoredValues
from deepmix.data.table_file import LabelColumn, TableFile, TableRows, block_rows, without_column
from deepmix.errors import UsageError
from deepmix.maths import Array

NUMBERS, LABELS = "biuf", "biufUSmM"
"""The kinds of type that rows and labels may have."""


READ_HEADER = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
"""What reads a header, by the version of the .npy format."""


LOCAL_HEADER = 30
"""Bytes before the name of a member in a zip archive; the last four are the lengths of the name and of extra fields."""


class Header(NamedTuple):
    """What an array in a file says of itself before its values."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]


def read_header(file: IO[bytes], size: int, what: str, kinds: str) -> Header:
    """Read and check the header of an array, and leave the file where its values begin.

    Args:
        file: stands where the array begins.
        size: how many bytes there are in all.
        what: names the array in messages.
        kinds: the kinds of type it may have.

    Raises:
        UsageError: it holds Python objects, or values of another kind.
        ValueError: the header is damaged.
        EOFError: there are fewer bytes than the array needs.

    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that Python 2 wrote, and of old names of types
            version = np.lib.format.read_magic(file)
            if version not in READ_HEADER:
                raise ValueError(f"it has version {version} of the .npy format")
            header = Header(*READ_HEADER[version](file))
    except ValueError:
        raise
    except Exception as error:  # NumPy evaluates a header as Python, which fails in as many ways
        raise ValueError("the header of an array in it is damaged") from error
    if header.dtype.hasobject:
        cure = "astype(float)" if kinds == NUMBERS else "astype(str)"
        raise UsageError(f"{what} holds Python objects; save it as an array of one type, with {cure} for instance")
    if header.dtype.kind not in kinds or not header.dtype.itemsize:
        kind = "numbers" if kinds == NUMBERS else "numbers or text"
        raise UsageError(f"{what} must be {kind}, got an array of type {header.dtype}")
    if any(n < 0 for n in header.shape):
        raise ValueError(f"a shape of {header.shape}")
    if math.prod(header.shape) * header.dtype.itemsize > size - file.tell():
        raise EOFError("it ends early")
    return header


def _check_axes(shape: tuple[int, ...]) -> None:
    """Refuse rows without columns."""
    if not shape or 0 in shape[1:]:
        raise UsageError(f"the data must have rows and columns, got an array of shape {shape}")


def _label_position(label: LabelColumn, shape: tuple[int, ...]) -> int | None:
    """Return the position of the label column of rows without names."""
    if label.name is not None and len(shape) != 2:
        if label.training:
            raise UsageError(f"the data must have rows and columns, got an array of shape {shape}")
        return None
    return label.position(None, shape[1]) if len(shape) == 2 else None


def _array_blocks(file: IO[bytes], header: Header, share: BlockShare) -> Iterator[tuple[int, Array]]:
    """Read a share of an array's rows block by block, each with the number of its first row.

    Of a memory map, the pages that were read would stay in memory.
    """
    shape, fortran_order, dtype = header
    n_values = math.prod(shape[1:])
    size = shape[0] if fortran_order and len(shape) > 1 else block_rows(n_values)
    starts = block_starts(shape[0], max(size, 1), share)
    if starts.start > 0:
        file.seek(file.tell() + starts.start * n_values * dtype.itemsize)
    for start in starts:
        n_rows = min(size, shape[0] - start)
        content = file.read(n_rows * n_values * dtype.itemsize)
        if len(content) < n_rows * n_values * dtype.itemsize:
            raise EOFError("it ends early")
        yield start, np.frombuffer(content, dtype).reshape((n_rows, *shape[1:]), order="F" if fortran_order else "C")


def _code_points(texts: Array) -> Array:
    """Return the numbers of the characters of an array of text; NumPy itself doesn't check them."""
    return np.ascontiguousarray(texts).view(np.dtype(np.uint32).newbyteorder(texts.dtype.byteorder))


def _start_of(path: Path, member: zipfile.ZipInfo) -> int:
    """Return where the content of an archive's member begins, in bytes."""
    with path.open("rb") as file:
        file.seek(member.header_offset)
        lengths = file.read(LOCAL_HEADER)[-4:]
    return member.header_offset + LOCAL_HEADER + sum(np.frombuffer(lengths, "<u2").tolist())


class NpyFile(TableFile):
    """One array; all its rows at once are a memory map."""

    def __init__(self, stack: ExitStack, path: Path, label: LabelColumn) -> None:
        self._path, self._training = path, label.training
        self._file = stack.enter_context(path.open("rb"))
        self._header = read_header(self._file, path.stat().st_size, "the data", NUMBERS)
        _check_axes(self._header.shape)
        self._label = _label_position(label, self._header.shape)
        self._offset = self._file.tell()
        self.n_values = math.prod(self._header.shape)

    def blocks(self, share: BlockShare = WHOLE) -> Iterator[tuple[int, TableRows]]:
        """Give the rows block by block; rows in Fortran's order are one block."""
        for start, rows in _array_blocks(self._file, self._header, share):
            yield start, self._split(rows)

    def whole(self) -> TableRows:
        """Return a memory map of all rows; without its label column it is an array."""
        return self._split(np.lib.format.open_memmap(self._path, mode="r"))

    def stored(self) -> TableRows | None:
        """Return the rows as they stay in the file; None where it holds column after column."""
        shape, fortran_order, dtype = self._header
        if fortran_order and len(shape) > 1:
            return None
        rows = StoredArray(self._path, self._offset, shape, dtype, self._label)
        return TableRows(rows, None if self._label is None else rows.column(self._label))

    def _split(self, rows: Array) -> TableRows:
        if self._label is None:
            return TableRows(rows, None)
        return TableRows(
            without_column(rows, self._label), np.asarray(rows[:, self._label]) if self._training else None
        )


class NpzFile(TableFile):
    """Arrays by key: the rows under `x`, labels under `y` or another key, and `n_train`; or a matrix saved by SciPy."""

    def __init__(self, stack: ExitStack, path: Path, label: LabelColumn) -> None:
        self._stack, self._name, self._path = stack, path.name, path
        self._archive = stack.enter_context(zipfile.ZipFile(path))
        self._members = {member.filename.removesuffix(".npy"): member for member in self._archive.infolist()}
        keys = list(self._members)
        self._key = rows_key(keys, path.name)
        self._label = label
        self._label_key: str | None = None
        if not label.training:
            return
        if label.name is not None and label.name not in keys:
            raise UsageError(f"'{path.name}' has no key '{label.name}'; it has: {', '.join(keys)}")
        self._label_key = label.name or ("y" if "y" in keys else None)
        if "n_train" in keys:
            number = self._array("n_train", LABELS)
            if number.size != 1 or number.dtype.kind not in "iu":
                raise UsageError(f"n_train in '{path.name}' must be one whole number")
            self.n_train = int(number.item())
        if self._key is not None:
            self.n_values = math.prod(self._open(self._key, NUMBERS)[1].shape)
        elif "shape" in keys and (shape := self._array("shape", LABELS)).dtype.kind in "iu":
            self.n_values = math.prod(shape.ravel().tolist())

    def blocks(self, share: BlockShare = WHOLE) -> Iterator[tuple[int, TableRows]]:
        """Give the rows block by block; a sparse matrix is read whole and given in blocks.

        Of several processes, each reads only its blocks of a sparse matrix that is not compressed.
        """
        labels = self._labels()
        for start, rows in self._row_blocks(share):
            yield start, TableRows(rows, None if labels is None else labels[start : start + rows.shape[0]])

    def whole(self) -> TableRows:
        """Return all rows, an array or a sparse matrix as it was saved."""
        if self._key is None:
            return TableRows(self._sparse(), self._labels())
        return TableRows(self._array(self._key, NUMBERS), self._labels())

    def stored(self) -> TableRows | None:
        """Return the rows as they stay in the archive; None for an array that is compressed or in Fortran's order."""
        if self._key is None:
            return TableRows(self._stored_csr(), self._labels())
        if self._members[self._key].compress_type != zipfile.ZIP_STORED:
            return None
        header, offset = self._place_of(self._key)
        _check_axes(header.shape)
        if header.fortran_order and len(header.shape) > 1:
            return None
        return TableRows(StoredArray(self._path, offset, header.shape, header.dtype), self._labels())

    def _place_of(self, key: str) -> tuple[Header, int]:
        """Return the header of an array that is not compressed, and where its values begin in the archive."""
        file, header = self._open(key, NUMBERS)
        return header, _start_of(self._path, self._members[key]) + file.tell()

    def _stored_csr(self) -> StoredCsr:
        """Return a sparse matrix as it stays in the archive; one that is compressed, or not CSR, is read once."""
        parts = [self._members.get(name) for name in ("data", "indices", "indptr")]
        kind = self._array("format", LABELS).item()
        if kind not in (b"csr", "csr") or any(p is None or p.compress_type != zipfile.ZIP_STORED for p in parts):
            return StoredCsr.of(self._sparse().tocsr())
        shape, indptr = self._array("shape", LABELS), self._array("indptr", LABELS)
        for name, numbers in (("shape", shape), ("indptr", indptr)):
            require_whole_numbers(name, numbers)
        (data, place), (indices, place_of_indices) = self._place_of("data"), self._place_of("indices")
        if len(shape) != 2 or data.shape != indices.shape or indices.dtype.kind not in "iu":
            raise UsageError("the sparse matrix is not valid: its parts do not fit together; save it again")
        return StoredCsr(
            StoredValues(self._path, place, data.dtype),
            StoredValues(self._path, place_of_indices, indices.dtype),
            indptr,
            (int(shape[0]), int(shape[1])),
            data.dtype,
        )

    def _row_blocks(self, share: BlockShare) -> Iterator[tuple[int, Any]]:
        if self._key is None:
            x: Any = self._sparse().tocsr() if share == WHOLE else self._stored_csr()
            position, size = _label_position(self._label_of_new_rows, x.shape), block_rows(x.shape[1])
            for start in block_starts(x.shape[0], size, share):
                yield start, without_column(x[start : start + size], position)
            return
        file, header = self._open(self._key, NUMBERS)
        _check_axes(header.shape)
        position = _label_position(self._label_of_new_rows, header.shape)
        for start, rows in _array_blocks(file, header, share):
            yield start, without_column(rows, position)

    @property
    def _label_of_new_rows(self) -> LabelColumn:
        """The label column of new rows; labels for training have a key of their own."""
        return LabelColumn(None) if self._label.training else self._label

    def _labels(self) -> Array | None:
        return None if self._label_key is None else self._array(self._label_key, LABELS)

    def _open(self, key: str, kinds: str) -> tuple[IO[bytes], Header]:
        member = self._members[key]
        file = self._stack.enter_context(self._archive.open(member))
        what = "the data" if key == self._key else f"'{key}' in '{self._name}'"
        return file, read_header(file, member.file_size, what, kinds)

    def _array(self, key: str, kinds: str) -> Array:
        """Read an array whole, once its header is known to be sound."""
        self._open(key, kinds)[0].close()
        with self._archive.open(self._members[key]) as file:
            array: Array = np.lib.format.read_array(file, allow_pickle=False)
        if array.dtype.kind == "U" and array.size and _code_points(array).max() > sys.maxunicode:
            raise ValueError(f"'{key}' holds text that is not Unicode")
        return array

    def _sparse(self) -> Any:
        """Read a matrix saved by SciPy, with every part checked.

        Raises:
            UsageError: its parts do not fit together, or an index points outside the matrix.

        """
        kind = self._array("format", LABELS).item()
        kind = kind.decode("ascii", "replace") if isinstance(kind, bytes) else str(kind)
        names = {**dict.fromkeys(COMPRESSED, ("indices", "indptr")), "dia": ("offsets",), "coo": ("row", "col")}
        if kind not in names:
            raise UsageError(f"'{self._name}' holds a sparse matrix of the unknown format '{kind}'; save it as CSR")
        shape, data = self._array("shape", LABELS), self._array("data", NUMBERS)
        require_whole_numbers("shape", shape)
        if kind == "coo" and "coords" in self._members:
            parts = list(self._array("coords", LABELS))
        else:
            parts = [self._array(name, LABELS) for name in names[kind]]
        for name, part in zip(names[kind], parts, strict=False):
            require_whole_numbers(name, part)
        make = getattr(sparse, f"{kind}_{'array' if '_is_array' in self._members else 'matrix'}")
        values = (data, *parts) if kind in COMPRESSED else (data, parts[0] if kind == "dia" else tuple(parts))
        matrix = make(values, shape=tuple(shape.tolist()))
        check_sparse(matrix)
        return matrix


def rows_key(keys: list[str], name: str) -> str | None:
    """Return the key of an archive's rows; None where it is a sparse matrix as SciPy saves it.

    Raises:
        UsageError: it is neither.

    """
    if "format" in keys and "data" in keys:
        return None
    key = "x" if "x" in keys else keys[0] if len(keys) == 1 else None
    if key is None:
        raise UsageError(f"'{name}' must hold its rows under the key 'x'; it has: {', '.join(keys)}")
    return key
