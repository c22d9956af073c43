"""A prior whose components lie on a ring, and scikit-learn's BIRCH as a clustering head."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import final

import torch
from sklearn.cluster import Birch
from torch import nn

from deepmix.contracts import Prior
from deepmix.errors import UsageError
from deepmix.maths import Dims, Gaussian, MixtureParameters


@dataclass(frozen=True)
class RingOptions:
    """Options of the ring prior; each field is a --set key."""

    radius: float = field(default=3.0, metadata={"help": "distance of the components from the origin"})

    def __post_init__(self) -> None:
        if self.radius <= 0.0:
            raise UsageError(f"radius must be above 0, got {self.radius}")


@final
class RingPrior(Prior):
    """K fixed unit Gaussians, evenly spaced on a ring in the first two latent dimensions; learned weights."""

    Options = RingOptions

    mean_KM: torch.Tensor

    def __init__(self, dims: Dims, options: RingOptions) -> None:
        super().__init__()
        angle_K = 2.0 * math.pi * torch.arange(dims.n_components) / dims.n_components
        mean_KM = torch.zeros(dims.n_components, dims.latent_dim)
        mean_KM[:, 0] = options.radius * angle_K.cos()
        if dims.latent_dim > 1:
            mean_KM[:, 1] = options.radius * angle_K.sin()
        self.register_buffer("mean_KM", mean_KM)
        self.logit_K = nn.Parameter(torch.zeros(dims.n_components))

    def forward(self) -> MixtureParameters:
        """Return the ring's components and the log softmax of the logits."""
        components = Gaussian(self.mean_KM, torch.zeros_like(self.mean_KM))
        return MixtureParameters(components, self.logit_K.log_softmax(0))

    @torch.no_grad()
    def place(self, components: Gaussian, weight_K: torch.Tensor) -> None:
        """Adopt the clusters' weights; the ring stays where it is."""
        self.logit_K.copy_(weight_K.log())


def make_birch() -> Birch:
    """Return BIRCH, to run on the latents: any estimator with scikit-learn's fit and predict can be a head."""
    return Birch()
