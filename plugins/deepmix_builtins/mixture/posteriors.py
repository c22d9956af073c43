"""The papers' estimators of q(y|x), which differ in their terms, sampled as printed or in closed form.

Equations are the MVAE supplement's unless a paper is named. The closed form replaces samples of q(z|y_k,x)
by the expectation over it: E[log p(z|y_k) - log q(z|y_k,x)] = -KL_k.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal, final

from torch import Tensor

from deepmix.contracts import NoOptions, PosteriorEstimator
from deepmix.kernels import ops
from deepmix.maths import Dims, Latents, Responsibilities, gaussian_entropy, normalize_log


@dataclass(frozen=True)
class EStepOptions:
    """How the terms of q(y|x) are computed."""

    e_step: Literal["sampled", "closed-form"] = field(
        default="sampled",
        metadata={"help": "q(y|x) from samples of z (as printed) or from the closed-form KL"},
    )
    sample_reduction: Literal["mean", "product"] = field(
        default="mean",
        metadata={"help": "how L samples combine: by the geometric mean (eq. 2 solved) or by the product as printed"},
    )

    @property
    def product(self) -> bool:
        """Whether the samples are multiplied."""
        return self.sample_reduction == "product"


def _estimate(
    latents: Latents, log_likelihood_LNK: Tensor | None, options: EStepOptions, *, use_posterior: bool
) -> Responsibilities:
    """Return q(y|x) from its terms, either sampled or in expectation over q(z|y_k,x)."""
    if options.e_step == "sampled":
        return ops.mixture_posterior(latents, log_likelihood_LNK, use_posterior=use_posterior, product=options.product)
    log_ratio_NK = latents.prior.log_weight_K - latents.kl_NK
    if not use_posterior:
        log_ratio_NK = log_ratio_NK - gaussian_entropy(latents.posterior.log_var)
    if options.product:
        log_ratio_NK = log_ratio_NK * len(latents.z_LNHM)
    if log_likelihood_LNK is not None:
        log_ratio_NK = log_ratio_NK + (log_likelihood_LNK.sum(0) if options.product else log_likelihood_LNK.mean(0))
    return Responsibilities(*normalize_log(log_ratio_NK))


class _EStep(PosteriorEstimator):
    """Eqs. 5, 10, 15 and 16: one formula with two switches."""

    Options = EStepOptions
    use_posterior: ClassVar[bool]
    """Whether to divide by q(z_k|y_k,x)."""

    def __init__(self, dims: Dims, options: EStepOptions) -> None:
        super().__init__()
        self.options = options

    def forward(self, latents: Latents, log_likelihood_LNK: Tensor | None) -> Responsibilities:
        """Return q(y|x)."""
        used_LNK = log_likelihood_LNK if self.needs_likelihood else None
        return _estimate(latents, used_LNK, self.options, use_posterior=self.use_posterior)


@final
class JointPosterior(_EStep):
    """Eq. 5: p(x|z_k) p(y_k) p(z_k|y_k) / q(z_k|y_k,x), the ELBO's own optimum (MVAE)."""

    needs_likelihood = True
    use_posterior = True


@final
class KDvaePosterior(PosteriorEstimator):
    """k-DVAE: eq. 6 in training (analytic KL), eq. 8 at test time (at the posterior mean)."""

    needs_likelihood = True

    def __init__(self, dims: Dims, options: NoOptions) -> None:
        super().__init__()

    def forward(self, latents: Latents, log_likelihood_LNK: Tensor | None) -> Responsibilities:
        """Return q(y|x); its largest entry is the papers' hard assignment."""
        options = EStepOptions(e_step="sampled" if latents.at_mean else "closed-form")
        return _estimate(latents, log_likelihood_LNK, options, use_posterior=True)


@final
class ReconstructionPosterior(PosteriorEstimator):
    """k-DAE: only p(x|z_k), whose largest entry is the autoencoder that reconstructs best."""

    needs_likelihood = True

    def __init__(self, dims: Dims, options: NoOptions) -> None:
        super().__init__()

    def forward(self, latents: Latents, log_likelihood_LNK: Tensor | None) -> Responsibilities:
        """Return q(y|x)."""
        if log_likelihood_LNK is None:
            raise ValueError("the reconstruction's q(y|x) needs log p(x|z): pass log_likelihood_LNK")
        return Responsibilities(*normalize_log(log_likelihood_LNK.mean(0)))


@final
class PriorPosterior(_EStep):
    """Eq. 10 (EM-V1), and with one shared latent eq. 16 (VaDE): p(y_k) p(z_k|y_k)."""

    needs_likelihood = False
    use_posterior = False


@final
class RatioPosterior(_EStep):
    """Eq. 15 (EM-V2): p(y_k) p(z_k|y_k) / q(z_k|y_k,x)."""

    needs_likelihood = False
    use_posterior = True
