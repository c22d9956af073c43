"""Data sets known by name: `digits`, and `mnist`, `fashion-mnist`, `usps` from the data folder."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, final

from sklearn.datasets import load_digits

from deepmix.data import SplitOptions, prepare
from deepmix.files import load_prepared
from deepmix.interfaces import Dataset
from deepmix.types import Split


@final
class Digits(Dataset):
    """scikit-learn's Digits: 1,797 images of 8 x 8, ten classes, embedded (no download)."""

    Options = SplitOptions

    def __init__(self, options: SplitOptions) -> None:
        self.options = options

    def load(self, data_dir: Path | None) -> Split:
        """Return the images scaled from 0..16 to 0..1; 270 rows are for testing."""
        x_ND, labels_N = load_digits(return_X_y=True)
        return prepare(x_ND / 16.0, labels_N, self.options, preprocessing="divided by 16", image_shape=(8, 8, 1))


class Prepared(Dataset):
    """A data set read from NAME.npz in the data folder, with its official split."""

    Options = SplitOptions
    name: ClassVar[str]
    image_shape: ClassVar[tuple[int, int, int]]

    def __init__(self, options: SplitOptions) -> None:
        self.options = options

    def load(self, data_dir: Path | None) -> Split:
        """Return the rows, scaled to 0..1."""
        return load_prepared(self.name, data_dir, self.options, image_shape=self.image_shape)


@final
class Mnist(Prepared):
    """MNIST, 60,000 + 10,000 images of 28 x 28, from mnist.npz in the data folder."""

    name = "mnist"
    image_shape = (28, 28, 1)


@final
class FashionMnist(Prepared):
    """Fashion-MNIST, 60,000 + 10,000 images of 28 x 28, from fashion_mnist.npz in the data folder."""

    name = "fashion-mnist"
    image_shape = (28, 28, 1)


@final
class Usps(Prepared):
    """USPS, 7,291 + 2,007 images of 16 x 16, from usps.npz in the data folder."""

    name = "usps"
    image_shape = (16, 16, 1)
