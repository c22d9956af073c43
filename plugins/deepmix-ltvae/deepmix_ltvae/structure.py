"""Learning which latent dimensions belong to which facet, and the tree of the facets, from an initial clustering."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn import functional

from deepmix.maths import cluster_moments

from .tree import LOG_2PI

MIN_VARIANCE = 1e-3
"""Floor of a state's variances; the latents have variance 1."""

EM_STEPS, EM_TOLERANCE = 50, 1e-4
"""EM stops after so many steps, or when a step adds less to the log-likelihood, in nats per row."""


@dataclass(frozen=True)
class Facet:
    """A discrete variable, its states' Gaussians, and the rows' probabilities of being in them."""

    dimensions: list[int]
    mean_SG: Tensor
    variance_SG: Tensor
    r_NS: Tensor


@dataclass(frozen=True)
class Rows:
    """Latents with the initial clusters, none of which is noise, and weights of mean 1."""

    z_NM: Tensor
    label_N: Tensor
    weight_N: Tensor
    n_clusters: int

    @property
    def one_hot_NK(self) -> Tensor:
        """The clusters as 0 and 1."""
        return functional.one_hot(self.label_N, self.n_clusters).to(self.z_NM.dtype)


def learn_facets(rows: Rows, n_facets: int, n_states: int) -> list[Facet]:
    """Return the facets: first that of the clusters, then those that greedy search adds.

    All dimensions start in the facet of the clusters. A candidate is the pair of dimensions that is most correlated
    within the clusters, where a facet of Gaussians with diagonal covariances has no correlation; it grows by the most
    correlated dimension while that raises the BIC of the tree, and is taken if the BIC rises at all (the greedy search
    of Liu et al. 2015, with the clusters as the first island).

    Args:
        rows: the latents and their clusters.
        n_facets: the most facets.
        n_states: the most states of a facet other than the first.

    """
    moments, _ = cluster_moments(rows.z_NM, rows.label_N, rows.n_clusters, rows.weight_N)
    residual_NM = (rows.z_NM - moments.mean[rows.label_N]) * (-0.5 * moments.log_var[rows.label_N]).exp()
    correlation_MM = (residual_NM.mT @ (rows.weight_N[:, None] * residual_NM)).abs() / len(residual_NM)
    correlation_MM.fill_diagonal_(0.0)
    rest = list(range(rows.z_NM.shape[1]))
    others: list[Facet] = []
    while len(others) < n_facets - 1 and len(rest) > 2:
        facet = _candidate(rows, correlation_MM, rest, n_states)
        if facet is None:
            break
        others.append(facet)
        rest = [m for m in rest if m not in facet.dimensions]
    first = Facet(rest, moments.mean[:, rest], moments.log_var[:, rest].exp(), rows.one_hot_NK)
    return [first, *others]


def _candidate(rows: Rows, correlation_MM: Tensor, rest: Sequence[int], n_states: int) -> Facet | None:
    """Return the facet that takes dimensions from the clusters' facet; None if none raises the BIC."""
    place = int(correlation_MM[rest][:, rest].argmax())
    group = [rest[place // len(rest)], rest[place % len(rest)]]
    facet, gain = _best(rows, group, n_states)
    while len(group) < len(rest) - 1:
        outside = [m for m in rest if m not in group]
        nearest = outside[int(correlation_MM[outside][:, group].mean(1).argmax())]
        larger, larger_gain = _best(rows, [*group, nearest], n_states)
        if larger_gain <= gain:
            break
        group, facet, gain = [*group, nearest], larger, larger_gain
    return facet if gain > 0.0 else None


def _best(rows: Rows, group: list[int], n_states: int) -> tuple[Facet, float]:
    """Return the facet of the dimensions whose number of states has the largest BIC, and its gain, in nats."""
    sizes = sorted({min(2**power, n_states) for power in range(1, n_states.bit_length() + 1)})
    fitted = [_fit(rows, group, size) for size in sizes]
    best = max(range(len(sizes)), key=lambda index: fitted[index][1])
    return fitted[best][0], fitted[best][1] - _direct_bic(rows, group)


def _log_densities(z_NG: Tensor, mean_SG: Tensor, variance_SG: Tensor) -> Tensor:
    """Return log N(z; mean_s, variance_s), (N, S)."""
    square_NSG = (z_NG[:, None] - mean_SG).square() / variance_SG
    return -0.5 * (LOG_2PI + variance_SG.log() + square_NSG).sum(-1)


def _direct_bic(rows: Rows, group: list[int]) -> float:
    """Return the BIC of the dimensions given the clusters, in nats, half of its usual scale; the larger, the better."""
    z_NG = rows.z_NM[:, group]
    moments, _ = cluster_moments(z_NG, rows.label_N, rows.n_clusters, rows.weight_N)
    log_NK = _log_densities(z_NG, moments.mean, moments.log_var.exp())
    log_N = log_NK.gather(1, rows.label_N[:, None])[:, 0]
    return _bic(float((rows.weight_N * log_N).sum()), 2 * rows.n_clusters * len(group), len(z_NG))


def _bic(log_likelihood: float, n_parameters: int, n_rows: int) -> float:
    return log_likelihood - 0.5 * n_parameters * float(torch.tensor(float(n_rows)).log())


def _fit(rows: Rows, group: list[int], n_states: int) -> tuple[Facet, float]:
    """Fit a facet whose parent is that of the clusters, by EM from k-means; return it and its BIC, in nats.

    p(z | cluster k) = sum_s p(s | k) prod_g N(z_g; mean[s, g], variance[s, g])
    """
    z_NG = rows.z_NM[:, group]
    points, weights = z_NG.cpu().numpy(), rows.weight_N.cpu().numpy()
    n_states = min(n_states, len(np.unique(points, axis=0)))
    start = KMeans(n_states, n_init=1, random_state=0).fit(points, sample_weight=weights).labels_
    r_NS = functional.one_hot(torch.as_tensor(start, dtype=torch.long), n_states).to(z_NG)
    previous = -torch.inf
    for _ in range(EM_STEPS):
        counted_NS = rows.weight_N[:, None] * r_NS
        count_S1 = counted_NS.sum(0).clamp_min(MIN_VARIANCE)[:, None]
        mean_SG = counted_NS.mT @ z_NG / count_S1
        variance_SG = (counted_NS.mT @ z_NG.square() / count_S1 - mean_SG.square()).clamp_min(MIN_VARIANCE)
        log_KS = transition(rows.one_hot_NK, counted_NS).log()
        log_NS = log_KS[rows.label_N] + _log_densities(z_NG, mean_SG, variance_SG)
        log_likelihood = float((rows.weight_N * log_NS.logsumexp(1)).sum())
        r_NS = log_NS.softmax(1)
        if log_likelihood - previous < EM_TOLERANCE * len(z_NG):
            break
        previous = log_likelihood
    n_parameters = 2 * n_states * len(group) + rows.n_clusters * (n_states - 1)
    return Facet(group, mean_SG, variance_SG, r_NS), _bic(log_likelihood, n_parameters, len(z_NG))


def transition(parent_NS: Tensor, child_NS: Tensor) -> Tensor:
    """Return p(child's state | parent's state), (S, S'), from the rows' probabilities; each state gets one more row."""
    joint_SS = parent_NS.mT @ child_NS + 1.0 / child_NS.shape[1]
    return joint_SS / joint_SS.sum(1, keepdim=True)


def mutual_information(one_NS: Tensor, other_NS: Tensor, weight_N: Tensor) -> float:
    """Return the mutual information of two facets in nats, from the rows' probabilities."""
    joint_SS = one_NS.mT @ (weight_N[:, None] * other_NS) / weight_N.sum()
    apart_SS = joint_SS.sum(1, keepdim=True) * joint_SS.sum(0, keepdim=True)
    return float(torch.special.xlogy(joint_SS, joint_SS / apart_SS.clamp_min(torch.finfo(apart_SS.dtype).tiny)).sum())


def tree_order(facets: Sequence[Facet], weight_N: Tensor) -> tuple[list[int], list[int]]:
    """Return the order of the facets, each after its parent, and each one's parent as a place in that order.

    The tree is that of Chow and Liu (1968): the spanning tree of the largest mutual information, by Prim's algorithm
    from the facet of the clusters, whose parent is given as 0.
    """
    order, parents = [0], [0]
    while len(order) < len(facets):
        information = {
            (place, other): mutual_information(facets[order[place]].r_NS, facets[other].r_NS, weight_N)
            for place in range(len(order))
            for other in range(len(facets))
            if other not in order
        }
        place, other = max(information, key=lambda pair: information[pair])
        order.append(other)
        parents.append(place)
    return order, parents
