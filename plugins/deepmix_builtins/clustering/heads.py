"""Clustering heads: `posterior`, `gmm`, `gmm-random` and `kmeans`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin
from sklearn.mixture import GaussianMixture

from deepmix.contracts import ClusteringHead, NoOptions
from deepmix.maths import Array, Inference

from .gaussians import MAX_ITERATIONS, WeightedGaussianMixture, fit_mixture, regularization
from .initializers import RestartOptions


@final
class PosteriorHead(ClusteringHead):
    """The component of largest q(y|x): the model's own clusters (VaDE eq. 16, supplement eq. 17)."""

    needs_mixture = True

    def __init__(self, options: NoOptions) -> None:
        pass

    def fit(self, inference: Inference, n_clusters: int, seed: int) -> None:
        """Do nothing: there is nothing to fit."""

    def predict(self, inference: Inference) -> Array:
        """Return the MAP component."""
        return inference.map_N

    def state(self) -> dict[str, Array]:
        """Return nothing: the model holds all that `predict` needs."""
        return {}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Do nothing: there is nothing to restore."""


MIXTURE_STATE = ("weights_", "means_", "covariances_", "precisions_cholesky_")
"""The attributes that scikit-learn's GaussianMixture needs to predict."""


def _state(mixture: GaussianMixture) -> dict[str, Array]:
    return {name.rstrip("_"): getattr(mixture, name) for name in MIXTURE_STATE}


def _restored(state: Mapping[str, Array]) -> GaussianMixture:
    mixture = GaussianMixture(len(state["weights"]))
    for name in MIXTURE_STATE:
        setattr(mixture, name, state[name.rstrip("_")])
    return mixture


class _MixtureHead(ClusteringHead):
    """A Gaussian mixture on the MAP component's latents; subclasses fit it."""

    mixture: GaussianMixture

    def predict(self, inference: Inference) -> Array:
        """Return each row's most probable Gaussian."""
        return np.asarray(self.mixture.predict(inference.latent_NM.astype(np.float64)))

    def state(self) -> dict[str, Array]:
        """Return the mixture's parameters."""
        return _state(self.mixture)

    def restore(self, state: Mapping[str, Array]) -> None:
        """Restore the mixture's parameters."""
        self.mixture = _restored(state)


@final
class GmmHead(ClusteringHead):
    """Gaussian mixture on the MAP component's latents, whose weights are q(y|x): one Gaussian per component.

    The latents of a row depend on q(y|x) already, and where the components share a prior, their latents overlap. A
    mixture with the same weights for all rows then moves away from the model's clusters, to whatever Gaussians fit the
    latents best. With q(y|x) as a row's weights, the mixture decides only where q(y|x) is unsure.
    """

    mixture: GaussianMixture

    def __init__(self, options: NoOptions, *, by_row: bool = True) -> None:
        self.by_row = by_row
        """Whether each row's weights are its q(y|x); false: all rows share weights, which EM fits."""

    def fit(self, inference: Inference, n_clusters: int, seed: int) -> None:
        """Run EM from the moments of the MAP clusters, or from k-means where the model has other than K components."""
        z_NM = inference.latent_NM.astype(np.float64)
        self.by_row = self.by_row and inference.log_q_NK.shape[1] == n_clusters
        if inference.log_q_NK.shape[1] == n_clusters:
            labels_N = inference.map_N
        else:
            kmeans = KMeans(n_clusters, n_init=RestartOptions().n_init, random_state=seed)
            labels_N = kmeans.fit_predict(z_NM, sample_weight=inference.weight_N)
        log_prior_NK = inference.log_q_NK.astype(np.float64) if self.by_row else None
        self.mixture = fit_mixture(z_NM, labels_N, n_clusters, "full", inference.weight_N, log_prior_NK)

    def predict(self, inference: Inference) -> Array:
        """Return each row's most probable Gaussian."""
        z_NM = inference.latent_NM.astype(np.float64)
        if not self.by_row:
            return np.asarray(self.mixture.predict(z_NM))
        return np.asarray((self.mixture._estimate_log_prob(z_NM) + inference.log_q_NK).argmax(axis=1))

    def state(self) -> dict[str, Array]:
        """Return the mixture's parameters, and whether rows have weights of their own."""
        return {**_state(self.mixture), "by_row": np.array(self.by_row)}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Restore them; runs of earlier versions have weights that all rows share."""
        self.mixture = _restored(state)
        self.by_row = bool(state.get("by_row", False))


@final
class RandomGmmHead(_MixtureHead):
    """Gaussian mixture on the MAP component's latents, best of several random starts."""

    Options = RestartOptions

    def __init__(self, options: RestartOptions) -> None:
        self.options = options

    def fit(self, inference: Inference, n_clusters: int, seed: int) -> None:
        """Run EM from k-means at random centres, scikit-learn's default, and keep the most likely fit."""
        z_NM = inference.latent_NM.astype(np.float64)
        self.mixture = WeightedGaussianMixture(
            n_clusters,
            max_iter=MAX_ITERATIONS,
            reg_covar=regularization(z_NM, inference.weight_N),
            n_init=self.options.n_init,
            random_state=seed,
        ).fit_rows(z_NM, inference.weight_N)


@final
class KMeansHead(ClusteringHead):
    """k-means on the MAP component's latents."""

    Options = RestartOptions

    def __init__(self, options: RestartOptions) -> None:
        self.options = options

    def fit(self, inference: Inference, n_clusters: int, seed: int) -> None:
        """Run k-means from several starts."""
        kmeans = KMeans(n_clusters, n_init=self.options.n_init, random_state=seed)
        self.centre_KM = kmeans.fit(inference.latent_NM, sample_weight=inference.weight_N).cluster_centers_

    def predict(self, inference: Inference) -> Array:
        """Return the nearest centre."""
        return np.asarray(pairwise_distances_argmin(inference.latent_NM, self.centre_KM), dtype=np.int64)

    def state(self) -> dict[str, Array]:
        """Return the centres."""
        return {"centres": self.centre_KM}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Restore the centres."""
        self.centre_KM = state["centres"]
