"""Stick breaking with Kumaraswamy fractions (Nalisnick & Smyth 2017, "Stick-Breaking Variational Autoencoders").

A stick of length 1 is broken again and again: fraction v_k of what is left becomes piece k, whose length is

    pi_k = v_k prod_{j<k} (1 - v_j)

The posterior of each fraction is Kumaraswamy(a, b), whose samples are differentiable in a and b:

    q(v) = a b v^(a-1) (1 - v^a)^(b-1)        v = (1 - u^(1/b))^(1/a), u uniform in (0, 1)

Fractions are in log space, since lengths underflow. S is the number of fractions.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

MIN_SHAPE = 0.05
"""Least a and b, for which u^(1/b) does not underflow for most u."""

LEAST = 1e-6
"""Least distance of a probability from 0 and 1."""

FAR = -13.0
"""Below this x, log(1 - e^x) is -e^x in single precision; e^FAR is above LEAST."""

EULER = 0.5772156649015329

NODES, NODE_WEIGHTS = ((values / 2.0).tolist() for values in np.polynomial.legendre.leggauss(32))
"""Gauss-Legendre nodes, minus 1/2, and weights on (0, 1)."""


def shape_of(raw: Tensor) -> Tensor:
    """Return a positive a or b for a network's output."""
    return MIN_SHAPE + functional.softplus(raw)


def raw_of(shape: Tensor) -> Tensor:
    """Return the network's output for which `shape_of` returns this a or b."""
    return (shape - MIN_SHAPE).expm1().log()


def log1mexp(x: Tensor) -> Tensor:
    """Return log(1 - e^x) for negative x, accurate near 0 and far from it."""
    near = torch.log(-torch.expm1(x.clamp(-math.log(2.0), -LEAST)))
    far = torch.log1p(-torch.exp(x.clamp_max(-math.log(2.0))))
    return torch.where(x > -math.log(2.0), near, far)


def fractions_at(u: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return log v and log(1 - v) for uniform numbers u, which have the shape of a and b."""
    x = u.clamp(LEAST, 1.0 - LEAST).log() / b
    log_v = log1mexp(x) / a
    log_minus_log_v = torch.where(x < FAR, x, torch.log(-log1mexp(x.clamp_min(FAR)))) - a.log()
    rest = log1mexp(-torch.exp(log_minus_log_v.clamp_min(FAR)))
    return log_v, torch.where(log_minus_log_v < FAR, log_minus_log_v, rest)


def draw_fractions(a: Tensor, b: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Return log v and log(1 - v) of one sample; without a generator, of the mean of v."""
    if generator is None:
        return mean_fractions(a, b)
    return fractions_at(torch.rand(a.shape, generator=generator, device=a.device, dtype=a.dtype), a, b)


def mean_fractions(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return log E[v] and log(1 - E[v]), E[v] = b B(1 + 1/a, b)."""
    log_mean = b.log() + torch.lgamma(1.0 + 1.0 / a) + torch.lgamma(b) - torch.lgamma(1.0 + 1.0 / a + b)
    log_mean = log_mean.clamp_max(-LEAST)
    return log_mean, log1mexp(log_mean)


def piece_lengths(log_v_NS: Tensor, log_rest_NS: Tensor) -> Tensor:
    """Return the log lengths of the pieces and of what is left of the stick, (N, S + 1), for log v and log(1 - v)."""
    left = functional.pad(log_rest_NS.cumsum(-1), (1, 0))
    return left + functional.pad(log_v_NS, (0, 1))


def expected_log_rest(a: Tensor, b: Tensor) -> Tensor:
    """Return E[log(1 - v)], by quadrature over u.

    The paper sums the first ten terms of a series, which leaves out a tenth of it where a = b = 1. Here the part that
    grows without bound as u falls, (1/b) log u, is integrated exactly, to -1/b; the difference from it is smooth.
    """
    u = a.new_tensor(NODES).add(0.5).expand(*a.shape, -1)
    _, log_rest = fractions_at(u, a.unsqueeze(-1), b.unsqueeze(-1))
    smooth = log_rest - u.log() / b.unsqueeze(-1)
    return (a.new_tensor(NODE_WEIGHTS) * smooth).sum(-1) - 1.0 / b


def fraction_kl(a: Tensor, b: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """Return KL(Kumaraswamy(a, b) || Beta(alpha, beta)) of each fraction in nats (paper, appendix).

    KL = (a - alpha)/a (-gamma - psi(b) - 1/b) + log(a b) + log B(alpha, beta) - (b - 1)/b - (beta - 1) E[log(1 - v)]
    """
    log_beta = torch.lgamma(alpha) + torch.lgamma(beta) - torch.lgamma(alpha + beta)
    expected_log_v = (a - alpha) / a * (-EULER - torch.digamma(b) - 1.0 / b)
    constant = a.log() + b.log() + log_beta - (b - 1.0) / b
    return expected_log_v + constant - (beta - 1.0) * expected_log_rest(a, b)
