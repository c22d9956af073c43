"""Clustering heads: `posterior`, `gmm`, `gmm-random` and `kmeans`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin
from sklearn.mixture import GaussianMixture

from deepmix.interfaces import ClusteringHead, NoOptions
from deepmix.types import Array, Inference

from .initializers import RestartOptions

MAX_ITERATIONS = 1000
"""Of EM; scikit-learn's 100 are often too few for full covariances."""
RELATIVE_REGULARIZATION = 1e-3
"""Added to a GMM's covariances, relative to the latents' mean variance, so that none is singular."""


@final
class PosteriorHead(ClusteringHead):
    """The component of largest q(y|x): the model's own clusters (VaDE eq. 16, supplement eq. 17)."""

    needs_mixture = True

    def __init__(self, options: NoOptions) -> None:
        pass

    def fit(self, inference: Inference, n_clusters: int, seed: int) -> None:
        """Nothing to fit."""

    def predict(self, inference: Inference) -> Array:
        """Return the MAP component."""
        return inference.map_N

    def state(self) -> dict[str, Array]:
        """Nothing: the model says it all."""
        return {}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Nothing to take up."""


MIXTURE_STATE = ("weights_", "means_", "covariances_", "precisions_cholesky_")
"""What scikit-learn's GaussianMixture needs to predict."""


def _state(mixture: GaussianMixture) -> dict[str, Array]:
    return {name.rstrip("_"): getattr(mixture, name) for name in MIXTURE_STATE}


def _restored(state: Mapping[str, Array]) -> GaussianMixture:
    mixture = GaussianMixture(len(state["weights"]))
    for name in MIXTURE_STATE:
        setattr(mixture, name, state[name.rstrip("_")])
    return mixture


def _mixture(z_NM: Array, n_clusters: int, seed: int) -> GaussianMixture:
    regularization = RELATIVE_REGULARIZATION * float(z_NM.var(axis=0).mean()) + np.finfo(np.float64).eps
    return GaussianMixture(n_clusters, max_iter=MAX_ITERATIONS, reg_covar=regularization, random_state=seed)


@final
class GmmHead(ClusteringHead):
    """Gaussian mixture on the MAP component's latents, started from the MAP assignment."""

    def __init__(self, options: NoOptions) -> None:
        pass

    def fit(self, inference: Inference, n_clusters: int, seed: int) -> None:
        """Run EM from the moments of the MAP clusters; where the model has no K of them, from k-means."""
        z_NM = inference.latent_NM.astype(np.float64)
        if inference.log_q_NK.shape[1] == n_clusters:
            labels_N = inference.map_N
        else:
            labels_N = KMeans(n_clusters, n_init=RestartOptions().n_init, random_state=seed).fit_predict(z_NM)
        mixture = _mixture(z_NM, n_clusters, seed)
        means, precisions, weights = [], [], []
        for k in range(n_clusters):
            rows = z_NM[labels_N == k]
            rows = rows if len(rows) > 1 else z_NM  # an empty cluster starts as wide as the data
            covariance = np.atleast_2d(np.cov(rows.T, bias=True)) + mixture.reg_covar * np.eye(z_NM.shape[1])
            means.append(rows.mean(axis=0))
            precisions.append(np.linalg.inv(covariance))
            weights.append(np.count_nonzero(labels_N == k) + 1.0)
        self.mixture = mixture.set_params(
            means_init=np.stack(means),
            precisions_init=np.stack(precisions),
            weights_init=np.array(weights) / sum(weights),
        ).fit(z_NM)

    def predict(self, inference: Inference) -> Array:
        """Return each row's most probable Gaussian."""
        return np.asarray(self.mixture.predict(inference.latent_NM.astype(np.float64)))

    def state(self) -> dict[str, Array]:
        """Return the mixture's parameters."""
        return _state(self.mixture)

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up the mixture's parameters."""
        self.mixture = _restored(state)


@final
class RandomGmmHead(ClusteringHead):
    """Gaussian mixture on the MAP component's latents, best of several random starts."""

    Options = RestartOptions

    def __init__(self, options: RestartOptions) -> None:
        self.options = options

    def fit(self, inference: Inference, n_clusters: int, seed: int) -> None:
        """Run EM from k-means at random centres, scikit-learn's default, and keep the most likely."""
        z_NM = inference.latent_NM.astype(np.float64)
        self.mixture = _mixture(z_NM, n_clusters, seed).set_params(n_init=self.options.n_init).fit(z_NM)

    def predict(self, inference: Inference) -> Array:
        """Return each row's most probable Gaussian."""
        return np.asarray(self.mixture.predict(inference.latent_NM.astype(np.float64)))

    def state(self) -> dict[str, Array]:
        """Return the mixture's parameters."""
        return _state(self.mixture)

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up the mixture's parameters."""
        self.mixture = _restored(state)


@final
class KMeansHead(ClusteringHead):
    """k-means on the MAP component's latents."""

    Options = RestartOptions

    def __init__(self, options: RestartOptions) -> None:
        self.options = options

    def fit(self, inference: Inference, n_clusters: int, seed: int) -> None:
        """Run k-means from several starts."""
        kmeans = KMeans(n_clusters, n_init=self.options.n_init, random_state=seed).fit(inference.latent_NM)
        self.centre_KM = kmeans.cluster_centers_

    def predict(self, inference: Inference) -> Array:
        """Return the nearest centre."""
        return np.asarray(pairwise_distances_argmin(inference.latent_NM, self.centre_KM), dtype=np.int64)

    def state(self) -> dict[str, Array]:
        """Return the centres."""
        return {"centres": self.centre_KM}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up the centres."""
        self.centre_KM = state["centres"]
