"""Initial clusterings: `graph` (of the data's neighbourhoods), `gmm`, `kmeans` and `random` (of the codes)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, final

import numpy as np
from scipy import sparse
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, spectral_embedding
from sklearn.metrics import pairwise_distances_argmin
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KNeighborsClassifier, kneighbors_graph

from deepmix.errors import UsageError
from deepmix.interfaces import Initializer, NoOptions
from deepmix.types import Array

TSNE_ITERATIONS, TSNE_ANGLE = 500, 0.8
"""Half of scikit-learn's iterations and its coarsest advised approximation: on three splits of Digits the
clusters came out as with the defaults, in a quarter of the time."""
PCA_DIMENSIONS = 50
"""Wider data is first reduced to this many principal components, as t-SNE's authors advise."""
SPECTRAL_NEIGHBOURS = 10
EMBEDDED_DIMENSIONS = 2
"""Of t-SNE's layout."""
CARRYING_NEIGHBOURS = 5
"""Neighbours that vote when labels are carried from the subsample to the other rows."""


@dataclass(frozen=True)
class GraphOptions:
    """Options of the neighbourhood-graph initialiser."""

    embedding: Literal["tsne", "spectral"] = field(
        default="tsne", metadata={"help": "how the neighbourhood graph is laid out before it is cut"}
    )
    space: Literal["data", "codes"] = field(
        default="data", metadata={"help": "where neighbours are looked for: the data or the pretrained codes"}
    )
    max_rows: int = field(default=5000, metadata={"help": "rows embedded; the others take their neighbours' label"})

    def __post_init__(self) -> None:
        if self.max_rows < 2:
            raise UsageError(f"max_rows must be at least 2, got {self.max_rows}")


@final
class GraphInitializer(Initializer):
    """Lay out the kNN graph of a bounded subsample, cut it by Ward's method, carry labels to the rest."""

    Options = GraphOptions

    def __init__(self, options: GraphOptions) -> None:
        self.options = options

    def initial_labels(self, x_ND: Any, code_NM: Array, n_components: int, seed: int) -> Array:
        """Return the labels."""
        rows = code_NM if self.options.space == "codes" else x_ND
        n_rows = rows.shape[0]
        chosen = np.arange(n_rows)
        max_rows = max(self.options.max_rows, n_components)
        if n_rows > max_rows:
            chosen = np.sort(np.random.default_rng(seed).choice(n_rows, max_rows, replace=False))
        features: Any = rows[chosen]
        if min(features.shape) > PCA_DIMENSIONS:
            solver = "arpack" if sparse.issparse(features) else "auto"
            features = PCA(PCA_DIMENSIONS, random_state=seed, svd_solver=solver).fit_transform(features)
        elif sparse.issparse(features):
            features = features.toarray()
        embedded = self._embed(features, n_components, seed)
        labels = AgglomerativeClustering(n_components).fit_predict(embedded)
        if len(chosen) == n_rows:
            return labels.astype(np.int64)
        neighbours = KNeighborsClassifier(min(CARRYING_NEIGHBOURS, len(chosen))).fit(rows[chosen], labels)
        carried = neighbours.predict(rows)
        carried[chosen] = labels
        return carried.astype(np.int64)

    def _embed(self, features: Array, n_components: int, seed: int) -> Array:
        n_rows = len(features)
        if features.shape[1] < EMBEDDED_DIMENSIONS or n_rows <= max(n_components, 2 * EMBEDDED_DIMENSIONS):
            return features  # too narrow, or too few rows, to lay out
        if self.options.embedding == "spectral":
            graph = kneighbors_graph(features, min(SPECTRAL_NEIGHBOURS, n_rows - 1))
            embedded = spectral_embedding(
                graph.maximum(graph.T), n_components=n_components, drop_first=False, random_state=seed
            )
            return embedded / np.linalg.norm(embedded, axis=1, keepdims=True).clip(min=1e-12)
        perplexity = min(30.0, (n_rows - 1) / 3)
        tsne = TSNE(
            EMBEDDED_DIMENSIONS, perplexity=perplexity, max_iter=TSNE_ITERATIONS, angle=TSNE_ANGLE, random_state=seed
        )
        return np.asarray(tsne.fit_transform(features))


@dataclass(frozen=True)
class RestartOptions:
    """Options of what starts at random."""

    n_init: int = field(default=10, metadata={"help": "random starts, the best kept (VaDE section 4.3: 10)"})

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
    """K random rows as centres, each row to the nearest: the report's starting points (section 3.1)."""

    def __init__(self, options: NoOptions) -> None:
        pass

    def initial_labels(self, x_ND: Any, code_NM: Array, n_components: int, seed: int) -> Array:
        """Return the labels."""
        centres = np.random.default_rng(seed).choice(len(code_NM), n_components, replace=False)
        return np.asarray(pairwise_distances_argmin(code_NM, code_NM[centres]), dtype=np.int64)
