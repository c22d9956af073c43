"""The material for one run's report: the contents of its files and the model's inference on its rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from deepmix.data import TableSchema
from deepmix.maths import Array
from deepmix.report import analysis
from deepmix.report.analysis import Projection, Reliability
from deepmix.report.html.markup import Markup, paragraph
from deepmix.report.phrases import cluster_names
from deepmix.report.profiles import ClusterProfile, profile_clusters
from deepmix.runs import EpochRecord, Metrics, Requested, RunConfig, Scores

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 8
"""Number of rows of each cluster that are shown, and that its component generates."""


MOST_CLUSTERS = 60
"""Number of clusters that are listed; if there are more, the largest are."""


DIFFERENCE_CELLS = 20_000_000
"""Number of values from which the features that set clusters apart are computed; larger data are sampled."""


@dataclass(frozen=True)
class Material:
    """One finished run; its rows (N) are in the data's order, training and test rows together."""

    folder: str
    """The run folder, as the user named it."""
    config: RunConfig
    metrics: Metrics
    epochs: Sequence[EpochRecord]
    x_ND: Any
    """The model's rows: dense, a memory map or CSR."""
    label_N: Array | None
    """Labels as text, or None."""
    test_N: Array
    """Whether a row was held out."""
    cluster_N: Array
    """Clusters of the first head."""
    latent_NM: Array
    """Latents of each row's MAP component."""
    log_q_NK: Array
    """log q(y|x) of the model's own components."""
    generate: Callable[[int], Array] | None = None
    """Draws SHOWN rows of a component, (SHOWN, D), where rows are images."""
    generates_from_rows: bool = False
    """Whether it decodes latents like those of the component's training rows, not latents drawn from p(z|y)."""
    undo: Callable[[Array], Array] = np.asarray
    """Converts rows of x back to the units of the data."""
    columns: Sequence[str] | None = None
    """Names of the D columns, or None."""
    image_shape: tuple[int, ...] | None = None
    """(height, width), or (height, width, colours), where rows are images."""
    with_umap: bool = False
    """Whether the map is also drawn by UMAP, which takes ten seconds or more."""
    known_N: Array | None = None
    """Whether each row's label is known; None where all are."""
    schema: TableSchema | None = None
    """What the columns of a table are; None where the data are an array."""
    frame: pd.DataFrame | None = None
    """The modelled columns of a table in its own units, missing where a cell is missing; None for an array."""
    weight_N: Array | None = None
    """Weights of the rows, or None where all count alike."""
    row_names: Array | None = None
    """The rows' names as text, or None where they only have numbers."""
    outlier_N: Array | None = None
    """Fraction of the training rows that the model finds more probable than each row, near 1 where it is strange."""

    @property
    def head(self) -> str:
        """The head whose clusters are shown: the run's first."""
        return self.config.requested.heads[0]

    @property
    def data(self) -> str:
        """The data set's name, or the file's name without its folder."""
        return data_name(self.config.requested)

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.config.requested.seed

    @property
    def n_clusters(self) -> int:
        """K, the number of clusters asked for, or the number that the head found if that is larger."""
        return max(self.config.n_clusters, int(self.cluster_N.max()) + 1)

    @property
    def test(self) -> Scores:
        """Metrics of that head's clusters on the held-out rows."""
        return self.metrics.heads[self.head]["test"].scores

    @property
    def baseline(self) -> Scores | None:
        """Metrics of the initial clustering on the held-out rows; None without labels or with one component."""
        return self.metrics.baseline

    @property
    def is_mixture(self) -> bool:
        """Whether the model has several components, so that there is a q(y|x)."""
        return bool(self.log_q_NK.shape[1] > 1)

    @cached_property
    def confidence_N(self) -> Array:
        """Largest q(y|x) of each row."""
        return np.asarray(np.exp(self.log_q_NK.max(axis=1)))

    @cached_property
    def size_K(self) -> Array:
        """Rows of each cluster; rows with a negative number fit none."""
        return np.bincount(self.cluster_N[self.cluster_N >= 0], minlength=self.n_clusters)

    @cached_property
    def classes(self) -> list[str]:
        """The values of the labels, numbers in numerical order."""
        return [] if self.label_N is None else sorted(set(self.label_N[self.labelled_N].tolist()), key=_natural)

    @cached_property
    def labelled_N(self) -> Array:
        """Whether each row has a known label."""
        if self.label_N is None:
            return np.zeros(len(self.cluster_N), dtype=bool)
        return np.ones(len(self.label_N), dtype=bool) if self.known_N is None else self.known_N

    @cached_property
    def meaning(self) -> dict[int, str]:
        """The class each cluster stands for, matched on the training rows whose labels are known."""
        assert self.label_N is not None
        rows_N = ~self.test_N & self.labelled_N
        return analysis.match(self.label_N[rows_N], self.cluster_N[rows_N])

    @cached_property
    def drawn(self) -> Array:
        """Numbers of the rows on the maps."""
        return analysis.some_rows(len(self.latent_NM), analysis.MAP_ROWS, self.seed)

    @cached_property
    def maps(self) -> list[Projection]:
        """Maps of those rows' latents."""
        return analysis.projections(self.latent_NM[self.drawn], self.seed, with_umap=self.with_umap)

    @cached_property
    def reliability(self) -> Reliability:
        """q(y|x) of the test rows against their labels, components matched to classes on the training rows."""
        assert self.label_N is not None
        component_N = self.log_q_NK.argmax(axis=1)
        train_N, test_N = ~self.test_N & self.labelled_N, self.test_N & self.labelled_N
        meaning = analysis.match(self.label_N[train_N], component_N[train_N])
        right_N = np.array([meaning.get(int(k)) == label for k, label in zip(component_N, self.label_N, strict=True)])
        return analysis.reliability(self.confidence_N[test_N], right_N[test_N])

    @cached_property
    def distance_N(self) -> Array:
        """Each row's distance to its cluster's centre, in the cluster's own spread."""
        return analysis.typicality(self.latent_NM, self.cluster_N)

    def typical(self, cluster: int) -> Array:
        """Return the rows nearest to a cluster's centre, nearest first."""
        rows = np.flatnonzero(self.cluster_N == cluster)
        return rows[np.argsort(self.distance_N[rows], kind="stable")[:SHOWN]]

    def doubtful(self, cluster: int) -> Array:
        """Return a cluster's rows of least q(y|x), least first; without q(y|x), those farthest from its centre."""
        rows = np.flatnonzero(self.cluster_N == cluster)
        order = self.confidence_N[rows] if self.is_mixture else -self.distance_N[rows]
        return rows[np.argsort(order, kind="stable")[:SHOWN]]

    @cached_property
    def differences(self) -> tuple[Array, Array, Array]:
        """Three (K, D) arrays: standardised differences, and the means inside and outside in the data's units."""
        most = max(DIFFERENCE_CELLS // self.x_ND.shape[1], self.n_clusters)
        rows = analysis.some_rows(len(self.cluster_N), most, self.seed)
        x_ND = self.x_ND if len(rows) == len(self.cluster_N) else self.x_ND[rows]
        apart_KD, inside_KD, outside_KD = analysis.differences(x_ND, self.cluster_N[rows], self.n_clusters)
        return apart_KD, self.undo(inside_KD), self.undo(outside_KD)

    def column(self, number: int) -> str:
        """Return a column's name or, if it has none, its number from 1."""
        return self.columns[number] if self.columns is not None else f"column {number + 1}"

    @cached_property
    def profiles(self) -> tuple[ClusterProfile, ...] | None:
        """What each cluster of a table's rows looks like; None for an array."""
        if self.schema is None or self.frame is None:
            return None
        return profile_clusters(self.frame, self.schema, self.cluster_N, self.n_clusters, self.weight_N)

    @cached_property
    def names(self) -> tuple[str, ...] | None:
        """A short name of each cluster of a table's rows; None for an array."""
        return None if self.profiles is None else cluster_names(self.profiles)

    def row_name(self, row: int) -> str:
        """Return a row's name or, if it has none, its number as in assignments.csv."""
        return str(row + 1) if self.row_names is None else str(self.row_names[row])

    def cluster_stability(self, cluster: int) -> float | None:
        """Return a cluster's stability under resampling; None if it was not measured."""
        stability = self.metrics.stability
        by_cluster = () if stability is None else stability.clusters
        return by_cluster[cluster] if cluster < len(by_cluster) else None

    @cached_property
    def shown(self) -> list[int]:
        """The clusters that are listed, all or the largest, in the order of their numbers."""
        order = np.argsort(-self.size_K, kind="stable")[:MOST_CLUSTERS]
        return sorted(order.tolist())

    def left_out(self, n_shown: int) -> Markup | None:
        """Return a sentence about the clusters that are not listed, if there are any."""
        if n_shown == self.n_clusters:
            return None
        return paragraph(f"The {n_shown} largest of {self.n_clusters} clusters are shown.")

    def component_of(self, cluster: int) -> int | None:
        """Return the model's component that most rows of a cluster belong to; None for an empty cluster of a head."""
        components = self.log_q_NK[self.cluster_N == cluster].argmax(axis=1)
        if len(components):
            return int(np.bincount(components).argmax())
        return cluster if self.head == "posterior" and cluster < self.log_q_NK.shape[1] else None

    def images(self, rows: Array) -> Array:
        """Return rows as images (n, H, W) or (n, H, W, C)."""
        return self.as_images(np.asarray(self.x_ND[rows]))

    def as_images(self, x_ND: Array) -> Array:
        """Return the model's rows as images (n, H, W) or (n, H, W, C), in the data's units."""
        assert self.image_shape is not None
        pictures = self.undo(x_ND).reshape(-1, *self.image_shape)
        channels_first = pictures.ndim == 4 and pictures.shape[1] in COLOURS and pictures.shape[3] not in COLOURS
        return np.moveaxis(pictures, 1, 3) if channels_first else pictures

    @cached_property
    def brightness(self) -> tuple[float, float]:
        """The values shown as black and as white: the least and the greatest of the rows drawn on the maps."""
        pictures = self.images(self.drawn)
        return float(pictures.min()), float(pictures.max())


COLOURS = (1, 3)
"""Numbers of colour channels an image can have."""


def data_name(requested: Requested) -> str:
    """Return the name of a run's data set, or of its file without the folder."""
    return requested.dataset.replace("\\", "/").rpartition("/")[2]


def _natural(label: str) -> tuple[int, float, str]:
    """Return a sort key: numbers come first, by value, then the rest alphabetically."""
    try:
        return (0, float(label), label)
    except ValueError:
        return (1, 0.0, label)
