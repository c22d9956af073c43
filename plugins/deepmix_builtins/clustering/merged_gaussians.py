"""Clusters of any shape from a Gaussian mixture: more Gaussians than clusters, those that overlap most merged."""

from __future__ import annotations

import numpy as np

from deepmix.maths import Array

from .gaussians import WeightedGaussianMixture, regularization

EM_ITERATIONS = 200


def merged_gaussians(
    rows_ND: Array, n_clusters: int, n_gaussians: int, seed: int, weight_N: Array | None = None
) -> Array:
    """Fit M Gaussians and merge pairs until K clusters are left (DEMP, Hennig 2010).

    Each step merges the pair of clusters between which most rows are misclassified: the estimated probability that a
    row of one is assigned to the other, the larger of the two directions.

    Returns:
        (N,) int64 labels in [0, K).

    """
    mixture = WeightedGaussianMixture(
        n_gaussians,
        reg_covar=regularization(rows_ND, weight_N),
        n_init=2,
        random_state=seed,
        max_iter=EM_ITERATIONS,
    ).fit_rows(rows_ND, weight_N)
    prob_NC = mixture.predict_proba(rows_ND)
    weights = np.ones(len(rows_ND)) if weight_N is None else weight_N
    while prob_NC.shape[1] > n_clusters:
        assigned_NC = np.eye(prob_NC.shape[1])[prob_NC.argmax(axis=1)]
        mass_C = weights @ prob_NC
        leak_CC = (prob_NC * weights[:, None]).T @ assigned_NC / np.maximum(mass_C, 1e-12)[:, None]
        leak_CC = np.triu(np.maximum(leak_CC, leak_CC.T), k=1)
        first, second = np.unravel_index(leak_CC.argmax(), leak_CC.shape)
        if first == second:  # no pair leaks at all: the lightest cluster joins the next lightest
            first, second = np.sort(np.argsort(mass_C, kind="stable")[:2])
        prob_NC[:, first] += prob_NC[:, second]
        prob_NC = np.delete(prob_NC, second, axis=1)
    return prob_NC.argmax(axis=1).astype(np.int64)
