"""The kit of a data set."""

from __future__ import annotations

import os
import unittest
from pathlib import Path
from typing import Any

import numpy as np

from deepmix.data import fingerprint
from deepmix.errors import DeepmixError
from deepmix.testing.clauses import PluginKit, clause
from deepmix.testing.contract_checks import check_dataset


class DatasetKit(PluginKit):
    """The kit of a data set: set `part` to the class.

    A data set that reads files is tested where DEEPMIX_DATA names a folder that has them.
    """

    kind = "datasets"

    def load(self) -> Any:
        """Return the data; skip the clause where they would have to be fetched."""
        data_dir = Path(os.environ["DEEPMIX_DATA"]) if "DEEPMIX_DATA" in os.environ else None
        options = self.options()
        if hasattr(options, "download"):
            try:
                return self.part(type(options)(download=False)).load(data_dir)
            except DeepmixError as error:
                raise unittest.SkipTest(f"its files are not in a data folder (DEEPMIX_DATA): {error}") from error
        return self.part(options).load(data_dir)

    def train_words(self, name: str) -> list[str]:
        """Return the words that choose the data set."""
        self.load()
        words = ["--dataset", name, "--init", "kmeans"]
        if "DEEPMIX_DATA" in os.environ:
            words += ["--data-dir", os.environ["DEEPMIX_DATA"]]
        return words + [word for key, value in self.settings.items() for word in ("--set", f"data.{key}={value}")]

    @clause("compare with deepmix.data.Split; deepmix.data.arrange_rows makes a valid one from arrays")
    def test_contract(self) -> None:
        """Load returns a Split: float32 rows, each for training or for testing, and a likelihood that suits them."""
        self.load()
        check_dataset(self.part, Path(os.environ["DEEPMIX_DATA"]) if "DEEPMIX_DATA" in os.environ else None)

    @clause("draw from np.random.default_rng(options.data_seed), and sort what comes without an order")
    def test_seeds(self) -> None:
        """Loading twice gives the same rows and the same split."""
        if fingerprint(self.load()) != fingerprint(self.load()):
            raise AssertionError("the second load gave other rows or another split")

    @clause("return the labels of all rows in the order of the rows, or None")
    def test_labels(self) -> None:
        """Labels, if there are any, have at least two classes among the training rows."""
        split = self.load()
        if split.labels is None:
            raise unittest.SkipTest("these data have no labels")
        if len(np.unique(split.labels[split.train])) < 2:
            raise AssertionError("the training rows have labels of only one class")
