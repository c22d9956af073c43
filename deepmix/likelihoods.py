"""The observation models p(x|z): log-densities from a decoder's outputs, in nats per row."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepmix.reference import gaussian_log_prob

MIN_VARIANCE = 1e-4
"""Floor of an observation variance: a perfect reconstruction would make the density unbounded."""
MIN_LOG_VAR, MAX_LOG_VAR = math.log(MIN_VARIANCE), 8.0
"""Bounds of a learned log-variance, for the same reason."""


class Likelihood(nn.Module):
    """p(x|z) from a decoder's P outputs a row.

    bernoulli: logits, VaDE eq. 12 (x in [0, 1], as the papers use it for grey values).
    gaussian: means; one variance for all features, `place`d from the pretrained residual.
    gaussian-learned: means then log-variances, VaDE eq. 2.
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
        """Set the fixed variance to its maximum-likelihood value, the autoencoder's mean squared error."""
        self.log_var.fill_(math.log(max(residual_variance, MIN_VARIANCE)))
