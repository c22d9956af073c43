"""Heads fitted to the rows they cluster, as the MVAE supplement clusters its test rows (section 4)."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import ClassVar, final

import numpy as np

from deepmix.contracts import ClusteringHead, NoOptions
from deepmix.errors import UsageError, option
from deepmix.maths import Array, Inference

from .heads import GmmHead, RandomGmmHead
from .initializers import RestartOptions


class Refitted(ClusteringHead):
    """A head that stores the number of clusters; every `predict` fits it to the rows passed in."""

    name: ClassVar[str]
    refits = True

    def __init__(self) -> None:
        self._n_clusters, self._seed = 0, 0

    def fit(self, inference: Inference, n_clusters: int, seed: int) -> None:
        """Store the number of clusters and the seed; the training rows are not used."""
        self._n_clusters, self._seed = n_clusters, seed

    def predict(self, inference: Inference) -> Array:
        """Fit to these rows and return their clusters."""
        n_rows = len(inference.latent_NM)
        if n_rows <= self._n_clusters:
            raise UsageError(
                f"head '{self.name}' fits {self._n_clusters} Gaussians to the rows it clusters, but there are only "
                f"{n_rows}; use {option('head', 'gmm')}, which is fitted to the training rows"
            )
        head = self._head()
        head.fit(inference, self._n_clusters, self._seed)
        return head.predict(inference)

    def state(self) -> dict[str, Array]:
        """Return the number of clusters and the seed."""
        return {"n_clusters": np.array(self._n_clusters), "seed": np.array(self._seed)}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Restore the number of clusters and the seed."""
        self._n_clusters, self._seed = int(state["n_clusters"]), int(state["seed"])

    @abc.abstractmethod
    def _head(self) -> ClusteringHead:
        """Return an unfitted head."""


@final
class RefittedGmmHead(Refitted):
    """Gaussian mixture fitted to the rows it clusters, started from the MAP assignment."""

    name = "gmm-refit"

    def __init__(self, options: NoOptions) -> None:
        super().__init__()

    def _head(self) -> ClusteringHead:
        return GmmHead(NoOptions(), by_row=False)


@final
class RefittedRandomGmmHead(Refitted):
    """Gaussian mixture fitted to the rows it clusters, best of several random starts (supplement, section 4)."""

    Options = RestartOptions
    name = "gmm-refit-random"

    def __init__(self, options: RestartOptions) -> None:
        super().__init__()
        self._restarts = options

    def _head(self) -> ClusteringHead:
        return RandomGmmHead(self._restarts)
