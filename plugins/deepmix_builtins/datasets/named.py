"""Data sets known by name: `digits`, and those that are downloaded into the data folder."""

from __future__ import annotations

import abc
import io
import math
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
from scipy import sparse
from sklearn.datasets import load_digits

from deepmix.contracts import Dataset
from deepmix.data import (
    Collection,
    Split,
    SplitOptions,
    arrange_rows,
    find_prepared,
    load_prepared,
    obtain,
    write_atomically,
)
from deepmix.errors import UsageError, option

from .collections import (
    FASHION_MNIST,
    HAR,
    HAR_ARCHIVE,
    IDX_NAMES,
    MNIST,
    RCV1,
    RCV1_TOPICS,
    RCV1_VECTORS,
    RESNET50,
    STL10,
    STL10_ARCHIVE,
    USPS,
    USPS_IMAGE,
)
from .features import load_resnet50, require_torchvision, resnet50_features
from .formats import read_har, read_idx, read_libsvm, read_rcv1, read_stl10, reading


@final
class Digits(Dataset):
    """scikit-learn's Digits: 1,797 images of 8 x 8, ten classes, bundled (no download)."""

    Options = SplitOptions

    def __init__(self, options: SplitOptions) -> None:
        self.options = options

    def load(self, data_dir: Path | None) -> Split:
        """Return the images scaled from 0..16 to 0..1; 270 rows are held out for testing."""
        digits = load_digits()
        return arrange_rows(digits.images, digits.target, self.options, divisor=16.0)


@dataclass(frozen=True)
class FetchOptions(SplitOptions):
    """Options of data sets that can be fetched."""

    download: bool = field(
        default=True, metadata={"help": "download files that the data folder lacks, and prepare them in it"}
    )


class Fetched(Dataset):
    """A data set stored as NAME.npz in the data folder, and built from the published files if it is missing."""

    Options: ClassVar[type] = FetchOptions
    downloads = True
    names: ClassVar[tuple[str, ...]]
    """Accepted values of NAME; the first is used for writing."""
    collection: ClassVar[Collection]
    image_shape: ClassVar[tuple[int, int, int] | None] = None
    """Height, width and channels, where a row is an image."""

    def __init__(self, options: FetchOptions) -> None:
        self.options = options

    def load(self, data_dir: Path | None) -> Split:
        """Return the rows, with the official split where there is one.

        Raises:
            UsageError: there is no data folder, or files are missing and may not be downloaded.
            DeepmixError: a file is damaged or can't be downloaded.

        """
        name = self.names[0]
        if data_dir is None or not data_dir.is_dir():
            return load_prepared(name, data_dir, self.options)  # which refuses it with a message
        prepared = next((name for name in self.names if find_prepared(name, data_dir) is not None), None)
        if prepared is not None:
            return load_prepared(prepared, data_dir, self.options, image_shape=self.image_shape)
        target = data_dir / f"{name.replace('-', '_')}.npz"
        self.check_requirements(target)
        files = obtain(self.collection, data_dir, download=self.options.download, prepared=target.name)
        with tempfile.TemporaryDirectory() as temporary:
            folder = data_dir if self.options.download else Path(temporary)
            write_prepared(folder / target.name, self.read(files))
            return load_prepared(name, folder, self.options, image_shape=self.image_shape)

    def check_requirements(self, target: Path) -> None:
        """Raise a UsageError if `read` needs a package that is not installed."""

    @abc.abstractmethod
    def read(self, files: dict[str, Path]) -> dict[str, Any]:
        """Return the arrays of NAME.npz: x, y and, with an official split, n_train."""


def write_prepared(path: Path, arrays: dict[str, Any]) -> None:
    """Write NAME.npz (x, y, n_train; a sparse x as SciPy saves it), completely or not at all.

    Raises:
        UsageError: the data folder can't be written.

    """
    if sparse.issparse(arrays["x"]):
        x = sparse.csr_array(arrays["x"])
        parts = {"data": x.data, "indices": x.indices, "indptr": x.indptr, "shape": np.array(x.shape), "format": b"csr"}
        arrays = {**{key: value for key, value in arrays.items() if key != "x"}, **parts}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    try:
        write_atomically(path, buffer.getvalue())
    except PermissionError as error:
        raise UsageError(
            f"the data folder '{path.parent}' can't be written ({error.strerror}); "
            f"choose another with {option('data_dir')}"
        ) from error


class IdxImages(Fetched):
    """Images and labels in four IDX files."""

    def read(self, files: dict[str, Path]) -> dict[str, Any]:
        """Return the images unscaled, as uint8."""
        parts = {name: read_idx(files[name]) for name in IDX_NAMES}
        for side in ("train", "t10k"):
            images, labels = parts[f"{side}-images-idx3-ubyte.gz"], parts[f"{side}-labels-idx1-ubyte.gz"]
            with reading(files[f"{side}-labels-idx1-ubyte.gz"]):
                if len(images) != len(labels):
                    raise ValueError(f"it has {len(labels)} labels for {len(images)} images")
        x = np.concatenate([parts["train-images-idx3-ubyte.gz"], parts["t10k-images-idx3-ubyte.gz"]])
        y = np.concatenate([parts["train-labels-idx1-ubyte.gz"], parts["t10k-labels-idx1-ubyte.gz"]])
        n_train = len(parts["train-labels-idx1-ubyte.gz"])
        return {"x": x, "y": y.astype(np.int64), "n_train": np.array(n_train)}


@final
class Mnist(IdxImages):
    """MNIST: 60,000 + 10,000 images of 28 x 28, ten digits."""

    names = ("mnist",)
    collection = MNIST
    image_shape = (28, 28, 1)


@final
class FashionMnist(IdxImages):
    """Fashion-MNIST: 60,000 + 10,000 images of 28 x 28, ten kinds of clothing."""

    names = ("fashion-mnist",)
    collection = FASHION_MNIST
    image_shape = (28, 28, 1)


@final
class Usps(Fetched):
    """USPS: 7,291 + 2,007 images of 16 x 16, ten digits."""

    names = ("usps",)
    collection = USPS
    image_shape = (*USPS_IMAGE, 1)

    def read(self, files: dict[str, Path]) -> dict[str, Any]:
        """Return images with grey values mapped from -1..1 to 0..1, and the digits (published as 1 to 10)."""
        n_pixels = math.prod(USPS_IMAGE)
        train, train_labels = read_libsvm(files["usps.bz2"], n_pixels)
        test, test_labels = read_libsvm(files["usps.t.bz2"], n_pixels)
        x, y = np.concatenate([train, test]), np.concatenate([train_labels, test_labels])
        return {"x": ((x + 1.0) / 2.0).reshape(-1, *USPS_IMAGE), "y": y - 1, "n_train": np.array(len(train))}


@final
class Har(Fetched):
    """Human activity by smartphone: 7,352 + 2,947 rows of 561 features in -1..1, six activities (also `hhar`)."""

    names = ("har", "hhar")
    collection = HAR

    def read(self, files: dict[str, Path]) -> dict[str, Any]:
        """Return the rows of both splits."""
        return read_har(files[HAR_ARCHIVE])


@final
class Reuters(Fetched):
    """Reuters RCV1: 685,071 documents with one root category, tf-idf of the 2,000 most frequent terms, sparse."""

    names = ("reuters",)
    collection = RCV1

    def read(self, files: dict[str, Path]) -> dict[str, Any]:
        """Return the documents; there is no official split."""
        vectors = [files[name] for name in RCV1_VECTORS]
        x, y = read_rcv1(vectors, files[RCV1_TOPICS])
        return {"x": x, "y": y}


@dataclass(frozen=True)
class SubsetOptions(FetchOptions):
    """Options of a subset."""

    subset_seed: int = field(default=0, metadata={"help": "determines which documents are in the subset"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.subset_seed < 0:
            raise UsageError(f"subset_seed must be at least 0, got {self.subset_seed}")


@final
class Reuters10k(Dataset):
    """Reuters-10K: 10,000 documents drawn at random from `reuters` (a prepared reuters_10k.npz takes precedence)."""

    Options = SubsetOptions
    downloads = True
    n_documents: ClassVar[int] = 10_000
    """Size of the subset (VaDE section 4.1)."""

    def __init__(self, options: SubsetOptions) -> None:
        self.options = options

    def load(self, data_dir: Path | None) -> Split:
        """Return the documents."""
        if data_dir is None or not data_dir.is_dir() or find_prepared("reuters-10k", data_dir) is not None:
            return load_prepared("reuters-10k", data_dir, self.options)
        whole = Reuters(FetchOptions(download=self.options.download, scale="none")).load(data_dir)
        generator = np.random.default_rng(self.options.subset_seed)
        n_rows = whole.x.shape[0]
        documents = np.sort(generator.choice(n_rows, min(self.n_documents, n_rows), replace=False))
        labels = None if whole.labels is None else whole.labels[documents]
        words = f"{len(documents)} of {n_rows} documents, subset seed {self.options.subset_seed}"
        split = arrange_rows(whole.x[documents], labels, self.options)
        return replace(split, preprocessing=f"{words}; {split.preprocessing}")


@final
class Stl10(Fetched):
    """STL-10: 5,000 + 8,000 images of 96 x 96 as 2,048 ResNet-50 features (needs deepmix[stl10]), ten classes."""

    names = ("stl10", "stl-10")
    collection = STL10

    def check_requirements(self, target: Path) -> None:
        """Check before gigabytes are downloaded."""
        self.models = require_torchvision(f"put a features file (keys x of 13,000 x 2,048, y, n_train) at '{target}'")

    def read(self, files: dict[str, Path]) -> dict[str, Any]:
        """Return the features of both splits."""
        network = load_resnet50(self.models, files[RESNET50])
        images = read_stl10(files[STL10_ARCHIVE])
        x = np.concatenate([resnet50_features(images[f"{side}_X"], network) for side in ("train", "test")])
        y = np.concatenate([images["train_y"], images["test_y"]])
        return {"x": x, "y": y, "n_train": np.array(len(images["train_y"]))}
