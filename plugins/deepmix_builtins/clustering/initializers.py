"""Initial clusterings: `graph` (of the data's neighbourhoods), `gmm`, `kmeans` and `random` (of the codes)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin

from deepmix.contracts import Initializer, NoOptions, TrainingRows
from deepmix.errors import UsageError
from deepmix.maths import Array

from .gaussians import WeightedGaussianMixture


@dataclass(frozen=True)
class RestartOptions:
    """Options of algorithms that start at random."""

    n_init: int = field(default=10, metadata={"help": "random starts; the best is kept (VaDE section 4.3: 10)"})

    def __post_init__(self) -> None:
        if self.n_init < 1:
            raise UsageError(f"n_init must be at least 1, got {self.n_init}")


@final
class GmmInitializer(Initializer):
    """Gaussian mixture on the pretrained codes (VaDE, section 4.2)."""

    Options = RestartOptions

    def __init__(self, options: RestartOptions) -> None:
        self.options = options

    def initial_labels(self, rows: TrainingRows, n_components: int, seed: int) -> Array:
        """Return the labels."""
        mixture = WeightedGaussianMixture(
            n_components, covariance_type="diag", n_init=self.options.n_init, random_state=seed
        )
        return np.asarray(mixture.fit_labels(rows.code_NM.astype(np.float64), rows.weight_N), dtype=np.int64)


@final
class KMeansInitializer(Initializer):
    """k-means on the pretrained codes (k-DVAE, section 4.2)."""

    Options = RestartOptions

    def __init__(self, options: RestartOptions) -> None:
        self.options = options

    def initial_labels(self, rows: TrainingRows, n_components: int, seed: int) -> Array:
        """Return the labels."""
        kmeans = KMeans(n_components, n_init=self.options.n_init, random_state=seed)
        return np.asarray(kmeans.fit_predict(rows.code_NM, sample_weight=rows.weight_N), dtype=np.int64)


@final
class RandomInitializer(Initializer):
    """Take K random rows as centres and assign each row to the nearest: the report's starting points (section 3.1)."""

    def __init__(self, options: NoOptions) -> None:
        pass

    def initial_labels(self, rows: TrainingRows, n_components: int, seed: int) -> Array:
        """Return the labels; a row's weight is proportional to its probability of being a centre."""
        code_NM = rows.code_NM
        probability_N = None if rows.weight_N is None else rows.weight_N / rows.weight_N.sum()
        centres = np.random.default_rng(seed).choice(len(code_NM), n_components, replace=False, p=probability_N)
        return np.asarray(pairwise_distances_argmin(code_NM, code_NM[centres]), dtype=np.int64)
