"""The initial clustering `graph`: lay out the neighbourhood graph and cut the layout into clusters.

Weights of rows do not change the layout, whose neighbours are rows whatever their weight, nor Ward's tree, for which
scikit-learn takes no weights. The cuts by k-means and by a Gaussian mixture take them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, final

import numpy as np
from scipy import sparse
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.manifold import TSNE, spectral_embedding
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.utils import check_random_state

from deepmix.contracts import Initializer, TrainingRows
from deepmix.data import narrow
from deepmix.errors import UsageError
from deepmix.maths import Array, own_threads
from deepmix.metrics import cohesion, neighbour_links

from .gaussians import WeightedGaussianMixture

TSNE_ITERATIONS, TSNE_ANGLE = 500, 0.8
"""Half of scikit-learn's iterations and the coarsest approximation it advises, in two fifths of the time of the
defaults. On samples of four sets of images Ward's clusters are 0.01 less accurate on average
(`benchmarks/layouts.py`)."""


TSNE_DIMENSIONS = 2


TSNE_ROWS = 5000
"""Up to this many rows t-SNE takes seconds; above it UMAP, which lays out every row, is faster."""


UMAP_DIMENSIONS, UMAP_NEIGHBOURS, UMAP_MIN_DIST = 10, 20, 0.0
"""For clustering, UMAP's documentation advises more than two dimensions, more neighbours than the default 15, and
points packed as densely as possible."""


UMAP_ROWS = 60_000
"""As many as MNIST trains on. A row beyond takes its neighbours' label, which costs accuracy: on USPS, 93 in a hundred
held-out rows have the right label, of those laid out 96."""


UMAP_RESTARTS = 5
"""Starts of the Gaussian mixture that cuts UMAP's layout, where Ward's tree of so many rows would not fit in memory."""


EXACT_ROWS = 4096
"""Up to this many rows UMAP compares all of them with each other, and no neighbours are searched before."""


UMAP_REGULARIZATION = 1e-3
"""Added to the mixture's covariances; negligible in a layout whose clusters are about one unit wide."""


SPECTRAL_ADVANTAGE = 0.5
"""Spectral clusters are used where they cut less than this fraction of what t-SNE's clusters cut. On moons and circles,
which t-SNE tears apart, they cut nothing; elsewhere (Digits, scikit-learn's small tables) 0.68 to 0.97 as much."""


SMALLEST_FRACTION = 0.1
"""Smallest spectral cluster that is used, as a fraction of N / K. A few far rows are cheap to cut off: on spambase and
splice, where the smallest one has 1 % of the rows, spectral clusters have an index of -0.01 and 0.01, and t-SNE's
clusters of 0.04 and 0.22."""


SPACE_ROWS = 2000
"""Rows whose spectral clusters say where neighbours are looked for; it takes about a second."""

SAME_CLUSTERS = 0.3
"""Adjusted Rand index of the clusters in the data and in the codes from which on they are taken to be the same ones."""

ROWS_PER_CLUSTER = 5
"""Rows of each cluster that such a comparison needs at least."""


TREE_STEPS = {"neighbours": 1.0, "spectral": 2.0, "t-SNE": 10.0}
SEARCHES = ("neighbours", "neighbours of the codes")
UMAP_STEPS = {"preparation": 2.0, SEARCHES[0]: 25.0, SEARCHES[1]: 2.0, "UMAP": 25.0, "mixture": 1.0}
"""The steps of a layout in the rows or by UMAP, and their relative durations on 4,000 rows of 64 columns and on MNIST;
only the display of the time left depends on them."""

CARRYING_NEIGHBOURS = 5
"""Number of neighbours that vote on the label of a row outside the subsample."""


@dataclass(frozen=True)
class GraphOptions:
    """Options of the neighbourhood-graph initialiser."""

    embedding: Literal["auto", "tsne", "umap", "spectral"] = field(
        default="auto",
        metadata={
            "help": "layout of the neighbourhood graph before it is cut; auto: umap above 5,000 rows, "
            "otherwise tsne, or spectral where its clusters cut less than half as much of the graph"
        },
    )
    space: Literal["auto", "data", "codes", "both"] = field(
        default="auto",
        metadata={
            "help": "where neighbours are looked for: in the data, in the pretrained codes, or in both, keeping "
            "those that are neighbours in both; auto: the data for tsne and spectral, for umap both, or where "
            "they show different clusters the one that spectral clusters divide better"
        },
    )
    max_rows: int | None = field(
        default=None,
        metadata={"help": "rows laid out; the others take their neighbours' label; auto: 60,000 for umap, else 5,000"},
    )

    def __post_init__(self) -> None:
        if self.max_rows is not None and self.max_rows < 2:
            raise UsageError(f"max_rows must be at least 2, got {self.max_rows}")
        if self.space == "both" and self.embedding in ("tsne", "spectral"):
            raise UsageError(f"space=both is for embedding=umap, not for {self.embedding}")


@final
class GraphInitializer(Initializer):
    """Lay out the kNN graph of the rows (t-SNE, spectral or UMAP) and cut it (Ward's method or a Gaussian mixture)."""

    Options = GraphOptions

    def __init__(self, options: GraphOptions) -> None:
        self.options = options

    def initial_labels(self, rows: TrainingRows, n_components: int, seed: int) -> Array:
        """Return the labels; rows beyond `max_rows` take the labels of their neighbours among the rows laid out."""
        n_rows = len(rows.code_NM)
        embedding: str = self.options.embedding
        if embedding == "auto" and (n_rows > TSNE_ROWS or self.options.space == "both"):
            embedding = "umap"
        max_rows = max(self.options.max_rows or (UMAP_ROWS if embedding == "umap" else TSNE_ROWS), n_components)
        rows = replace(rows, x_ND=narrow(rows.x_ND, seed))
        subset = np.arange(n_rows)
        if n_rows > max_rows:
            subset = np.sort(np.random.default_rng(seed).choice(n_rows, max_rows, replace=False))
        sample = replace(rows.only(subset), progress=rows.progress.part(0.0, len(subset) / n_rows))
        labels = self._cut(embedding, sample, n_components, seed)
        if len(subset) == n_rows:
            return labels.astype(np.int64)
        rows.progress.step("the other rows", len(subset) / n_rows)
        searched = rows.code_NM if self.options.space == "codes" else rows.x_ND
        neighbours = KNeighborsClassifier(min(CARRYING_NEIGHBOURS, len(subset))).fit(searched[subset], labels)
        label_N = neighbours.predict(searched)
        label_N[subset] = labels
        return label_N.astype(np.int64)

    def _cut(self, embedding: str, rows: TrainingRows, n_components: int, seed: int) -> Array:
        """Lay the rows out and cut the layout into K clusters."""
        space, n_rows = self.options.space, len(rows.code_NM)
        features = rows.code_NM if space == "codes" else rows.x_ND
        if features.shape[1] < TSNE_DIMENSIONS or n_rows <= max(n_components, 2 * TSNE_DIMENSIONS):
            # too few columns or rows to lay out; Ward's method needs memory for all pairs
            if n_rows <= TSNE_ROWS:
                return np.asarray(AgglomerativeClustering(n_components).fit_predict(features))
            kmeans = KMeans(n_components, n_init=10, random_state=seed)
            return np.asarray(kmeans.fit_predict(features, sample_weight=rows.weight_N))
        if embedding == "auto":
            return _least_cut(features, n_components, seed, rows.progress.steps(TREE_STEPS))
        if embedding != "umap":
            return _tree_clusters(embedding, features, n_components, seed)
        begin = rows.progress.steps(UMAP_STEPS)
        begin("preparation")
        spaces = [features, rows.code_NM] if space in ("auto", "both") else [features]
        if space == "auto":
            spaces = _informative(spaces, n_components, seed)
        return _umap_clusters(spaces, rows.weight_N, n_components, seed, begin)


def _informative(spaces: list[Array], n_clusters: int, seed: int) -> list[Array]:
    """Return both spaces if they show the same clusters, else the one whose clusters keep neighbours together better.

    A single layout then suffices. The clusters are spectral ones of a sample of the rows.
    """
    n_rows = len(spaces[0])
    if n_rows < ROWS_PER_CLUSTER * n_clusters:
        return spaces
    sample = np.sort(np.random.default_rng(seed).choice(n_rows, min(n_rows, SPACE_ROWS), replace=False))
    links = [neighbour_links(space[sample]) for space in spaces]
    clusters = [spectral_clusters(link, n_clusters, seed) for link in links]
    if adjusted_rand_score(*clusters) >= SAME_CLUSTERS:
        return spaces
    return [max(zip(spaces, links, clusters, strict=True), key=lambda one: cohesion(one[1], one[2]))[0]]


def _least_cut(features: Array, n_components: int, seed: int, begin: Callable[[str], None]) -> Array:
    """Return t-SNE's clusters, or the spectral ones where they cut far less of the neighbourhood graph.

    Spectral clusters of which one has hardly any rows are not used. `begin` is called with the name of each step.
    """
    begin("neighbours")
    graph = neighbour_links(features)
    begin("spectral")
    by_spectrum = _tree_clusters("spectral", features, n_components, seed)
    begin("t-SNE")
    by_tsne = _tree_clusters("tsne", features, n_components, seed)
    if np.bincount(by_spectrum).min() < SMALLEST_FRACTION * len(features) / n_components:
        return by_tsne
    advantage = SPECTRAL_ADVANTAGE * _normalized_cut(graph, by_tsne)
    return by_spectrum if _normalized_cut(graph, by_spectrum) < advantage else by_tsne


def _normalized_cut(graph: sparse.csr_matrix, labels: Array) -> float:
    """Return the fraction of each cluster's edges that leave it, summed over clusters (Shi and Malik 2000)."""
    one_hot_NK = np.eye(labels.max() + 1)[labels]
    edges_KK = one_hot_NK.T @ (graph @ one_hot_NK)
    return float((1.0 - np.diag(edges_KK) / edges_KK.sum(axis=0)).sum())


def _tree_clusters(embedding: str, features: Array, n_components: int, seed: int) -> Array:
    """Cut the t-SNE or spectral layout by Ward's method."""
    if embedding == "spectral":
        return spectral_clusters(neighbour_links(features), n_components, seed)
    return np.asarray(AgglomerativeClustering(n_components).fit_predict(tsne_layout(features, seed)))


def tsne_layout(rows_ND: Array, seed: int) -> Array:
    """Lay the rows out by t-SNE, (N, 2)."""
    perplexity = min(30.0, (len(rows_ND) - 1) / 3)
    tsne = TSNE(TSNE_DIMENSIONS, perplexity=perplexity, max_iter=TSNE_ITERATIONS, angle=TSNE_ANGLE, random_state=seed)
    return np.asarray(tsne.fit_transform(rows_ND), dtype=np.float64)


def spectral_clusters(link_NN: sparse.csr_matrix, n_clusters: int, seed: int) -> Array:
    """Return Ward's clusters of a neighbourhood graph's K leading eigenvectors, rows scaled to length 1."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Graph is not fully connected")  # its components are then clusters
        layout = spectral_embedding(link_NN, n_components=n_clusters, drop_first=False, random_state=seed)
    unit_NK = layout / np.linalg.norm(layout, axis=1, keepdims=True).clip(min=1e-12)
    return np.asarray(AgglomerativeClustering(n_clusters).fit_predict(unit_NK))


def _umap_neighbours(space: Array, seed: int) -> tuple[Array, Array, object]:
    """Return the approximate neighbours of rows as UMAP itself looks for them: numbers, distances and the index."""
    from umap.umap_ import nearest_neighbors  # see above

    random = check_random_state(seed)
    return nearest_neighbors(space, UMAP_NEIGHBOURS, "euclidean", {}, False, random, n_jobs=1)


def _umap_clusters(
    spaces: list[Array], weight_N: Array | None, n_components: int, seed: int, begin: Callable[[str], None]
) -> Array:
    """Cut UMAP's layout by a Gaussian mixture with full covariances.

    Args:
        spaces: one array, or two of the same rows, of which the neighbours common to both are laid out.
        weight_N: the rows' weights in the mixture, or None.
        n_components: K.
        seed: makes the result reproducible.
        begin: called with the name of each step.

    """
    # UMAP warns that one of its variants needs TensorFlow
    with warnings.catch_warnings(action="ignore", category=ImportWarning):
        from umap import UMAP  # imported here: its import compiles for seconds, and small data do not need it

    n_rows = len(spaces[0])
    with own_threads():
        neighbours = []
        for step, space in zip(SEARCHES, spaces, strict=False):
            begin(step)
            neighbours.append((None, None, None) if n_rows <= EXACT_ROWS else _umap_neighbours(space, seed))
        begin("UMAP")
        maps = [
            UMAP(
                n_components=min(UMAP_DIMENSIONS, n_rows - 2),
                n_neighbors=min(UMAP_NEIGHBOURS, n_rows - 1),
                min_dist=UMAP_MIN_DIST,
                random_state=seed,
                n_jobs=1,  # a fixed seed allows no more
                transform_mode="embedding" if len(spaces) == 1 else "graph",
                precomputed_knn=own,
            ).fit(space)
            for space, own in zip(spaces, neighbours, strict=True)
        ]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Combined graph is not connected")  # the layout then starts at random
            layout = (maps[0] if len(maps) == 1 else maps[0] * maps[1]).embedding_
    begin("mixture")
    mixture = WeightedGaussianMixture(
        n_components, n_init=UMAP_RESTARTS, random_state=seed, reg_covar=UMAP_REGULARIZATION
    )
    return mixture.fit_labels(layout.astype(np.float64), weight_N)
