"""Random numbers that come from a generator, which torch.distributions does not take."""

from __future__ import annotations

import torch
from torch import Tensor


def standard_normal(like: Tensor, generator: torch.Generator) -> Tensor:
    """Return N(0, 1) noise with the shape, type and device of a tensor."""
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)


def standard_gamma(shape: Tensor, generator: torch.Generator) -> Tensor:
    """Return draws of Gamma(shape, 1), exact for every shape above 0 (Marsaglia & Tsang 2000, in torch's own kernel).

    `torch.distributions.Gamma` calls the same function, but without a generator.
    """
    return torch._standard_gamma(shape, generator=generator)
