"""Synthetic data: `gaussians`, the kind of data that the GMM report compares methods on (its section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import numpy as np

from deepmix.contracts import Dataset
from deepmix.data import Split, SplitOptions, arrange_rows
from deepmix.errors import UsageError

SPREAD = 10.0
"""Half the side of the square from which centres are drawn; with standard deviations near 1, some clusters overlap."""


@dataclass(frozen=True)
class GaussiansOptions(SplitOptions):
    """Options of the Gaussians data set."""

    classes: int = field(default=10, metadata={"help": "number of Gaussians"})
    rows: int = field(default=2000, metadata={"help": "number of rows drawn"})
    data_seed: int = field(default=0, metadata={"help": "seed of the data, independent of the seed of the run"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.classes <= self.rows // 2:
            raise UsageError(f"classes must be at least 2 and at most half of rows={self.rows}, got {self.classes}")
        if self.data_seed < 0:
            raise UsageError(f"data_seed must be at least 0, got {self.data_seed}")


@final
class Gaussians(Dataset):
    """Ten random Gaussians in the plane with random weights and full covariances (no download)."""

    Options = GaussiansOptions

    def __init__(self, options: GaussiansOptions) -> None:
        self.options = options

    def load(self, data_dir: Path | None) -> Split:
        """Return the rows in random order."""
        options = self.options
        random = np.random.default_rng(options.data_seed)
        mean_K2 = random.uniform(-SPREAD, SPREAD, (options.classes, 2))
        factor_K22 = random.normal(size=(options.classes, 2, 2))  # covariance A A^T
        weight_K = random.dirichlet(np.full(options.classes, 5.0))  # for ten classes, between about 0.03 and 0.2
        label_N = random.choice(options.classes, options.rows, p=weight_K)
        noise_N2 = random.normal(size=(options.rows, 2))
        x_N2 = mean_K2[label_N] + np.einsum("nij,nj->ni", factor_K22[label_N], noise_N2)
        return arrange_rows(x_N2, label_N, options)
