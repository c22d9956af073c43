"""Exact inference in a tree of discrete variables with Gaussian leaves (a pouch latent tree model, Poon et al. 2010).

Variable f of the tree, a facet, has states s. Facet 0 is the root; the others come after their parents. Each latent
dimension is a leaf of one facet, and is Gaussian given that facet's state:

    p(z) = sum_y p(y_0) prod_{f > 0} p(y_f | y_pa(f)) prod_m N(z_m; mean[y_f(m), m], var[y_f(m), m])

Shape legend, in addition to that of `deepmix.maths.values`: F facets, S states (facets with fewer have transitions of
probability 0 into the rest).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOG_2PI = math.log(2.0 * math.pi)


def leaf_scores(z: Tensor, variance: Tensor | None, mean_SM: Tensor, log_var_SM: Tensor, facet_FM: Tensor) -> Tensor:
    """Return the log-density of each facet's dimensions in each of its states, in nats, (..., F, S).

    Args:
        z: latents, (..., M).
        variance: None; or variances of z, (..., M): the result is then the expected log-density for N(z, variance).
        mean_SM: means of each dimension in the states of its facet.
        log_var_SM: log-variances.
        facet_FM: 1 where a dimension belongs to the facet, else 0.

    """
    square = (z.unsqueeze(-2) - mean_SM).square()
    if variance is not None:
        square = square + variance.unsqueeze(-2)
    each = -0.5 * (LOG_2PI + log_var_SM + square * torch.exp(-log_var_SM))
    sums = [(each * own_M).sum(-1) for own_M in facet_FM]  # no matrix product, which autocast would do in bfloat16
    return torch.stack(sums, dim=-2)


def messages(score_FS: Tensor, log_transition_FSS: Tensor, parent_FF: Tensor) -> Tensor:
    """Return log p(z below facet f | y_f = s), in nats, (..., F, S), by messages from the leaves to the root.

        total_f(s) = score_f(s) + sum over children c of log sum_s' p(y_c = s' | y_f = s) exp total_c(s')

    Args:
        score_FS: the result of `leaf_scores`.
        log_transition_FSS: log p(y_f = s' | y_pa(f) = s), (F, S, S); the entry of the root is not used.
        parent_FF: 1 in row f at its parent, whose number is smaller; the root's row is 0.

    """
    total_FS = score_FS
    for facet in range(parent_FF.shape[0] - 1, 0, -1):
        message_S = torch.logsumexp(log_transition_FSS[facet] + total_FS[..., facet, None, :], dim=-1)
        total_FS = total_FS + parent_FF[facet, :, None] * message_S.unsqueeze(-2)
    return total_FS


def marginals(total_FS: Tensor, log_root_S: Tensor, log_transition_FSS: Tensor, parent_FF: Tensor) -> Tensor:
    """Return log p(y_f = s | z), (..., F, S), by messages from the root to the leaves.

    p(y_f = s' | z) = sum_s p(y_pa = s | z) p(y_f = s' | y_pa = s) exp total_f(s') / exp message_f(s)

    Args:
        total_FS: the result of `messages`.
        log_root_S: log p(y_0 = s).
        log_transition_FSS: as for `messages`.
        parent_FF: as for `messages`.

    """
    facets = [torch.log_softmax(log_root_S + total_FS[..., 0, :], dim=-1)]
    for facet in range(1, parent_FF.shape[0]):
        parent = int(parent_FF[facet].argmax())
        log_child_SS = torch.log_softmax(log_transition_FSS[facet] + total_FS[..., facet, None, :], dim=-1)
        facets.append(torch.logsumexp(facets[parent].unsqueeze(-1) + log_child_SS, dim=-2))
    return torch.stack(facets, dim=-2)
