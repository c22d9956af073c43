"""How rows are scaled and held out; read by `--help`, so nothing slow is imported here."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from deepmix.errors import UsageError

MOST_MEMORY = 512 << 20
"""Bytes of rows that are read into memory where the user does not say where they should be."""

FLOAT_BYTES = 4


@dataclass(frozen=True)
class SplitOptions:
    """How rows are scaled and held out."""

    test_fraction: float = field(
        default=0.15,
        metadata={"help": "fraction of the rows held out where there is no official test split (Digits: 270 rows)"},
    )
    split_seed: int = field(
        default=0, metadata={"help": "which rows those are; does not depend on the seed of the run"}
    )
    scale: Literal["auto", "none", "standard", "bytes"] = field(
        default="auto",
        metadata={
            "help": "none, standard (each column to mean 0, variance 1) or bytes (divide by 255); auto: bytes for "
            "uint8, none where all values lie in -1..1, else standard"
        },
    )

    image_shape: str = field(
        default="auto",
        metadata={
            "help": "height x width, or height x width x channels, of a row that is an image, such as 28x28; auto: "
            "as the data set or the file's array says"
        },
    )

    storage: Literal["auto", "memory", "disk"] = field(
        default="auto",
        metadata={
            "help": "where the rows of a file of arrays are during training; auto: in memory, or on disk where they "
            "would take more than 512 MiB as float32, zeros of sparse rows included",
            "before": "memory",
        },
    )

    cache_dir: str = field(
        default="",
        metadata={
            "help": "folder where the encoded rows of a table on disk are written once; default: deepmix/rows in the "
            "user's cache folder",
            "before": "",
        },
    )

    def stays_on_disk(self, n_values: int) -> bool:
        """Whether a file's rows, with so many values in all, are read from it when they are needed."""
        return self.storage == "disk" or (self.storage == "auto" and FLOAT_BYTES * n_values > MOST_MEMORY)

    @property
    def takes_tables(self) -> bool:
        """Whether a table's columns get kinds; where a scale or an image shape is named, it is an array of numbers."""
        return self.scale == "auto" and self.image_shape == "auto"

    def __post_init__(self) -> None:
        if self.image_shape != "auto" and not re.fullmatch(r"[1-9]\d*x[1-9]\d*(x[1-9]\d*)?", self.image_shape):
            raise UsageError(f"image_shape must be auto or such as 28x28 or 32x32x3, got '{self.image_shape}'")
        if not 0.0 < self.test_fraction < 1.0:
            raise UsageError(f"test_fraction must be between 0 and 1, got {self.test_fraction}")
        if self.split_seed < 0:
            raise UsageError(f"split_seed must be at least 0, got {self.split_seed}")
