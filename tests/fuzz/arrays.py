"""Fuzzed arrays: .npy, .npz, SciPy's sparse .npz, and the zip archives around them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any, Literal

import numpy as np
from scipy import sparse

from deepmix.data import SplitOptions, load_file, open_blocks
from tests.fuzz.damage import damage
from tests.fuzz.target import Target, from_pool

N_COLUMNS = 3
"""Columns of the good files, and of the model that new rows are read for."""


HEADER_TOKENS = tuple(
    text.encode()
    for text in (
        *(
            "'descr'",
            "'shape'",
            "'fortran_order'",
            "'<f8'",
            "'<f4'",
            "'<i8'",
            "'|u1'",
            "'|b1'",
            "'<U5'",
            "'|S4'",
            "'|O'",
        ),
        *(
            "'|V0'",
            "'|S0'",
            "'<U0'",
            "'|V8'",
            "'<M8[ns]'",
            "'<m8[D]'",
            "'<c16'",
            "'>f2'",
            "[('a', '<f8')]",
            "('<f8', (2, 3))",
        ),
        *("False", "True", "None", "(8, 3)", "(24,)", "()", "(0, 3)", "(8, 0)", "(0, 99999999999)", "(99999999999, 0)"),
        *(
            "(8, True)",
            "(-8, -3)",
            "(4611686018427387904, 4)",
            "(2, 2, 2, 3)",
            "('a', 3)",
            "(8.0, 3)",
            "(1e999,)",
            "1_0",
        ),
        *(
            "{",
            "}",
            "(",
            ")",
            ",",
            ":",
            "'",
            "\n",
            "\\",
            "#",
            "L",
            "lambda: 0",
            "[" * 200,
            "9" * 30,
            "\u00b2",
            "__import__",
        ),
    )
)
"""Pieces of a .npy header."""


TYPES = ("<f8", "<f4", ">f8", "<f2", "<i8", "|i1", "|u1", "|b1", "<i4")


TEXTS = ("<U5", "|S4", "<M8[s]", "<i8", "|b1", "<f8", "<c8")


def npy_bytes(array: Any, version: tuple[int, int] | None = None) -> bytes:
    """Return the bytes of the .npy file of an array, in a version of the format or the oldest that fits."""
    array = np.asanyarray(array)
    order: Literal["F", "C"] = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    return _header_bytes(array.dtype, order, array.shape, version) + array.tobytes(order)


@lru_cache(1000)
def _header_bytes(
    dtype: Any, order: Literal["F", "C"], shape: tuple[int, ...], version: tuple[int, int] | None
) -> bytes:
    array, buffer = np.zeros(shape, dtype, order), io.BytesIO()
    np.lib.format.write_array(buffer, array, version, allow_pickle=False)
    return buffer.getvalue()[: buffer.tell() - array.nbytes]


@from_pool
def _rows(random: Random) -> Any:
    """Return an array with rows and columns: 8 x 3 numbers in most cases."""
    shape = random.choice(((8, 3), (8, 3), (8, 3), (1, 3), (0, 3), (8,), (8, 2, 2), (8, 4), (8, 1), ()))
    values = np.array([random.choice((0.0, 1.0, 2.0, 3.5, 7.0)) for _ in range(int(np.prod(shape)))])
    if random.randrange(20) == 0 and values.size:
        values[random.randrange(values.size)] = random.choice((np.nan, np.inf, 1e308, -1e308))
    with np.errstate(all="ignore"):
        array = values.reshape(shape).astype(random.choice(TYPES))
    return np.asfortranarray(array) if random.randrange(4) == 0 else array


@from_pool
def _whole_npy(random: Random) -> bytes:
    return npy_bytes(_rows(random), random.choice((None, None, None, (2, 0), (3, 0))))


def _npy(random: Random) -> bytes:
    content = _whole_npy(random)
    if random.randrange(10) == 0:
        return content
    if random.randrange(3) == 0:
        return damage(content, random, HEADER_TOKENS)
    start = 10 if content[6] == 1 else 12  # the header is changed and its length is kept right
    end = content.index(b"\n", start)
    header = damage(content[start:end].rstrip(), random, HEADER_TOKENS)[:60_000]
    size = 2 if start == 10 else 4
    return content[: start - size] + len(header + b"\n").to_bytes(size, "little") + header + b"\n" + content[end + 1 :]


def zip_bytes(members: Sequence[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip archive of named members."""
    return _zip_bytes(tuple(members), method)


@lru_cache(4000)
def _zip_bytes(members: tuple[tuple[str, bytes], ...], method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


def _damaged_archive(members: Sequence[tuple[str, bytes]], random: Random) -> bytes:
    """Return an archive with one member or the whole of it damaged, or with other members."""
    members = list(members)
    i = random.randrange(len(members))
    name, content = members[i]
    match random.randrange(10):
        case 0:
            pass
        case 1:
            del members[i]
        case 2:
            members[i] = (
                random.choice((name.removesuffix(".npy"), "../x.npy", "/x.npy", "y.npy", "y", "", name + "/")),
                content,
            )
        case 3:
            members.append((random.choice((name, "y.npy", "n_train.npy", "x.npy", "extra.npy")), _npy(random)))
        case 4 | 5:
            return damage(
                zip_bytes(members, random.choice((0, 8, 12, 14))),
                random,
                (b"PK\x01\x02", b"PK\x05\x06", b"PK\x03\x04", b"y.npy"),
            )
        case 6:
            members[i] = (
                name,
                npy_bytes(np.zeros(random.choice(((), (1,), (8,), (0,), (8, 3))), random.choice(TYPES + TEXTS))),
            )
        case _:
            members[i] = (name, damage(content, random, HEADER_TOKENS))
    return zip_bytes(members, random.choice((0, 0, 0, 8)))


@from_pool
def _npz_members(random: Random) -> list[tuple[str, bytes]]:
    arrays: dict[str, Any] = {"x": _rows(random)}
    if random.randrange(2):
        arrays["y"] = np.array([random.choice("ab") for _ in range(8)]).astype(random.choice(("<U1", "|S1")))
    if random.randrange(3) == 0:
        arrays["n_train"] = np.array(random.choice((6, 0, -1, 8, 9, 2**62, 1.5)))
    return [(f"{key}.npy", npy_bytes(value)) for key, value in arrays.items()]


def _npz(random: Random) -> bytes:
    return _damaged_archive(_npz_members(random), random)


@from_pool
def _sparse_members(random: Random) -> list[tuple[str, bytes]]:
    dense = np.array([[random.choice((0.0, 0.0, 1.0, 2.0)) for _ in range(N_COLUMNS)] for _ in range(8)])
    kind = random.choice(("csr", "csr", "csc", "coo", "bsr", "dia"))
    make = random.choice((sparse.csr_matrix, sparse.csr_array))
    buffer = io.BytesIO()
    matrix = make(dense).asformat(kind)
    sparse.save_npz(buffer, matrix, compressed=False)
    with zipfile.ZipFile(buffer) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


@lru_cache(1000)
def _array_in(content: bytes) -> Any:
    return np.load(io.BytesIO(content), allow_pickle=False)


def _sparse(random: Random) -> bytes:
    members = list(_sparse_members(random))
    match random.randrange(4):
        case 0:
            return _damaged_archive(members, random)
        case _:  # the numbers inside one part are changed and the part stays an array
            i = random.randrange(len(members))
            name, content = members[i]
            members[i] = (name, npy_bytes(_changed_numbers(_array_in(content), random)))
            return zip_bytes(members)


def _changed_numbers(part: Any, random: Random) -> Any:
    if part.dtype.kind not in "iuf":
        return np.array(random.choice(("csr", "csc", "coo", "bsr", "dia", "lil", "dok", "", b"csr", 5, "\u00b2")))
    part = part.copy()
    extremes = (-1, 0, 1, 3, 7, 8, 9, 100, 2**31 - 1, -(2**31))
    large = (10**9, 10**12, 2**62, -(2**62)) if part.dtype.itemsize == 8 and part.dtype.kind == "i" else ()
    match random.randrange(5):
        case 0:
            return part[: random.randrange(part.size + 1)] if part.ndim else part
        case 1:
            return part.astype(random.choice(("<f8", "<i4", "<i8", "|u1", "|b1", "<u8")))
        case 2:
            return part.reshape(random.choice(((-1,), (1, -1), (-1, 1))))
        case _:
            for _ in range(random.randint(1, 3)):
                if part.size:
                    part.flat[random.randrange(part.size)] = random.choice(extremes + large)
            return part


def read_array(path: Path, random: Random) -> None:
    """Read a file as `train` does, with or without a label column, or as `predict` does."""
    match random.randrange(4):
        case 0:
            split = load_file(path, None, SplitOptions())
        case 1:
            split = load_file(
                path, random.choice(("y", "1", "3", "nope", "\u00b2", "9" * 30)), SplitOptions(scale="none")
            )
        case _:
            with ExitStack() as stack:
                label = random.choice((None, None, "y", "1", "4"))
                for block in open_blocks(stack, path, N_COLUMNS, label).rows:
                    np.asarray(block.sum())
            return
    np.asarray(split.x.sum())


TARGETS = (
    Target("npy", _npy, read_array, "rows.npy", 120),
    Target("npz", _npz, read_array, "rows.npz", 40),
    Target("sparse", _sparse, read_array, "rows.npz", 16),
)
