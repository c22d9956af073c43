"""Clustering heads as a run uses and stores them: deepmix's own, and wrapped scikit-learn clusterers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import numpy as np
from sklearn.metrics import pairwise_distances_argmin
from sklearn.utils.validation import has_fit_parameter

from deepmix.contracts import ClusteringHead, NoOptions
from deepmix.errors import DeepmixError
from deepmix.maths import Array, Inference

NOISE = -1
"""The label of rows that are in no cluster."""


SAME_SHARE = 0.999
"""Fraction of the rows on which the nearest centre must agree with a clusterer to replace it: all but rounding ties."""


CENTRES = (("cluster_centers_", None), ("subcluster_centers_", "subcluster_labels_"))
"""Attributes of scikit-learn's clusterers: the centres, and the cluster of each centre (None: one centre each)."""


@dataclass(frozen=True)
class HeadPlugin:
    """The core's view of a plugin of kind `heads`, either a ClusteringHead or a scikit-learn clusterer."""

    make: Callable[[Any], ClusteringHead]
    """Returns the head, not yet fitted, for its options."""
    Options: type
    needs_mixture: bool
    refits: bool
    __qualname__: str


def head_plugin(loaded: Any) -> HeadPlugin:
    """Return a head's plugin; anything but a ClusteringHead is treated as a factory of scikit-learn clusterers."""
    if isinstance(loaded, type) and issubclass(loaded, ClusteringHead):
        make: Any = loaded
        return HeadPlugin(make, loaded.Options, loaded.needs_mixture, loaded.refits, loaded.__qualname__)
    name = getattr(loaded, "__qualname__", repr(loaded))
    return HeadPlugin(partial(_clusterer_head, loaded), NoOptions, False, False, name)


def _clusterer_head(factory: Callable[[], Any], options: NoOptions) -> ClustererHead:
    return ClustererHead(factory)


@final
class ClustererHead(ClusteringHead):
    """A scikit-learn clusterer on the latents, replaced by its nearest centre where that gives the same clusters."""

    def __init__(self, factory: Callable[[], Any]) -> None:
        self._factory = factory
        self._centre_CM: Array | None = None
        self._cluster_C: Array | None = None

    def fit(self, inference: Inference, n_clusters: int, seed: int) -> None:
        """Fit the clusterer, after setting its number of clusters and seed where it has such parameters.

        The rows' weights are passed on if its `fit` takes `sample_weight`; otherwise a warning says that it does not.
        """
        clusterer = self._factory()
        if not (hasattr(clusterer, "fit") and hasattr(clusterer, "predict")):
            raise DeepmixError(
                f"head {type(clusterer).__name__} can't assign new rows to clusters; a head needs fit and predict"
            )
        if hasattr(clusterer, "get_params"):
            parameters = {"n_clusters": n_clusters, "n_components": n_clusters, "random_state": seed}
            names = clusterer.get_params()
            clusterer.set_params(**{key: value for key, value in parameters.items() if key in names})
        if inference.weight_N is None:
            clusterer.fit(inference.latent_NM)
        elif has_fit_parameter(clusterer, "sample_weight"):
            clusterer.fit(inference.latent_NM, sample_weight=inference.weight_N)
        else:
            warnings.warn(f"head {type(clusterer).__name__} takes no weights; it counts every row once", stacklevel=2)
            clusterer.fit(inference.latent_NM)
        self._clusterer = clusterer
        label_N = np.asarray(clusterer.predict(inference.latent_NM))
        self._values = np.unique(np.concatenate([label_N, np.asarray(getattr(clusterer, "labels_", label_N))]))
        for centres, clusters in CENTRES:
            if not hasattr(clusterer, centres):
                continue
            self._centre_CM = np.asarray(getattr(clusterer, centres))
            values = np.arange(len(self._centre_CM)) if clusters is None else np.asarray(getattr(clusterer, clusters))
            self._cluster_C = self._number(values)
            if np.mean(self._nearest(inference.latent_NM) == self._number(label_N)) >= SAME_SHARE:
                return
            self._centre_CM = self._cluster_C = None

    def predict(self, inference: Inference) -> Array:
        """Return cluster numbers: the clusterer's labels, numbered in order from 0; -1, noise, stays -1."""
        if self._centre_CM is not None:
            return self._nearest(inference.latent_NM)
        return self._number(np.asarray(self._clusterer.predict(inference.latent_NM)))

    def state(self) -> dict[str, Array] | None:
        """Return the centres and their clusters; None where the nearest centre does not replace the clusterer."""
        if self._centre_CM is None or self._cluster_C is None:
            return None
        return {"centres": self._centre_CM, "clusters": self._cluster_C}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Restore the centres and their clusters."""
        self._centre_CM, self._cluster_C = state["centres"], state["clusters"]

    def _nearest(self, latent_NM: Array) -> Array:
        assert self._centre_CM is not None
        assert self._cluster_C is not None
        return self._cluster_C[pairwise_distances_argmin(latent_NM.astype(self._centre_CM.dtype), self._centre_CM)]

    def _number(self, labels: Array) -> Array:
        """Return labels as 0, 1, ...; labels unseen in training share the number after the last, and -1 stays -1."""
        values = self._values[self._values != NOISE]
        if not len(values):
            return np.full(len(labels), NOISE, dtype=np.int64)
        places = np.searchsorted(values, labels).clip(max=len(values) - 1)
        numbers = np.where(values[places] == labels, places, len(values))
        return np.where(labels == NOISE, NOISE, numbers).astype(np.int64)
