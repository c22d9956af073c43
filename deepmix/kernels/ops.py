"""The typed face of the numerical kernels: arguments are checked here, once, and computed below.

Where no kernel is loaded for a tensor's device (`deepmix.kernels`), the reference computes the same.
Shapes are those of `deepmix.maths.values`; results have the dtype of the inputs, and float32 for half precision.

Where all rows (means, log-variances, and samples or noise) are bfloat16, the kernels read them as they are, compute in
float32, and round the samples and the rows' gradients to bfloat16, which changes them by at most 1 part in 256. All
other results are the same as for these rows in float32. `component_log_prob_full` and `mixture_statistics` convert them
first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from deepmix.kernels import autograd
from deepmix.kernels.choice import look_for_kernel
from deepmix.maths import Gaussian, Latents, MixtureParameters, MixtureStatistics, Responsibilities, em, formulas

MOST_SUMS = {"cpu": (1 << 18, 1 << 22), "cuda": (800, 1 << 14)}
"""Second moments, (K, M) and (K, M, M), up to which a kernel computes `mixture_statistics`, by device; beyond, matrix
products do."""


def component_kl(posterior: Gaussian, prior: MixtureParameters) -> Tensor:
    """Return KL(q(z|y_k,x) || p(z|y_k)) in nats, shape (N, K).

    Args:
        posterior: q(z|y,x), (N, H, M), with H equal to K or 1 (shared by all components).
        prior: K components.

    Raises:
        ValueError: the shapes don't fit together.

    """
    n_components = _check_mixture(posterior, prior)
    kl_NK: Tensor = _compute("component_kl", (posterior.mean, posterior.log_var), _components(prior))
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
        latents: the batch.
        log_likelihood_LNK: log p(x|z_k) where it enters (eq. 5), else None. Samples not yet drawn then are, in the
            same pass, and come with the result.
        use_posterior: divide by q(z_k|y_k,x) (eqs. 5 and 15).
        product: multiply over the L samples as printed instead of taking their geometric mean.

    Raises:
        ValueError: the shapes don't fit together.

    """
    n_components = _check_mixture(latents.posterior, latents.prior)
    _check_samples("the noise", latents.noise_LNHM, latents.posterior)
    _check_samples("z", latents.drawn_LNHM, latents.posterior)
    if latents.log_prior_LNK is not None:  # no kernel knows the prior's density
        q, z_LNHM = latents.posterior, latents.z_LNHM
        log_q_LNH = formulas.gaussian_log_prob(z_LNHM, q.mean, q.log_var) if use_posterior else None
        prior = latents.log_prior_LNK, latents.prior.log_weight_K
        return Responsibilities(*formulas.posterior_of_terms(*prior, log_q_LNH, log_likelihood_LNK, product))
    posterior = latents.posterior.mean, latents.posterior.log_var
    parameters = *_components(latents.prior), latents.prior.log_weight_K
    switches = use_posterior, product
    if latents.noise_LNHM is not None and latents.drawn_LNHM is None and log_likelihood_LNK is None:
        rows = latents.noise_LNHM, *posterior
        z_LNHM, log_q_NK, log_normalizer_N = _compute("sampled_mixture_posterior", rows, parameters, switches)
        return Responsibilities(log_q_NK, log_normalizer_N, z_LNHM.bfloat16() if _are_bfloat16(rows) else z_LNHM)
    z_LNHM = latents.z_LNHM
    if log_likelihood_LNK is not None:
        got, sizes = tuple(log_likelihood_LNK.shape), tuple(z_LNHM.shape[:2])
        if got not in ((*sizes, n_components), (*sizes, 1)):  # no set: sizes torch.export traces have no hash
            raise ValueError(f"log p(x|z) must be (L, N, K) = {(*sizes, n_components)}, got {got}")
        log_likelihood_LNK = log_likelihood_LNK.expand(*sizes, n_components)
    numbers = *parameters, log_likelihood_LNK
    log_q_NK, log_normalizer_N = _compute("mixture_posterior", (z_LNHM, *posterior), numbers, switches)
    return Responsibilities(log_q_NK, log_normalizer_N)


def component_log_prob(z_NM: Tensor, mixture: MixtureParameters) -> tuple[Tensor, Responsibilities]:
    """Return log N(z; mean_k, exp(log_var_k)), (N, K), and p(y|z) with log p(z) from the same pass.

    Responsibilities are VaDE's eq. 16 and the E-step of a Gaussian mixture; the log normaliser is the
    log-likelihood of each row.

    Args:
        z_NM: the points.
        mixture: K diagonal Gaussians and their log-weights.

    Raises:
        ValueError: the shapes don't fit together.

    """
    if mixture.components is None:
        raise ValueError("component_log_prob needs the components' means and log-variances, got none")
    mean_KM, log_var_KM = mixture.components.mean, mixture.components.log_var
    expected = (mixture.log_weight_K.shape[0], *_point_shape(z_NM)[1:])
    _check_shape("mean", mean_KM, expected)
    _check_shape("log-variance", log_var_KM, expected)
    parameters = mean_KM, log_var_KM, mixture.log_weight_K
    log_prob_NK, log_q_NK, log_normalizer_N = _compute("component_log_prob", (z_NM,), parameters)
    return log_prob_NK, Responsibilities(log_q_NK, log_normalizer_N)


def component_log_prob_full(
    z_NM: Tensor, mean_KM: Tensor, precision_cholesky_KMM: Tensor, log_weight_K: Tensor
) -> tuple[Tensor, Responsibilities]:
    """Return what `component_log_prob` does for full covariances.

    Args:
        z_NM: the points.
        mean_KM: the components' means.
        precision_cholesky_KMM: lower triangular A with A A^T the inverse covariance; the rest is not read.
        log_weight_K: log p(y).

    Raises:
        ValueError: the shapes don't fit together.

    """
    n_dimensions = _point_shape(z_NM)[1]
    n_components = log_weight_K.shape[0]
    _check_shape("mean", mean_KM, (n_components, n_dimensions))
    _check_shape("precision's Cholesky factor", precision_cholesky_KMM, (n_components, n_dimensions, n_dimensions))
    inputs = _one_dtype(z_NM, mean_KM, precision_cholesky_KMM, log_weight_K)
    log_prob_NK, log_q_NK, log_normalizer_N = _compute("component_log_prob_full", inputs[:1], inputs[1:])
    return log_prob_NK, Responsibilities(log_q_NK, log_normalizer_N)


@torch.no_grad()
def mixture_statistics(
    z_NM: Tensor,
    mean_KM: Tensor,
    spread: Tensor,
    log_weight_K: Tensor,
    row_weight_N: Tensor | None = None,
    log_noise: float = -math.inf,
) -> MixtureStatistics:
    """Return what an M-step of a Gaussian mixture needs, from one pass over the rows; no (N, K) array is made.

    The sums are in float64 and have no gradient. On a CPU they don't depend on the number of threads.

    Args:
        z_NM: the rows.
        mean_KM: the components' means.
        spread: log-variances, (K, M), or, for full covariances, the lower triangular A of the precisions A A^T,
            (K, M, M), of which the rest is not read.
        log_weight_K: log p(y).
        row_weight_N: the rows' weights; None: 1 each.
        log_noise: logarithm of the weight times the density of a component that has the same density everywhere; its
            responsibilities are what the others leave of the rows' weights.

    Raises:
        ValueError: the shapes don't fit together.

    """
    n_rows, n_dimensions = _point_shape(z_NM)
    means = (log_weight_K.shape[0], n_dimensions)
    _check_shape("mean", mean_KM, means)
    if spread.dim() == 3:
        _check_shape("precision's Cholesky factor", spread, (*means, n_dimensions))
    else:
        _check_shape("log-variance", spread, means)
    if row_weight_N is not None and tuple(row_weight_N.shape) != (n_rows,):
        raise ValueError(f"the rows' weights must be (N,) = {(n_rows,)}, got {tuple(row_weight_N.shape)}")
    inputs = _one_dtype(z_NM, mean_KM, spread, log_weight_K, row_weight_N)
    most_sums = MOST_SUMS.get(z_NM.device.type, (0, 0))
    has_kernel = spread.numel() <= most_sums[spread.dim() - 2] and _has_kernel(z_NM.device.type)
    compute: Callable[..., tuple[Tensor, ...]] = (
        torch.ops.deepmix.mixture_statistics.default if has_kernel else em.mixture_statistics
    )
    log_likelihood, responsibility_K, first_KM, second = compute(*inputs, log_noise)
    return MixtureStatistics(log_likelihood, responsibility_K, first_KM, second)


def _compute(
    name: str, rows: tuple[Tensor, ...], numbers: tuple[Tensor | None, ...], switches: tuple[bool, ...] = ()
) -> Any:
    """Call the operator of that name, or the reference of the same name where no kernel is loaded.

    Args:
        name: of both.
        rows: its first arguments, which kernels also read in bfloat16.
        numbers: the tensors after them, and None for those that are missing.
        switches: its last arguments.

    """
    if not _has_kernel(rows[0].device.type):
        return getattr(formulas, name)(*_one_dtype(*rows, *numbers), *switches)
    if _are_bfloat16(rows) and not any(one is not None and one.dtype == torch.float64 for one in numbers):
        float_numbers = (None if one is None else one.to(torch.float32) for one in numbers)
        return autograd.call(name, *rows, *float_numbers, *switches)
    return autograd.call(name, *_one_dtype(*rows, *numbers), *switches)


def _are_bfloat16(rows: tuple[Tensor, ...]) -> bool:
    return all(one.dtype == torch.bfloat16 for one in rows)


def _has_kernel(device_type: str) -> bool:
    if torch.compiler.is_compiling():
        from deepmix.kernels.compiling import has_kernel

        return has_kernel(device_type)
    return look_for_kernel(device_type)


def _one_dtype(*tensors: Tensor | None) -> tuple[Any, ...]:
    """Bring tensors to the widest of their dtypes, at least float32."""
    first = tensors[0]
    assert first is not None
    dtype = first.dtype
    if dtype in (torch.float32, torch.float64) and all(t is None or t.dtype == dtype for t in tensors):
        return tensors
    for tensor in tensors:
        if tensor is not None:
            dtype = torch.promote_types(dtype, tensor.dtype)
    dtype = torch.promote_types(dtype, torch.float32)
    return tuple(None if tensor is None else tensor.to(dtype) for tensor in tensors)


def _components(prior: MixtureParameters) -> tuple[Tensor | None, Tensor | None]:
    if prior.components is None:
        return None, None
    return prior.components.mean, prior.components.log_var


def _point_shape(z_NM: Tensor) -> tuple[int, int]:
    if z_NM.dim() != 2:
        raise ValueError(f"z must be (N, M), got {tuple(z_NM.shape)}")
    return z_NM.shape[0], z_NM.shape[1]


def _check_shape(name: str, tensor: Tensor, expected: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != expected:
        raise ValueError(f"the components' {name} must be {expected}, got {tuple(tensor.shape)}")


def _check_samples(name: str, samples_LNHM: Tensor | None, posterior: Gaussian) -> None:
    if samples_LNHM is None:
        return
    got, expected = tuple(samples_LNHM.shape), tuple(posterior.mean.shape)
    if len(got) != 4 or got[0] == 0 or got[1:] != expected:
        raise ValueError(f"{name} must be (L, N, H, M) over q(z|y,x) of shape {expected}, got {got}")


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
