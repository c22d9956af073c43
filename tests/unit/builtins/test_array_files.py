from __future__ import annotations

import importlib.util

import h5py
import numpy as np
import pytest
from deepmix_builtins.files.array_files import ArrayFileOptions
from deepmix_builtins.files.hdf5_file import Hdf5
from deepmix_builtins.files.zarr_folder import Zarr
from scipy import sparse

from deepmix.data import SplitOptions, fingerprint, load_file, stored_rows
from deepmix.errors import DeepmixError, UsageError
from deepmix.experiment.file_formats import load_format

FORMATS = [
    "h5",
    pytest.param(
        "zarr", marks=pytest.mark.skipif(importlib.util.find_spec("zarr") is None, reason="zarr is not installed")
    ),
]
IMAGES = np.random.default_rng(0).normal(5.0, 3.0, size=(103, 2, 4))
COUNTS = sparse.random(103, 30, density=0.2, random_state=0, format="csr")
KINDS = np.array([b"left", b"right"])[np.arange(103) % 2]


def write(path, **arrays):
    """Write arrays and sparse matrices by name, the matrices as anndata does."""
    if path.suffix == ".h5":
        file = h5py.File(path, "w")
    else:
        import zarr

        file = zarr.open_group(path, mode="w", zarr_format=2)
    put = file.create_dataset if path.suffix == ".h5" else file.create_array
    for name, values in arrays.items():
        if sparse.issparse(values):
            group = file.create_group(name)
            group.attrs["shape"], group.attrs["encoding-type"] = list(values.shape), f"{values.format}_matrix"
            for part in ("data", "indices", "indptr"):
                (group.create_dataset if path.suffix == ".h5" else group.create_array)(part, data=getattr(values, part))
        else:
            put(name, data=values, chunks=(10, *values.shape[1:]))
    if path.suffix == ".h5":
        file.close()
    return path


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("storage", ["disk", "memory"])
def test_rows_are_those_of_numpys_files(tmp_path, monkeypatch, suffix, storage):
    """Dense and sparse rows have the fingerprint that they have in a .npy or .npz file, and come with their labels."""
    monkeypatch.setattr(stored_rows, "READ_BYTES", 200)
    np.save(tmp_path / "rows.npy", IMAGES)
    sparse.save_npz(tmp_path / "rows.npz", COUNTS, compressed=False)
    path = write(tmp_path / f"rows.{suffix}", X=IMAGES, counts=COUNTS, turned=COUNTS.tocsc(), kind=KINDS)
    options = SplitOptions(storage=storage, scale="standard")
    for array, same in ((None, "rows.npy"), ("counts", "rows.npz"), ("/turned", "rows.npz")):
        split = load_format(path, ArrayFileOptions(array), options, "kind", None)
        expected = load_file(tmp_path / same, None, options)
        assert split.is_stored == expected.is_stored == (storage == "disk")
        assert fingerprint(split) == fingerprint(expected)
        assert split.image_shape == expected.image_shape
        assert split.preprocessing == expected.preprocessing
        assert split.labels.tolist() == KINDS.astype(str).tolist()
        rows, same_rows = split.x[split.test], expected.x[expected.test]
        assert (rows != same_rows).sum() == 0


@pytest.mark.parametrize("suffix", FORMATS)
def test_what_holds_no_rows_is_named(tmp_path, suffix):
    kind = {"h5": Hdf5, "zarr": Zarr}[suffix]
    path = write(tmp_path / f"rows.{suffix}", a=IMAGES, b=COUNTS, kind=KINDS)
    with pytest.raises(UsageError, match=r"has several arrays; name one with array=NAME: a, b"):
        kind(ArrayFileOptions()).read(path, None)
    with pytest.raises(UsageError, match=r"has no rows under 'c'; it has: a, b"):
        kind(ArrayFileOptions("c")).read(path, None)
    with pytest.raises(UsageError, match=r"'b' in 'rows.* must be an array with one label per row"):
        kind(ArrayFileOptions("a")).read(path, "b")
    assert kind(ArrayFileOptions("a")).read(path, "no such labels").labels is None
    with pytest.raises(UsageError, match=r"has no array of numbers with rows and columns; save the rows in it as 'x'"):
        kind(ArrayFileOptions()).read(write(tmp_path / f"labels.{suffix}", kind=KINDS), None)
    wrong = COUNTS.copy()
    wrong.indices[7] = 99
    rows = kind(ArrayFileOptions()).read(write(tmp_path / f"wrong.{suffix}", x=wrong), None)
    with pytest.raises(UsageError, match=r"the sparse matrix is not valid: it has a value in column 99"):
        rows.x[:]
    empty = tmp_path / f"other.{suffix}"
    empty.mkdir() if suffix == "zarr" else empty.write_text("text")
    with pytest.raises(DeepmixError, match=r"'other.* is not"):
        kind(ArrayFileOptions()).read(empty, None)


def test_a_file_that_is_cut_off_is_named(tmp_path):
    path = write(tmp_path / "rows.h5", x=np.random.default_rng(0).normal(size=(5000, 8)))
    rows = Hdf5(ArrayFileOptions()).read(path, None)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(DeepmixError, match=r"rows.h5' can't be read .*; check that the file is whole"):
        rows.x[4000:]
