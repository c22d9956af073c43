"""The formulas of a mixture: assignment weights, their KL term and the moments of a clustering."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from deepmix.maths.values import Gaussian

MIN_COMPONENT_VARIANCE = 1e-3
"""Floor of a prior component's variance when it is placed; the codes have variance 1."""


def at_least_float32(tensor: Tensor) -> Tensor:
    """Convert a network's half-precision output to float32; densities are never computed in lower precision."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def assignment_weights(log_q_NK: Tensor, assignment: str) -> Tensor:
    """Return q(y|x) for soft assignment, or 1 on its largest component for hard assignment (k-DVAE eq. 5)."""
    if assignment == "soft":
        return log_q_NK.exp()
    return one_hot_like(log_q_NK.argmax(-1), log_q_NK)


def one_hot_like(number_N: Tensor, like_NK: Tensor) -> Tensor:
    """Return 1 in the column of each row's number and 0 elsewhere, (N, K), with the dtype of `like_NK`.

    The numbers are not checked, as torch's `one_hot` does, which would read them back to the host.
    """
    return torch.zeros_like(like_NK).scatter(-1, number_N.unsqueeze(-1), 1.0)


def draw_component(log_q_NK: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return a component of each row drawn from q(y|x), (N,) int64; without a generator, the most probable one."""
    if generator is None:
        return log_q_NK.argmax(-1)
    return torch.multinomial(log_q_NK.exp(), 1, generator=generator)[:, 0]


def drop_negligible(weight_NK: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Return the weights, with those below the threshold set to 0 and renormalised, and the dropped mass, (N,).

    The weights still form a distribution over y, so the ELBO with them is still a lower bound. The largest
    weight of a row is always kept, and at most (K - 1) * threshold is dropped.
    """
    if threshold == 0.0:
        return weight_NK, weight_NK.new_zeros(len(weight_NK))
    largest_N1 = weight_NK.amax(-1, keepdim=True)
    sparse_NK = weight_NK.where(weight_NK >= torch.clamp(largest_N1, max=threshold), 0.0)
    mass_N1 = sparse_NK.sum(-1, keepdim=True)
    return sparse_NK / mass_N1, (1.0 - mass_N1.squeeze(-1)).clamp_min(0.0)


def categorical_kl(weight_NK: Tensor, log_weight_K: Tensor) -> Tensor:
    """Return KL(q(y|x) || p(y)), shape (N,); components of weight 0 contribute 0 (VaDE eq. 12)."""
    log_ratio_NK = torch.log(weight_NK.where(weight_NK > 0.0, 1.0)) - log_weight_K
    return (weight_NK * log_ratio_NK.where(weight_NK > 0.0, 0.0)).sum(-1)


def weighted_mean_and_spread(z_NM: Tensor, weight_N: Tensor | None, floor: float) -> tuple[Tensor, Tensor]:
    """Return the mean and the standard deviation of each dimension, (M,) each, the latter at least `floor`.

    Weights have mean 1 and count rows: with whole weights the result is that of the rows repeated.
    """
    if weight_N is None:
        return z_NM.mean(0), z_NM.std(0).clamp_min(floor)
    mean_M = (weight_N.unsqueeze(-1) * z_NM).mean(0)
    squares_M = (weight_N.unsqueeze(-1) * (z_NM - mean_M).square()).sum(0)
    return mean_M, (squares_M / (len(z_NM) - 1)).sqrt().clamp_min(floor)


def without_noise(label_N: Tensor, rows_ND: Tensor, weight_N: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the labels, rows and weights without noise, the rows with the label -1; the weights have mean 1 again.

    Raises:
        ValueError: every row is noise.

    """
    in_cluster_N = label_N >= 0
    if bool(in_cluster_N.all()):
        return label_N, rows_ND, weight_N
    if not bool(in_cluster_N.any()):
        raise ValueError("every row is noise: there is no cluster to start from")
    weights = None if weight_N is None else weight_N[in_cluster_N] / weight_N[in_cluster_N].mean()
    return label_N[in_cluster_N], rows_ND[in_cluster_N], weights


def cluster_moments(
    z_NM: Tensor, labels_N: Tensor, n_components: int, weight_N: Tensor | None = None
) -> tuple[Gaussian, Tensor]:
    """Return the mean and log-variance (K, M) of each cluster's latents and its weight (K,).

    An empty cluster gets the moments of all rows; one row is added to each weight, so that none is 0. `weight_N` are
    weights of the rows, with mean 1. Rows with the label -1, noise, are in no cluster and count nowhere.
    """
    labels_N, z_NM, weight_N = without_noise(labels_N, z_NM, weight_N)
    one_hot_NK = functional.one_hot(labels_N, n_components).to(z_NM.dtype)
    if weight_N is not None:
        one_hot_NK = one_hot_NK * weight_N.to(z_NM.dtype).unsqueeze(-1)
    count_K1 = one_hot_NK.sum(0).unsqueeze(-1)
    filled_K1 = torch.where(count_K1 > 0, count_K1, 1.0)
    mean_KM = torch.where(count_K1 > 0, one_hot_NK.T @ z_NM / filled_K1, z_NM.mean(0))
    second_KM = torch.where(count_K1 > 0, one_hot_NK.T @ z_NM.square() / filled_K1, z_NM.square().mean(0))
    variance_KM = (second_KM - mean_KM.square()).clamp_min(MIN_COMPONENT_VARIANCE)
    weight_K = (count_K1.squeeze(-1) + 1.0) / (len(z_NM) + n_components)
    return Gaussian(mean_KM, variance_KM.log()), weight_K


def neighbour_votes(label_N: Tensor, neighbours_NJ: Tensor, n_components: int) -> Tensor:
    """Return each row's soft label, (N, K): half is its own label, half are the votes of its J neighbours."""
    one_hot_NK = functional.one_hot(label_N, n_components).float()
    return 0.5 * one_hot_NK + 0.5 * one_hot_NK[neighbours_NJ].mean(1)
