"""Initial clusterings: `graph` (of the data's neighbourhoods), `gmm`, `kmeans` and `random` (of the codes)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin
from sklearn.mixture import GaussianMixture

from deepmix.contracts import Initializer, NoOptions
from deepmix.errors import UsageError
from deepmix.maths import Array


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

    def initial_labels(self, x_ND: Any, code_NM: Array, n_components: int, seed: int) -> Array:
        """Return the labels."""
        mixture = GaussianMixture(n_components, covariance_type="diag", n_init=self.options.n_init, random_state=seed)
        return np.asarray(mixture.fit_predict(code_NM.astype(np.float64)), dtype=np.int64)


@final
class KMeansInitializer(Initializer):
    """k-means on the pretrained codes (k-DVAE, section 4.2)."""

    Options = RestartOptions

    def __init__(self, options: RestartOptions) -> None:
        self.options = options

    def initial_labels(self, x_ND: Any, code_NM: Array, n_components: int, seed: int) -> Array:
        """Return the labels."""
        kmeans = KMeans(n_components, n_init=self.options.n_init, random_state=seed)
        return np.asarray(kmeans.fit_predict(code_NM), dtype=np.int64)


@final
class RandomInitializer(Initializer):
    """Take K random rows as centres and assign each row to the nearest: the report's starting points (section 3.1)."""

    def __init__(self, options: NoOptions) -> None:
        pass

    def initial_labels(self, x_ND: Any, code_NM: Array, n_components: int, seed: int) -> Array:
        """Return the labels."""
        centres = np.random.default_rng(seed).choice(len(code_NM), n_components, replace=False)
        return np.asarray(pairwise_distances_argmin(code_NM, code_NM[centres]), dtype=np.int64)
