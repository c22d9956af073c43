"""Observation models p(x|z): log-densities computed from a decoder's outputs, in nats per row."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepmix.maths import gaussian_log_prob

MIN_VARIANCE = 1e-4
"""Floor of an observation variance: a perfect reconstruction would make the density unbounded."""


MIN_LOG_VAR, MAX_LOG_VAR = math.log(MIN_VARIANCE), 8.0
"""Bounds of a learned log-variance, for the same reason."""


NOISE_ROWS = 4096
"""Number of evenly spaced rows on which the effect of noise is measured."""


class Likelihood(nn.Module):
    """p(x|z), computed from the P decoder outputs per row.

    bernoulli: logits, VaDE eq. 12 (x in [0, 1], as the papers use it for grey values).
    gaussian: means; one variance for all features, which `place` sets to the error left by pretraining and first noise.
    gaussian-learned: means, then log-variances, VaDE eq. 2.
    """

    log_var: Tensor

    def __init__(self, name: str, n_features: int) -> None:
        super().__init__()
        self.name = name
        self.n_outputs = 2 * n_features if name == "gaussian-learned" else n_features
        self.register_buffer("log_var", torch.zeros(()))

    def log_prob(self, x_RD: Tensor, outputs_RP: Tensor) -> Tensor:
        """Return log p(x|z), shape (R,)."""
        if self.name == "bernoulli":
            losses = functional.binary_cross_entropy_with_logits(outputs_RP, x_RD, reduction="none")
            return -losses.sum(-1)
        if self.name == "gaussian":
            return gaussian_log_prob(x_RD, outputs_RP, self.log_var.expand_as(outputs_RP))
        mean_RD, log_var_RD = outputs_RP.chunk(2, dim=-1)
        return gaussian_log_prob(x_RD, mean_RD, log_var_RD.clamp(MIN_LOG_VAR, MAX_LOG_VAR))

    def mean(self, outputs_RP: Tensor) -> Tensor:
        """Return E[x|z], shape (R, D)."""
        if self.name == "bernoulli":
            return outputs_RP.sigmoid()
        return outputs_RP if self.name == "gaussian" else outputs_RP.chunk(2, dim=-1)[0]

    def place(self, residual_variance: float) -> None:
        """Set the fixed variance to its maximum-likelihood value, the mean squared error at the start of training."""
        self.log_var.fill_(math.log(max(residual_variance, MIN_VARIANCE)))

    @torch.no_grad()
    def noise_error(self, decode: Callable[[Tensor], Tensor], z_NM: Tensor, log_var: float) -> float:
        """Return the mean squared error that noise of this log-variance on the latents adds.

        Without it a lossless autoencoder, such as any with as many latent dimensions as columns, would make p(x|z) so
        narrow that it would outweigh every other term in training. It is 0 where there is no fixed variance.
        """
        if self.name != "gaussian":
            return 0.0
        sample_NM = z_NM[:: math.ceil(len(z_NM) / NOISE_ROWS)]
        generator = torch.Generator(z_NM.device).manual_seed(0)
        noise_NM = torch.randn(sample_NM.shape, generator=generator, device=z_NM.device, dtype=z_NM.dtype)
        noisy_ND = self.mean(decode(sample_NM + math.exp(0.5 * log_var) * noise_NM))
        return float((noisy_ND - self.mean(decode(sample_NM))).square().mean())
