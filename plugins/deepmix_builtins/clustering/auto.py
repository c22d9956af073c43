"""The initial clustering `auto`: run many well-known methods, compare their clusters without labels, take the best.

On 35 tables of Gagolewski's benchmark suite the mean adjusted Rand index is 0.901; the best single method has 0.873 and
the best method of each table, by its labels, 0.955. All figures, and what else was tried, are in
`benchmarks/results/auto.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import numpy as np
from scipy import sparse
from sklearn.neighbors import KNeighborsClassifier

from deepmix.contracts import Initializer, TrainingRows
from deepmix.errors import UsageError
from deepmix.maths import Array

from .criteria import agreement_matrix, score_partitions, total_score
from .graph import CARRYING_NEIGHBOURS, GraphInitializer, GraphOptions
from .portfolio import cheap_methods, kmeans, layout_methods, run_methods

WIDE = 50
"""Above this many columns the clusters are those of `graph`. Among so many columns distances hardly differ, and most of
the methods here see no gaps; on images the layouts of `graph` are better (`benchmarks/results/auto.md`)."""

FEW_COLUMNS = 3
"""Up to this many columns a layout in two dimensions shows nothing that the rows don't."""

AGREED = 0.95
"""Mean adjusted Rand index with the other partitions above which no layout is computed."""


@dataclass(frozen=True)
class AutoOptions:
    """Options of the initial clustering that compares methods."""

    max_rows: int = field(
        default=3000, metadata={"help": "rows that are clustered; the others take their neighbours' label"}
    )
    layouts: bool = field(
        default=True,
        metadata={"help": "whether t-SNE layouts are tried too where there are over 3 columns and methods disagree"},
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
    """Values by method and criterion: `cut`, `gap`, `likelihood`, `agreement`, and `total`, which decided."""
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
        """Return the labels of the best partition; rows beyond `max_rows` take their neighbours' label."""
        self.choice = None
        if rows.x_ND.shape[1] > WIDE:
            return GraphInitializer(GraphOptions()).initial_labels(rows, n_components, seed)
        x_ND = rows.x_ND.toarray() if sparse.issparse(rows.x_ND) else rows.x_ND
        features = np.asarray(x_ND, dtype=np.float64)
        n_rows, max_rows = len(features), max(self.options.max_rows, 2 * n_components)
        chosen = np.arange(n_rows)
        if n_rows > max_rows:
            chosen = np.sort(np.random.default_rng(seed).choice(n_rows, max_rows, replace=False))
        labels = self._labels(
            features[chosen], None if rows.weight_N is None else rows.weight_N[chosen], n_components, seed, chosen
        )
        if len(chosen) == n_rows:
            return labels
        neighbours = KNeighborsClassifier(CARRYING_NEIGHBOURS).fit(features[chosen], labels)
        carried = neighbours.predict(features).astype(np.int64)
        carried[chosen] = labels
        return carried

    def _labels(self, features: Array, weight_N: Array | None, n_components: int, seed: int, chosen: Array) -> Array:
        """Return the best partition of these rows and set `choice`."""
        distinct, copy_N = np.unique(features, axis=0, return_inverse=True)
        if len(distinct) <= n_components or n_components == 1:
            return (copy_N.ravel() % n_components).astype(np.int64)
        partitions = run_methods(cheap_methods(features, n_components, seed, weight_N), n_components)
        agreement_PP = agreement_matrix(list(partitions.values()))
        disagree = not partitions or agreement_PP.mean(axis=1).max() < AGREED
        if self.options.layouts and features.shape[1] > FEW_COLUMNS and disagree:
            partitions |= run_methods(layout_methods(features, n_components, seed), n_components)
        if not partitions:
            return kmeans(features, n_components, seed, weight_N).astype(np.int64)
        names, labels = list(partitions), list(partitions.values())
        criteria = score_partitions(features, labels, seed, weight_N)
        criteria["total"] = total_score(criteria)
        best = int(criteria["total"].argmax())
        self.choice = Choice(
            method=names[best],
            row_M=chosen,
            label_M=partitions,
            criteria={n: {c: float(value_P[i]) for c, value_P in criteria.items()} for i, n in enumerate(names)},
            agreement=dict(zip(names, agreement_matrix(labels)[best].tolist(), strict=True)),
        )
        return labels[best]
