"""Frozen, typed values with named axes, which the interfaces exchange.

Shape legend, used throughout the project:
    N rows of data        D features of a row      K mixture components
    M latent dimensions   L Monte-Carlo samples    H encoder heads (K, or 1 when shared)
    R packed rows         P decoder outputs per row
Log-probabilities and divergences are in nats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deepmix.maths.formulas import reparameterise

Array = npt.NDArray[Any]
"""A dense NumPy array."""


@dataclass(frozen=True)
class Dims:
    """The sizes from which every part of a model is built."""

    n_features: int
    """D, the width of an encoder's input: the columns of an array; the features, flags and conditions of a table."""
    n_outputs: int
    """P, outputs of the decoder per row, which the likelihood takes: for an array, D means, for example."""
    n_components: int
    """K, mixture components."""
    n_heads: int
    """H, encoder heads: K, or 1 where all components share one latent."""
    latent_dim: int
    """M, latent dimensions."""
    image_shape: tuple[int, int, int] | None = None
    """Height, width and channels of a row that is an image (their product is D), else None."""
    n_conditions: int = 0
    """Q, how many of the last inputs are conditions, which the decoder takes too."""
    n_flags: int = 0
    """How many of the inputs before them say which values are missing."""
    cell_of_feature: tuple[int, ...] | None = None
    """For a table, the number of a cell that is missing, NaN, where each feature's value is missing."""


@dataclass(frozen=True)
class Gaussian:
    """Diagonal Gaussians; `mean` and `log_var` have the same shape, (..., M)."""

    mean: Tensor
    log_var: Tensor

    def noise(self, n_samples: int, generator: torch.Generator | None) -> Tensor | None:
        """Return the standard normal noise of samples, (L, ..., M), or None without a generator."""
        if generator is None:
            return None
        shape = (n_samples, *self.mean.shape)
        return torch.randn(shape, generator=generator, dtype=self.mean.dtype, device=self.mean.device)

    def at(self, noise: Tensor | None) -> Tensor:
        """Return the reparameterised samples for this noise, VaDE eq. 14; for None, the mean, L = 1."""
        return self.mean.unsqueeze(0) if noise is None else reparameterise(noise, self.mean, self.log_var)

    def sample(self, n_samples: int, generator: torch.Generator | None) -> Tensor:
        """Return (L, ..., M) samples; without a generator, the mean, L = 1."""
        return self.at(self.noise(n_samples, generator))


@dataclass(frozen=True)
class MixtureParameters:
    """The prior p(z|y_k) p(y_k): K diagonal Gaussians and their log-weights.

    `components` is None for N(0, I) in every component, otherwise mean and log-variance of shape (K, M).
    """

    components: Gaussian | None
    log_weight_K: Tensor


@dataclass(frozen=True)
class Latents:
    """The input of an E-step for one batch."""

    noise_LNHM: Tensor | None
    """The standard normal noise from which z is computed, (L, N, H, M); None where z is the mean of q(z|y,x)."""
    posterior: Gaussian
    """q(z|y,x), shape (N, H, M)."""
    prior: MixtureParameters
    kl_NK: Tensor
    """KL(q(z|y_k,x) || p(z|y_k)), nats."""
    at_mean: bool
    """True outside training: z is the posterior mean and nothing is random."""
    drawn_LNHM: Tensor | None = None
    """The samples, if they have been computed; otherwise a kernel may compute them in the same pass."""
    log_prior_LNK: Tensor | None = None
    """log p(z|y_k) of the samples, where the prior has a density of its own; None: that of the Gaussians in `prior`."""

    @property
    def z_LNHM(self) -> Tensor:
        """The samples of q(z|y,x), or its mean."""
        return self.posterior.at(self.noise_LNHM) if self.drawn_LNHM is None else self.drawn_LNHM


@dataclass(frozen=True)
class Responsibilities:
    """log q(y|x), normalised, and the log of the normaliser."""

    log_q_NK: Tensor
    log_normalizer_N: Tensor
    z_LNHM: Tensor | None = None
    """The samples of the latents, if the E-step computed them in the same pass."""


@dataclass(frozen=True)
class Inference:
    """The output of a trained model for rows: log q(y|x) and the latent of each row's MAP component."""

    log_q_NK: Array
    latent_NM: Array
    weight_N: Array | None = None
    """The rows' weights, (N,) float64: a row of weight 2 counts as two rows. None: every row has weight 1."""
    bound_N: Array | None = None
    """The evidence lower bound of each row at the mean of q(z|y,x), in nats; None where it was not computed."""

    @property
    def map_N(self) -> npt.NDArray[np.int64]:
        """The component with the largest q(y|x), shape (N,)."""
        return np.asarray(self.log_q_NK.argmax(axis=1), dtype=np.int64)
