"""Every metric of a clustering, declared once: its name, its description, its direction and what it needs.

The table of results, `deepmix evaluate`, `deepmix compare`, the report and `deepmix reproduce` read the declarations,
so a new metric takes one more `declare`. Reading them imports no library: a metric imports what it computes with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # reading a declaration, as help does, must not wait for torch
    from deepmix.maths import Array


@dataclass(frozen=True)
class Clustering:
    """The clusters of N rows, with the labels and latents that metrics judge them by."""

    cluster_N: Array
    """Cluster numbers."""
    label_N: Array | None = None
    """Labels of any type; None if there are none."""
    latent_NM: Array | None = None
    """Latents; None if they are not at hand."""
    seed: int = 0
    """Seed that makes a metric that samples rows reproducible."""
    weight_N: Array | None = None
    """The rows' weights: a row of weight 2 counts as two rows. None: every row has weight 1."""

    def only(self, rows_N: Array) -> Clustering:
        """Return the clustering of some of the rows, (N,) bool; it has no labels if no row is chosen."""
        labels = None if self.label_N is None or not rows_N.any() else self.label_N[rows_N]
        latents = None if self.latent_NM is None else self.latent_NM[rows_N]
        weights = None if self.weight_N is None else self.weight_N[rows_N]
        return Clustering(self.cluster_N[rows_N], labels, latents, self.seed, weights)


@dataclass(frozen=True)
class Metric:
    """One figure that judges a clustering."""

    name: str
    """Its key in metrics.json and in `--json`, and its name on the command line."""
    title: str
    """Its heading in the report."""
    explanation: str
    """Its meaning, for readers of the report: a phrase without a capital letter or a full stop."""
    compute: Callable[[Clustering], float | None]
    """Function that returns the figure, or None if it is undefined for the clustering."""
    higher_is_better: bool = True
    needs_labels: bool = True
    needs_latents: bool = False
    is_brief: bool = True
    """Whether the short table at the end of `deepmix train` has a column for it."""

    @property
    def best(self) -> Callable[[list[float]], float]:
        """The function that picks the best of several values."""
        return max if self.higher_is_better else min

    def suits(self, clustering: Clustering) -> bool:
        """Return whether a clustering has what the metric needs."""
        has_labels, has_latents = clustering.label_N is not None, clustering.latent_NM is not None
        return (has_labels or not self.needs_labels) and (has_latents or not self.needs_latents)


METRICS: dict[str, Metric] = {}
"""The declared metrics by name, in the order of every table."""


def declare(metric: Metric) -> Metric:
    """Add a metric to METRICS and return it.

    Raises:
        ValueError: another metric has its name.

    """
    if metric.name in METRICS:
        raise ValueError(f"a metric '{metric.name}' is already declared; give this one another name")
    METRICS[metric.name] = metric
    return metric


def measure(clustering: Clustering, scored_N: Array | None = None) -> dict[str, float | None]:
    """Return, by name, every metric for which a clustering has what it needs.

    Args:
        clustering: the clusters, and what they are judged by.
        scored_N: whether each row's label is known, (N,); metrics that need labels take only these rows. None means
            that every label is known.

    """
    labelled = clustering if scored_N is None else clustering.only(scored_N)
    scores = {}
    for name, metric in METRICS.items():
        judged = labelled if metric.needs_labels else clustering
        if metric.suits(judged):
            scores[name] = metric.compute(judged)
    return scores


def _accuracy(clustering: Clustering) -> float:
    from deepmix.metrics.scores import clustering_accuracy

    assert clustering.label_N is not None
    return clustering_accuracy(clustering.label_N, clustering.cluster_N, clustering.weight_N)


def _silhouette(clustering: Clustering) -> float | None:
    from deepmix.metrics.scores import silhouette

    assert clustering.latent_NM is not None
    return silhouette(clustering.latent_NM, clustering.cluster_N, clustering.seed, clustering.weight_N)


def _scikit_learn(score: str) -> Callable[[Clustering], float | None]:
    """Return a metric's `compute` that calls a function of `sklearn.metrics`, or its weighted form, on the clusters."""

    def compute(clustering: Clustering) -> float | None:
        if clustering.weight_N is not None:
            from deepmix.metrics.weighted import SCORES, contingency

            assert clustering.label_N is not None
            return SCORES[score](contingency(clustering.label_N, clustering.cluster_N, clustering.weight_N))
        from sklearn import metrics

        return float(getattr(metrics, score)(clustering.label_N, clustering.cluster_N))

    return compute


ACCURACY = declare(
    Metric(
        "acc",
        "accuracy",
        "fraction of the rows whose cluster stands for their label, clusters and labels matched one to one",
        _accuracy,
    )
)
declare(
    Metric(
        "nmi",
        "NMI",
        "normalised mutual information: how much cluster and label tell about each other, 0 to 1",
        _scikit_learn("normalized_mutual_info_score"),
    )
)
declare(
    Metric(
        "ari",
        "ARI",
        "adjusted Rand index: agreement with the labels on which pairs of rows belong together; chance is 0, best 1",
        _scikit_learn("adjusted_rand_score"),
    )
)
declare(
    Metric(
        "homogeneity",
        "homogeneity",
        "1 where each cluster holds rows of one label only",
        _scikit_learn("homogeneity_score"),
        is_brief=False,
    )
)
declare(
    Metric(
        "completeness",
        "completeness",
        "1 where all rows of a label are in one cluster",
        _scikit_learn("completeness_score"),
        is_brief=False,
    )
)
declare(
    Metric(
        "v_measure",
        "V-measure",
        "harmonic mean of homogeneity and completeness",
        _scikit_learn("v_measure_score"),
    )
)
SILHOUETTE = declare(
    Metric(
        "silhouette",
        "silhouette",
        "how far clusters lie apart in the latent space, -1 to 1; needs no labels",
        _silhouette,
        needs_labels=False,
        needs_latents=True,
    )
)
