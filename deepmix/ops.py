"""The typed face of the numerical kernels: arguments are checked here, once, and computed below.

Shapes are those of `deepmix.types`; every function works in the dtype of its inputs.
"""

from __future__ import annotations

from torch import Tensor

from deepmix import reference
from deepmix.types import Gaussian, Latents, MixtureParameters, Responsibilities


def component_kl(posterior: Gaussian, prior: MixtureParameters) -> Tensor:
    """Return KL(q(z|y_k,x) || p(z|y_k)) in nats, shape (N, K).

    Args:
        posterior: q(z|y,x), (N, H, M), with H equal to K or 1 (shared by all components).
        prior: K components.

    Raises:
        ValueError: the shapes don't fit together.

    """
    n_components = _check_mixture(posterior, prior)
    mean, log_var = _components(prior)
    kl_NK = reference.component_kl(posterior.mean, posterior.log_var, mean, log_var)
    return kl_NK.expand(kl_NK.shape[0], n_components)


def mixture_posterior(
    latents: Latents,
    log_likelihood_LNK: Tensor | None,
    *,
    use_posterior: bool,
    product: bool = False,
) -> Responsibilities:
    """Return q(y|x) from samples: eqs. 5, 10, 15 and 16 of the supplement are one formula with two switches.

    Args:
        latents: the batch; `z_LNHM` are the samples.
        log_likelihood_LNK: log p(x|z_k) where it enters (eq. 5), else None.
        use_posterior: divide by q(z_k|y_k,x) (eqs. 5 and 15).
        product: multiply over the L samples as printed instead of taking their geometric mean.

    Raises:
        ValueError: the shapes don't fit together.

    """
    n_components = _check_mixture(latents.posterior, latents.prior)
    z_shape, q_shape = tuple(latents.z_LNHM.shape), tuple(latents.posterior.mean.shape)
    if z_shape[1:] != q_shape:
        raise ValueError(f"z must be (L, N, H, M) over q(z|y,x) of shape {q_shape}, got {z_shape}")
    if log_likelihood_LNK is not None:
        got, rows = tuple(log_likelihood_LNK.shape), z_shape[:2]
        if got not in {(*rows, n_components), (*rows, 1)}:
            raise ValueError(f"log p(x|z) must be (L, N, K) = {(*rows, n_components)}, got {got}")
    mean, log_var = _components(latents.prior)
    *_, log_q_NK, log_normalizer_N = reference.mixture_posterior(
        latents.z_LNHM,
        latents.posterior.mean,
        latents.posterior.log_var,
        mean,
        log_var,
        latents.prior.log_weight_K,
        log_likelihood_LNK,
        use_posterior,
        product,
    )
    return Responsibilities(log_q_NK, log_normalizer_N)


def _components(prior: MixtureParameters) -> tuple[Tensor | None, Tensor | None]:
    if prior.components is None:
        return None, None
    return prior.components.mean, prior.components.log_var


def _check_mixture(posterior: Gaussian, prior: MixtureParameters) -> int:
    """Check q(z|y,x) against the prior and return K."""
    mean_shape, log_var_shape = tuple(posterior.mean.shape), tuple(posterior.log_var.shape)
    if len(mean_shape) != 3 or mean_shape != log_var_shape:
        raise ValueError(
            f"q(z|y,x) needs mean and log-variance of one shape (N, H, M), got {mean_shape} and {log_var_shape}"
        )
    n_components = prior.log_weight_K.shape[0]
    if mean_shape[1] not in (1, n_components):
        raise ValueError(f"q(z|y,x) has {mean_shape[1]} heads; the prior has {n_components} components")
    if prior.components is not None:
        expected = (n_components, mean_shape[2])
        for name, tensor in (("mean", prior.components.mean), ("log-variance", prior.components.log_var)):
            if tuple(tensor.shape) != expected:
                raise ValueError(f"the prior's {name} must be (K, M) = {expected}, got {tuple(tensor.shape)}")
    return n_components
