"""The initial clustering `auto`: run many well-known methods, compare their clusters without labels, take the best.

On 35 tables of Gagolewski's benchmark suite the mean adjusted Rand index is 0.914, and 0.891 on the 85 % of the rows
that a run trains on; the best single method has 0.873 and the best method of each table, by its labels, 0.955. All
figures, and what else was tried, are in `benchmarks/results/auto.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import final

import numpy as np
from sklearn.metrics import pairwise_distances_argmin
from sklearn.neighbors import KNeighborsClassifier

from deepmix.contracts import Initializer, TrainingRows
from deepmix.data import narrow
from deepmix.errors import UsageError
from deepmix.maths import Array

from .criteria import FEW_COLUMNS, SIMPLEST_METHOD, agreement_matrix, deciding_partition, score_partitions, total_score
from .gaussian_check import COVARIANCES, gaussian_clusters, likelier_mixture
from .gaussians import fit_mixture
from .graph import CARRYING_NEIGHBOURS, GraphInitializer, GraphOptions
from .judgement import totals_beside_methods
from .portfolio import cheap_methods, costs, kmeans, layout_methods, quick_methods, run_methods

WIDE = 50
"""Above this many columns the clusters are those of `graph`, unless quick methods agree. Among so many columns
distances hardly differ, and most of the methods here see no gaps; on images the layouts of `graph` are better
(`benchmarks/results/auto.md`)."""

AGREED = 0.95
"""Adjusted Rand index with the other partitions above which no layout is computed: on average, or for wide rows the
least of all pairs."""

JUDGED_ROWS = 1000
"""Rows that are looked at where the clusters of a finished run are judged; that takes a second."""

FEWEST_AGREEING = 3
"""Methods that must agree on the clusters of wide rows."""

GAUSSIANS, GAUSSIANS_COST = "whether clusters are Gaussians", 20.0
CRITERIA, CRITERIA_COST = "criteria", 12.0
"""The names of two steps and their durations relative to that of k-means."""

QUICK_FRACTION = 0.05
"""Fraction of the time of `graph` that the quick methods take before it."""


@dataclass(frozen=True)
class AutoOptions:
    """Options of the initial clustering that compares methods."""

    max_rows: int = field(
        default=3000,
        metadata={
            "help": "rows that are clustered; centres or Gaussians, where those of k-means or a mixture are chosen, "
            "assign the others, else the nearest rows vote"
        },
    )
    layouts: bool = field(
        default=True,
        metadata={
            "help": "whether t-SNE layouts are tried too where there are over 3 columns, methods disagree, and "
            "the clusters are not Gaussians"
        },
    )

    def __post_init__(self) -> None:
        if self.max_rows < 2:
            raise UsageError(f"max_rows must be at least 2, got {self.max_rows}")


@dataclass(frozen=True)
class Choice:
    """What was compared and what was chosen."""

    method: str
    """The method whose clusters were chosen."""
    row_M: Array
    """Numbers of the rows that were clustered, (M,), ascending."""
    label_M: Mapping[str, Array]
    """The labels of those rows, (M,) int64 in [0, K), by method."""
    criteria: Mapping[str, Mapping[str, float]]
    """Values by method and criterion: `cut`, `gap`, `likelihood`, `agreement`, and `total`, which decided.

    Where the clusters are Gaussians there is also `gaussian`: 1 for the mixture that describes them, else 0; where
    the methods disagree, `simplest`: 1 for k-means.
    """
    agreement: Mapping[str, float]
    """Adjusted Rand index of each method's clusters with the chosen ones."""

    def summary(self) -> dict[str, object]:
        """Return the choice for a record of the run: numbers and names only, best method first."""
        order = sorted(self.criteria, key=lambda name: -self.criteria[name]["total"])
        methods = {name: {**self.criteria[name], "agreement_with_chosen": self.agreement[name]} for name in order}
        return {"method": self.method, "n_rows": len(self.row_M), "methods": methods}


@final
class AutoInitializer(Initializer):
    """Compare the clusters of many methods without labels and take the best: k-means, mixtures, spectral, linkage."""

    Options = AutoOptions

    choice: Choice | None = None
    """What the last call of `initial_labels` chose from; None before, and where the rows left no choice."""

    def __init__(self, options: AutoOptions) -> None:
        self.options = options

    def initial_labels(self, rows: TrainingRows, n_components: int, seed: int) -> Array:
        """Return the labels of the best partition, which also assigns the rows beyond `max_rows`."""
        self.choice = None
        wide = rows.x_ND.shape[1] > WIDE
        features = narrow(rows.x_ND, seed).astype(np.float64)
        n_rows, max_rows = len(features), max(self.options.max_rows, 2 * n_components)
        subset = np.arange(n_rows)
        if n_rows > max_rows:
            subset = np.sort(np.random.default_rng(seed).choice(n_rows, max_rows, replace=False))
        sample = replace(rows, x_ND=features).only(subset)
        choose = self._agreed_labels if wide else self._labels
        labels = choose(sample, n_components, seed, subset)
        if labels is None:
            rest = replace(rows, progress=rows.progress.part(QUICK_FRACTION, 1.0))
            return GraphInitializer(GraphOptions()).initial_labels(rest, n_components, seed)
        if len(subset) == n_rows:
            return labels
        label_N = self._extended(features, sample.x_ND, labels, sample.weight_N)
        label_N[subset] = labels
        return label_N

    def judge(
        self, rows: TrainingRows, partitions: Mapping[str, Array], n_components: int, seed: int
    ) -> dict[str, float]:
        """Return the total of further partitions of the rows, by name; larger is better, among these partitions.

        At most JUDGED_ROWS rows are looked at, without layouts. Empty where the rows have so many columns that methods
        are not compared, or leave no choice; partitions with another number of clusters than K are left out.
        """
        if rows.x_ND.shape[1] > WIDE or n_components < 2:
            return {}
        features = narrow(rows.x_ND, seed).astype(np.float64)
        subset = np.arange(len(features))
        if len(subset) > JUDGED_ROWS:
            subset = np.sort(np.random.default_rng(seed).choice(len(subset), JUDGED_ROWS, replace=False))
        if len(np.unique(features[subset], axis=0)) <= n_components:
            return {}
        weight_M = None if rows.weight_N is None else rows.weight_N[subset]
        label_M = {name: np.unique(label_N[subset], return_inverse=True)[1] for name, label_N in partitions.items()}
        judged = {name: labels for name, labels in label_M.items() if labels.max() + 1 == n_components}
        return totals_beside_methods(features[subset], judged, n_components, seed, weight_M) if judged else {}

    def _extended(self, features: Array, clustered: Array, label_M: Array, weight_M: Array | None) -> Array:
        """Return the clusters of all rows, (N,) int64: k-means and mixtures assign them, else the nearest rows vote."""
        method, n_clusters = "" if self.choice is None else self.choice.method, int(label_M.max()) + 1
        if method == SIMPLEST_METHOD:
            masses = np.ones(len(label_M)) if weight_M is None else weight_M
            one_hot_MK = np.eye(n_clusters)[label_M] * masses[:, None]
            centre_KD = one_hot_MK.T @ clustered / one_hot_MK.sum(axis=0)[:, None]
            return pairwise_distances_argmin(features, centre_KD).astype(np.int64)
        for covariance in COVARIANCES:
            if method == f"gmm-{covariance}":
                mixture = fit_mixture(clustered, label_M, n_clusters, covariance, weight_M)
                return np.asarray(mixture.predict(features), dtype=np.int64)
        neighbours = KNeighborsClassifier(CARRYING_NEIGHBOURS).fit(clustered, label_M)
        return np.asarray(neighbours.predict(features), dtype=np.int64)

    def _agreed_labels(self, rows: TrainingRows, n_components: int, seed: int, number_M: Array) -> Array | None:
        """Return the clusters that quick methods of three kinds agree on, and set `choice`; None where they do not."""
        methods = quick_methods(rows.x_ND, n_components, seed, rows.weight_N)
        begin = rows.progress.part(0.0, QUICK_FRACTION).steps(costs(methods))
        partitions = run_methods(methods, n_components, begin)
        labels = list(partitions.values())
        agreement_PP = agreement_matrix(labels)
        if len(partitions) < FEWEST_AGREEING or agreement_PP.min() < AGREED:
            return None
        agreement_P = agreement_PP.mean(axis=1)
        return self._chosen(partitions, {"agreement": agreement_P, "total": agreement_P}, number_M)

    def _labels(self, rows: TrainingRows, n_components: int, seed: int, number_M: Array) -> Array:
        """Return the best partition of these rows and set `choice`."""
        features, weight_N = rows.x_ND, rows.weight_N
        distinct, copy_N = np.unique(features, axis=0, return_inverse=True)
        if len(distinct) <= n_components or n_components == 1:
            return (copy_N.ravel() % n_components).astype(np.int64)
        cheap = cheap_methods(features, n_components, seed, weight_N)
        with_layouts = self.options.layouts and features.shape[1] > FEW_COLUMNS
        layouts = layout_methods(features, n_components, seed) if with_layouts else {}
        begin = rows.progress.steps(
            {**costs(cheap), GAUSSIANS: GAUSSIANS_COST, **costs(layouts), CRITERIA: CRITERIA_COST}
        )
        partitions = run_methods(cheap, n_components, begin)
        agreement_PP = agreement_matrix(list(partitions.values()))
        disagree = not partitions or agreement_PP.mean(axis=1).max() < AGREED
        begin(GAUSSIANS)
        covariance = gaussian_clusters(features, n_components, seed, weight_N)
        if covariance is not None and (name := f"gmm-{covariance}") in partitions:
            agreed = list(partitions.values())[int(agreement_PP.mean(axis=1).argmax())]
            partitions[name] = likelier_mixture(features, partitions[name], agreed, n_components, covariance, weight_N)
        if disagree and covariance is None:
            partitions |= run_methods(layouts, n_components, begin)
        if not partitions:
            return kmeans(features, n_components, seed, weight_N).astype(np.int64)
        names, labels = list(partitions), list(partitions.values())
        begin(CRITERIA)
        criteria = score_partitions(features, labels, seed, weight_N)
        if (decides := deciding_partition(names, criteria, covariance, features.shape[1])) is not None:
            criteria[decides[0]] = np.eye(len(names))[decides[1]]
        return self._chosen(partitions, {**criteria, "total": total_score(criteria)}, number_M)

    def _chosen(self, partitions: Mapping[str, Array], criteria: Mapping[str, Array], number_M: Array) -> Array:
        """Return the partition with the largest total and set `choice`."""
        names, labels = list(partitions), list(partitions.values())
        best = int(criteria["total"].argmax())
        self.choice = Choice(
            method=names[best],
            row_M=number_M,
            label_M=partitions,
            criteria={n: {c: float(value_P[i]) for c, value_P in criteria.items()} for i, n in enumerate(names)},
            agreement=dict(zip(names, agreement_matrix(labels)[best].tolist(), strict=True)),
        )
        return labels[best]
