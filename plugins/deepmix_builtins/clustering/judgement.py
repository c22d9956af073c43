"""What `auto` would say of further clusters of the rows, such as those of a finished run, beside its own methods'."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from deepmix.maths import Array

from .criteria import agreement_matrix, deciding_partition, score_alone, score_partitions, total_score
from .gaussian_check import gaussian_clusters
from .portfolio import FEW_STARTS, cheap_methods, run_methods

FEWEST_METHODS = 5
"""Methods that must find K clusters, or there is nothing to compare with."""


def totals_beside_methods(
    rows_ND: Array, partitions: Mapping[str, Array], n_clusters: int, seed: int, weight_N: Array | None = None
) -> dict[str, float]:
    """Return the total of each partition on the scale of the methods' partitions, by name; empty without a scale.

    No partition votes for itself: its agreement is that with the methods' partitions.

    Args:
        rows_ND: the rows, dense float64.
        partitions: their labels, (N,) in [0, K), by name.
        n_clusters: K.
        seed: starts the methods, and draws folds and rows.
        weight_N: the rows' weights.

    """
    methods = run_methods(cheap_methods(rows_ND, n_clusters, seed, weight_N, FEW_STARTS), n_clusters)
    if len(methods) < FEWEST_METHODS:
        return {}
    own, others = list(partitions.values()), list(methods.values())
    criteria, among = score_alone(rows_ND, own, seed, weight_N), score_partitions(rows_ND, others, seed, weight_N)
    agreement_PQ = agreement_matrix([*own, *others])[: len(own), len(own) :]
    criteria["agreement"] = agreement_PQ.mean(axis=1)
    covariance = gaussian_clusters(rows_ND, n_clusters, seed, weight_N)
    if (decides := deciding_partition(list(methods), among, covariance, rows_ND.shape[1])) is not None:
        name, number = decides
        criteria[name], among[name] = agreement_PQ[:, number], np.eye(len(others))[number]
    return dict(zip(partitions, total_score(criteria, among).tolist(), strict=True))
