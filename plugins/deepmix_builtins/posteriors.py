"""The papers' estimators of q(y|x): which terms enter, sampled as printed or in closed form.

Equations are the MVAE supplement's unless a paper is named. In closed form the expectation over
q(z|y_k,x) replaces its samples: E[log p(z|y_k) - log q(z|y_k,x)] = -KL_k.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, final

from torch import Tensor

from deepmix import ops
from deepmix.interfaces import PosteriorEstimator
from deepmix.reference import gaussian_entropy, normalize_log
from deepmix.types import Dims, Latents, Responsibilities


@dataclass(frozen=True)
class EStepOptions:
    """How the terms of q(y|x) are computed."""

    e_step: Literal["sampled", "closed-form"] = field(
        default="sampled",
        metadata={"help": "q(y|x) from samples of z (as printed) or from the closed-form KL"},
    )
    sample_reduction: Literal["mean", "product"] = field(
        default="mean",
        metadata={"help": "over L samples: the geometric mean (eq. 2 solved) or the product as printed"},
    )

    @property
    def product(self) -> bool:
        """Whether samples multiply."""
        return self.sample_reduction == "product"


def _expected(log_ratio_NK: Tensor, latents: Latents, log_likelihood_LNK: Tensor | None, product: bool) -> Tensor:
    """Add log p(y) and the sampled log-likelihood to an expectation over z; (N, K), unnormalised."""
    log_ratio_NK = log_ratio_NK + latents.prior.log_weight_K
    if product:
        log_ratio_NK = log_ratio_NK * len(latents.z_LNHM)
    if log_likelihood_LNK is not None:
        reduced_NK = log_likelihood_LNK.sum(0) if product else log_likelihood_LNK.mean(0)
        log_ratio_NK = log_ratio_NK + reduced_NK
    return log_ratio_NK


@final
class JointPosterior(PosteriorEstimator):
    """Eq. 5: p(x|z_k) p(y_k) p(z_k|y_k) / q(z_k|y_k,x), the ELBO's own optimum (MVAE)."""

    Options = EStepOptions
    needs_likelihood = True

    def __init__(self, dims: Dims, options: EStepOptions) -> None:
        super().__init__()
        self.options = options

    def forward(self, latents: Latents, log_likelihood_LNK: Tensor | None) -> Responsibilities:
        """Return q(y|x)."""
        product = self.options.product
        if self.options.e_step == "sampled":
            return ops.mixture_posterior(latents, log_likelihood_LNK, use_posterior=True, product=product)
        return Responsibilities(*normalize_log(_expected(-latents.kl_NK, latents, log_likelihood_LNK, product)))


@final
class KDvaePosterior(PosteriorEstimator):
    """k-DVAE: eq. 6 in training (analytic KL), eq. 8 at test time (at the posterior mean)."""

    needs_likelihood = True

    def __init__(self, dims: Dims, options: object) -> None:
        super().__init__()

    def forward(self, latents: Latents, log_likelihood_LNK: Tensor | None) -> Responsibilities:
        """Return q(y|x); its largest entry is the papers' hard assignment."""
        if latents.at_mean:
            return ops.mixture_posterior(latents, log_likelihood_LNK, use_posterior=True)
        return Responsibilities(*normalize_log(_expected(-latents.kl_NK, latents, log_likelihood_LNK, False)))


@final
class PriorPosterior(PosteriorEstimator):
    """Eq. 10 (EM-V1), and with one shared latent eq. 16 (VaDE): p(y_k) p(z_k|y_k)."""

    Options = EStepOptions
    needs_likelihood = False

    def __init__(self, dims: Dims, options: EStepOptions) -> None:
        super().__init__()
        self.options = options

    def forward(self, latents: Latents, log_likelihood_LNK: Tensor | None) -> Responsibilities:
        """Return q(y|x)."""
        product = self.options.product
        if self.options.e_step == "sampled":
            return ops.mixture_posterior(latents, None, use_posterior=False, product=product)
        log_prior_NK = -latents.kl_NK - gaussian_entropy(latents.posterior.log_var)
        return Responsibilities(*normalize_log(_expected(log_prior_NK, latents, None, product)))


@final
class RatioPosterior(PosteriorEstimator):
    """Eq. 15 (EM-V2): p(y_k) p(z_k|y_k) / q(z_k|y_k,x)."""

    Options = EStepOptions
    needs_likelihood = False

    def __init__(self, dims: Dims, options: EStepOptions) -> None:
        super().__init__()
        self.options = options

    def forward(self, latents: Latents, log_likelihood_LNK: Tensor | None) -> Responsibilities:
        """Return q(y|x)."""
        product = self.options.product
        if self.options.e_step == "sampled":
            return ops.mixture_posterior(latents, None, use_posterior=True, product=product)
        return Responsibilities(*normalize_log(_expected(-latents.kl_NK, latents, None, product)))
