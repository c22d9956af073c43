"""Strict readers for the files in which data sets are published; a damaged file raises an error that names it."""

from __future__ import annotations

import bz2
import gzip
import io
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.datasets import load_svmlight_file
from sklearn.preprocessing import normalize

from deepmix.errors import DeepmixError
from deepmix.maths import Array

IDX_UNSIGNED_BYTE = 0x08
"""The element type in the third byte of an IDX file's magic number."""


RCV1_TERMS = 47_236
"""Number of stems in RCV1's vectors; features are numbered from 1 to this (scikit-learn's `fetch_rcv1`)."""


RCV1_ROOTS = ("CCAT", "ECAT", "GCAT", "MCAT")
"""Root categories: corporate/industrial, economics, government/social, markets (VaDE section 4.1)."""


FREQUENT_TERMS = 2000
"""Number of terms kept (VaDE section 4.1)."""


STL10_SHAPE = (3, 96, 96)
"""Channels, columns, rows: STL-10 stores each channel column by column."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the exceptions that a damaged file raises into a DeepmixError that names it."""
    try:
        yield
    except DeepmixError:
        raise
    except Exception as error:  # the libraries raise anything from KeyError to NotImplementedError
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DeepmixError(f"'{path}' can't be read ({reason}); remove it, and it will be fetched again") from error


def read_idx(path: Path) -> Array:
    """Read a gzipped IDX file of unsigned bytes (MNIST): 0, 0, type, number of axes, big-endian sizes, values.

    Returns:
        uint8, in the shape stated by the file.

    """
    with reading(path):
        with gzip.open(path) as file:
            content = file.read()
        if len(content) < 4 or content[:3] != bytes([0, 0, IDX_UNSIGNED_BYTE]):
            raise ValueError("it is not an IDX file of unsigned bytes")
        n_axes = content[3]
        start = 4 + 4 * n_axes
        shape = tuple(np.frombuffer(content[4:start], dtype=">i4").tolist())
        if len(shape) != n_axes or len(content) - start != np.prod(shape):
            sizes = " x ".join(map(str, shape))
            raise ValueError(f"its header promises {sizes} values, but it has {len(content) - start}")
        return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def read_libsvm(path: Path, n_features: int) -> tuple[Array, Array]:
    """Read a LIBSVM text file compressed with bzip2 (USPS).

    Returns:
        rows (N, n_features) float32 and labels (N,) int64.

    """
    with reading(path), bz2.open(path) as file:
        x, labels = load_svmlight_file(io.BytesIO(file.read()), n_features=n_features, zero_based=False)
        return x.toarray().astype(np.float32), labels.astype(np.int64)


def read_har(path: Path) -> dict[str, Any]:
    """Read UCI's zip of Human Activity Recognition Using Smartphones, whether or not it is nested as UCI serves it.

    Returns:
        x (N, 561) float32 in -1..1, training rows first; y int64 from 0; n_train.

    """
    with reading(path), zipfile.ZipFile(path) as outer:
        nested = [name for name in outer.namelist() if name.lower().endswith(".zip")]
        with zipfile.ZipFile(io.BytesIO(outer.read(nested[0]))) if nested else outer as archive:
            parts = {}
            for side in ("train", "test"):
                for kind, dtype in (("X", np.float32), ("y", np.int64)):
                    with archive.open(f"UCI HAR Dataset/{side}/{kind}_{side}.txt") as file:
                        parts[kind, side] = np.loadtxt(file, dtype=dtype, ndmin=2 if kind == "X" else 1)
                if len(parts["X", side]) != len(parts["y", side]):
                    raise ValueError(f"{len(parts['X', side])} {side} rows and {len(parts['y', side])} labels")
        return {
            "x": np.concatenate([parts["X", "train"], parts["X", "test"]]),
            "y": np.concatenate([parts["y", "train"], parts["y", "test"]]) - 1,
            "n_train": np.array(len(parts["y", "train"])),
        }


def read_rcv1(vectors: Sequence[Path], topics: Path, n_terms: int = FREQUENT_TERMS) -> tuple[Any, Array]:
    """Read RCV1-v2: the documents with exactly one root category, as tf-idf of the most frequent terms.

    The published vectors are the cosine-normalised tf-idf of all stems. The `n_terms` stems that occur in most of these
    documents are kept, and the rows are normalised again.

    Args:
        vectors: gzipped SVMlight files whose target is the document's number.
        topics: gzipped lines 'category document 1'.
        n_terms: columns to keep.

    Returns:
        x (N, n_terms), CSR float32 with rows of length 1, and y (N,), int64 positions in RCV1_ROOTS.

    """
    root_of: dict[int, int] = {}
    with reading(topics), gzip.open(topics, "rt", encoding="ascii") as lines:
        for line in lines:
            category, document, _ = line.split()
            if category in RCV1_ROOTS:
                number = int(document)
                root_of[number] = -1 if number in root_of else RCV1_ROOTS.index(category)
    parts, labels = [], []
    for path in vectors:
        with reading(path), gzip.open(path) as file:
            x, document_N = load_svmlight_file(file, n_features=RCV1_TERMS, dtype=np.float32, zero_based=False)
            if not np.isfinite(document_N).all() or not np.isfinite(x.data).all():
                raise ValueError("it holds numbers that are not finite")
        root_N = np.array([root_of.get(int(document), -1) for document in document_N])
        parts.append(x[root_N >= 0])
        labels.append(root_N[root_N >= 0])
    x_all = sparse.csr_matrix(sparse.vstack(parts, format="csr"))
    if not x_all.shape[0]:
        raise DeepmixError(
            f"'{topics}' names none of the documents of '{vectors[0]}'; remove both, and they will be fetched again"
        )
    frequency = np.bincount(x_all.indices, minlength=RCV1_TERMS)
    terms = np.sort(np.argsort(-frequency, kind="stable")[:n_terms])
    return normalize(x_all[:, terms], copy=False), np.concatenate(labels).astype(np.int64)


def read_stl10(path: Path) -> Mapping[str, Array]:
    """Read the labelled images of STL-10's binary archive; the unlabelled ones are skipped.

    Returns:
        train_X and test_X, (N, 3, 96, 96) uint8; train_y and test_y, (N,) int64 from 0.

    """
    arrays: dict[str, Array] = {}
    with reading(path), tarfile.open(path, "r|gz") as archive:
        for member in archive:
            stem = Path(member.name).stem
            if stem not in ("train_X", "train_y", "test_X", "test_y"):
                continue
            file = archive.extractfile(member)
            values = np.frombuffer(file.read() if file else b"", dtype=np.uint8)
            if stem.endswith("_X"):
                arrays[stem] = values.reshape(-1, *STL10_SHAPE).transpose(0, 1, 3, 2)
            else:
                arrays[stem] = values.astype(np.int64) - 1
            if len(arrays) == 4:
                break
        missing = {"train_X", "train_y", "test_X", "test_y"} - arrays.keys()
        if missing:
            raise ValueError(f"it has no {', '.join(sorted(missing))}")
        for side in ("train", "test"):
            if len(arrays[f"{side}_X"]) != len(arrays[f"{side}_y"]):
                raise ValueError(f"{len(arrays[f'{side}_X'])} {side} images and {len(arrays[f'{side}_y'])} labels")
    return arrays
