"""Assignments to centres, and their targets, as pure functions; `deepmix.maths.values` has the legend of the shapes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def squared_distances(z_NM: Tensor, centre_KM: Tensor) -> Tensor:
    """Return each row's squared distance to each centre, (N, K)."""
    return (z_NM.unsqueeze(1) - centre_KM).square().sum(-1)


def student_t_log_q(squared_distance_NK: Tensor, freedom: float) -> Tensor:
    """Return log q(y|x), (N, K), of a Student's t kernel around each centre (DEC eq. 1).

        q_nk = (1 + |z_n - mu_k|^2 / alpha)^(-(alpha + 1) / 2) / sum_j (1 + |z_n - mu_j|^2 / alpha)^(-(alpha + 1) / 2)

    Args:
        squared_distance_NK: squared distances to the centres.
        freedom: alpha, the degrees of freedom.

    """
    return (-0.5 * (freedom + 1.0) * torch.log1p(squared_distance_NK / freedom)).log_softmax(-1)


def gaussian_log_q(squared_distance_NK: Tensor, variance: Tensor) -> Tensor:
    """Return log q(y|x), (N, K), of Gaussians of one variance and equal weights around the centres."""
    return (-0.5 * squared_distance_NK / variance).log_softmax(-1)


def log_frequencies(log_q_NK: Tensor, weight_N: Tensor | None = None) -> Tensor:
    """Return the logarithms of the soft frequencies of the clusters, f_k = sum_n q_nk, (K,) (DEC eq. 3).

    Args:
        log_q_NK: log q(y|x) of all training rows.
        weight_N: weights of the rows, with mean 1; None: all rows count alike.

    """
    weighted_NK = log_q_NK if weight_N is None else log_q_NK + weight_N.log().unsqueeze(-1)
    return weighted_NK.logsumexp(0)


def target_distribution(log_q_NK: Tensor, log_frequency_K: Tensor) -> Tensor:
    """Return the target distribution, (N, K): p_nk = (q_nk^2 / f_k) / sum_j (q_nj^2 / f_j) (DEC eq. 3).

    It is surer than q, and large clusters get less than small ones, so that they do not swallow them.
    """
    return (2.0 * log_q_NK - log_frequency_K).softmax(-1)


def cluster_means(z_NM: Tensor, cluster_N: Tensor, centre_KM: Tensor, weight_N: Tensor | None = None) -> Tensor:
    """Return the mean of each cluster's rows, (K, M), k-means' update; an empty cluster keeps its centre.

    Args:
        z_NM: the latents.
        cluster_N: the cluster of each row, int64 in [0, K).
        centre_KM: the centres so far.
        weight_N: weights of the rows; None: all rows count alike.

    """
    one_hot_NK = functional.one_hot(cluster_N, len(centre_KM)).to(z_NM.dtype)
    if weight_N is not None:
        one_hot_NK = one_hot_NK * weight_N.unsqueeze(-1)
    total_K1 = one_hot_NK.sum(0).unsqueeze(-1)
    return torch.where(total_K1 > 0.0, one_hot_NK.T @ z_NM / total_K1.where(total_K1 > 0.0, 1.0), centre_KM)
