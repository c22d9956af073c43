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
        digits = load_digits()
        return prepare(digits.images, digits.target, self.options, divisor=16.0)


class Prepared(Dataset):
    """A data set read from NAME.npz in the data folder, with its official split."""

    Options = SplitOptions
    name: ClassVar[str]

    def __init__(self, options: SplitOptions) -> None:
        self.options = options

    def load(self, data_dir: Path | None) -> Split:
        """Return the rows, scaled to 0..1."""
        return load_prepared(self.name, data_dir, self.options)


@final
class Mnist(Prepared):
    """MNIST, 60,000 + 10,000 images of 28 x 28, from mnist.npz in the data folder."""

    name = "mnist"


@final
class FashionMnist(Prepared):
    """Fashion-MNIST, 60,000 + 10,000 images of 28 x 28, from fashion_mnist.npz in the data folder."""

    name = "fashion-mnist"


@final
class Usps(Prepared):
    """USPS, 7,291 + 2,007 images of 16 x 16, from usps.npz in the data folder."""

    name = "usps"
