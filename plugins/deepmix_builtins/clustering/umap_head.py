"""The clustering head `umap-gmm`: a Gaussian mixture on UMAP's layout of the latents, the second half of N2D."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from deepmix.contracts import ClusteringHead
from deepmix.errors import UsageError
from deepmix.maths import Array, Inference, own_threads

from .gaussians import WeightedGaussianMixture

CARRYING_NEIGHBOURS = 5
"""Number of the nearest training rows that vote for the cluster of a new row."""


@dataclass(frozen=True)
class UmapGmmOptions:
    """Options of the head; the defaults are N2D's."""

    neighbours: int = field(default=20, metadata={"help": "neighbours of each row in UMAP's graph"})
    min_dist: float = field(default=0.0, metadata={"help": "least distance of rows in the layout"})

    def __post_init__(self) -> None:
        if self.neighbours < 2:
            raise UsageError(f"neighbours must be at least 2, got {self.neighbours}")
        if not 0.0 <= self.min_dist <= 1.0:
            raise UsageError(f"min_dist must be between 0 and 1, got {self.min_dist}")


@final
class UmapGmmHead(ClusteringHead):
    """UMAP of the latents to K dimensions, cut by a Gaussian mixture (N2D: McConville et al. 2019, section III).

    N2D clusters the rows that it lays out. Here, a new row takes the cluster that most of its nearest training rows
    have, in the latent space, weighted by inverse distance.
    """

    Options = UmapGmmOptions

    def __init__(self, options: UmapGmmOptions) -> None:
        self.options = options

    def fit(self, inference: Inference, n_clusters: int, seed: int) -> None:
        """Lay the latents out and fit the mixture, with full covariances, to the layout."""
        latent_NM = inference.latent_NM
        if len(latent_NM) < n_clusters + 3:
            raise UsageError(
                f"head 'umap-gmm' needs at least {n_clusters + 3} training rows for {n_clusters} clusters, "
                f"got {len(latent_NM)}; use head 'gmm'"
            )
        layout_NK = self._layout(latent_NM, n_clusters, seed)
        clusters_N = WeightedGaussianMixture(n_clusters, random_state=seed).fit_labels(layout_NK, inference.weight_N)
        self._remember(latent_NM, clusters_N)

    def _layout(self, latent_NM: Array, n_dimensions: int, seed: int) -> Array:
        """Return UMAP's layout, (N, n_dimensions) float64."""
        # UMAP warns that one of its variants needs TensorFlow, and that a seed allows one thread only
        with own_threads(), warnings.catch_warnings(action="ignore"):
            from umap import UMAP  # imported here: its import compiles for seconds

            umap = UMAP(
                n_components=n_dimensions,
                n_neighbors=min(self.options.neighbours, len(latent_NM) - 1),
                min_dist=self.options.min_dist,
                random_state=seed,
                n_jobs=1,
            )
            layout = umap.fit_transform(latent_NM)
        return np.asarray(layout, dtype=np.float64)

    def _remember(self, latent_NM: Array, clusters_N: Array) -> None:
        self._latent_NM, self._clusters_N = latent_NM, clusters_N
        number = min(CARRYING_NEIGHBOURS, len(latent_NM))
        self._carrier = KNeighborsClassifier(number, weights="distance").fit(latent_NM, clusters_N)

    def predict(self, inference: Inference) -> Array:
        """Return each row's cluster; rows that the head was fitted on have their own."""
        return np.asarray(self._carrier.predict(inference.latent_NM), dtype=np.int64)

    def state(self) -> dict[str, Array]:
        """Return the training rows' latents and clusters."""
        return {"latents": self._latent_NM, "clusters": self._clusters_N}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Restore them."""
        self._remember(state["latents"], state["clusters"])
