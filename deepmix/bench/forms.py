"""Each operator as a kernel and in every sensible plain PyTorch form, on random inputs.

eager           broadcasting, as deepmix.maths.formulas writes it
distributions   torch.distributions
gemm            the squares expanded, so that addmm does the work (component_log_prob only: in the other
                operators the rows share no matrix)
compiled        torch.compile of the best form
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from deepmix import kernels
from deepmix.kernels import autograd
from deepmix.maths import formulas

Outputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Form:
    """One operator on one shape; every function takes the inputs and returns outputs shaped like `upstream`."""

    functions: dict[str, Callable[..., Outputs]]
    inputs: list[Tensor]
    upstream: list[Tensor]
    constants: tuple[Tensor, ...] = ()
    """Tensors that are read like inputs but get no gradient."""
    kernel_inputs: list[Tensor] | None = None
    """The same numbers in the shapes a model passes to the kernel, where those have one dimension more."""

    def inputs_of(self, name: str) -> list[Tensor]:
        """Return the inputs of the function with that name, so that no form is timed with a change of shape."""
        return self.kernel_inputs if name == "kernel" and self.kernel_inputs else self.inputs

    def bytes_moved(self, backward: bool) -> int:
        """Return the bytes a pass must move: inputs once per pass, outputs and gradients once."""
        inputs = sum(tensor.nbytes for tensor in self.inputs)
        outputs = sum(tensor.nbytes for tensor in self.upstream)
        constants = sum(tensor.nbytes for tensor in self.constants)
        return 3 * inputs + 2 * (outputs + constants) if backward else inputs + outputs + constants


def _random(device: torch.device, *shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).to(device).requires_grad_() for shape in shapes]


def _form(
    functions: Mapping[str, Callable[..., Outputs]],
    inputs: list[Tensor],
    *constants: Tensor,
    best: Callable[..., Outputs] | None,
    kernel_inputs: list[Tensor] | None = None,
) -> Form:
    """Return the forms of one row, including torch.compile of `best` unless that is None."""
    kernels.kernel_devices()
    with torch.no_grad():
        outputs = functions["kernel"](*(kernel_inputs or inputs))
    generator = torch.Generator().manual_seed(1)
    upstream = [torch.randn(output.shape, generator=generator).to(output.device) for output in outputs]
    compiled = {} if best is None else {"compiled": torch.compile(best, dynamic=False)}
    return Form({**functions, **compiled}, inputs, upstream, constants, kernel_inputs)


def mixture_forms(shape: tuple[int, int, int], device: torch.device, *, compiled: bool) -> Form:
    """Return the forms of eq. 15 with one sample; gradients reach z and both means and log-variances."""
    N, K, M = shape
    inputs = _random(device, (N, K, M), (N, K, M), (N, K, M), (K, M), (K, M))
    log_weight_K = torch.full((K,), -math.log(K), device=device)

    def kernel(*samples_and_parameters: Tensor) -> Outputs:
        outputs: Outputs = autograd.call("mixture_posterior", *samples_and_parameters, log_weight_K, None, True, False)
        return outputs

    def eager(z: Tensor, mean: Tensor, log_var: Tensor, prior_mean: Tensor, prior_log_var: Tensor) -> Outputs:
        log_prior = formulas.gaussian_log_prob(z, prior_mean, prior_log_var)
        log_posterior = formulas.gaussian_log_prob(z, mean, log_var)
        return formulas.normalize_log(_like(log_weight_K, z) + log_prior - log_posterior)

    def distributions(z: Tensor, mean: Tensor, log_var: Tensor, prior_mean: Tensor, prior_log_var: Tensor) -> Outputs:
        log_prior = Normal(prior_mean, (0.5 * prior_log_var).exp(), validate_args=False).log_prob(z).sum(-1)
        log_posterior = Normal(mean, (0.5 * log_var).exp(), validate_args=False).log_prob(z).sum(-1)
        return formulas.normalize_log(log_weight_K + log_prior - log_posterior)

    one_sample = inputs[0].detach().unsqueeze(0).requires_grad_()  # L = 1
    return _form(
        {"kernel": kernel, "eager": eager, "distributions": distributions},
        inputs,
        best=eager if compiled else None,
        kernel_inputs=[one_sample, *inputs[1:]],
    )


def sampled_forms(shape: tuple[int, int, int], device: torch.device, *, compiled: bool) -> Form:
    """Return the forms of eq. 15 that draw their one sample; gradients reach both means and log-variances."""
    N, K, M = shape
    noise, *inputs = _random(device, (1, N, K, M), (N, K, M), (N, K, M), (K, M), (K, M))
    noise = noise.detach()
    log_weight_K = torch.full((K,), -math.log(K), device=device)

    def kernel(*parameters: Tensor) -> Outputs:
        outputs: Outputs = autograd.call("sampled_mixture_posterior", noise, *parameters, log_weight_K, True, False)
        return outputs

    def eager(mean: Tensor, log_var: Tensor, prior_mean: Tensor, prior_log_var: Tensor) -> Outputs:
        parameters = (mean, log_var, prior_mean, prior_log_var, _like(log_weight_K, mean))
        return formulas.sampled_mixture_posterior(_like(noise, mean), *parameters, True, False)

    def distributions(mean: Tensor, log_var: Tensor, prior_mean: Tensor, prior_log_var: Tensor) -> Outputs:
        posterior = Normal(mean, (0.5 * log_var).exp(), validate_args=False)
        z = posterior.loc + posterior.scale * noise  # rsample with our noise
        log_prior = Normal(prior_mean, (0.5 * prior_log_var).exp(), validate_args=False).log_prob(z).sum(-1)
        log_posterior = posterior.log_prob(z).sum(-1)
        return z, *formulas.normalize_log((log_weight_K + log_prior - log_posterior).mean(0))

    return _form(
        {"kernel": kernel, "eager": eager, "distributions": distributions},
        inputs,
        noise,
        best=eager if compiled else None,
    )


def kl_forms(shape: tuple[int, int, int], device: torch.device, *, compiled: bool) -> Form:
    """Return the forms of the closed-form KL of one head per component."""
    N, K, M = shape

    def kernel(*inputs: Tensor) -> Outputs:
        return (autograd.call("component_kl", *inputs),)

    def eager(*inputs: Tensor) -> Outputs:
        return (formulas.component_kl(*inputs),)

    def distributions(mean: Tensor, log_var: Tensor, prior_mean: Tensor, prior_log_var: Tensor) -> Outputs:
        posterior = Independent(Normal(mean, (0.5 * log_var).exp(), validate_args=False), 1, validate_args=False)
        prior = Normal(prior_mean, (0.5 * prior_log_var).exp(), validate_args=False).expand(mean.shape)
        return (kl_divergence(posterior, Independent(prior, 1, validate_args=False)),)

    return _form(
        {"kernel": kernel, "eager": eager, "distributions": distributions},
        _random(device, (N, K, M), (N, K, M), (K, M), (K, M)),
        best=eager if compiled else None,
    )


def component_forms(*, full: bool) -> Callable[..., Form]:
    """Return the function that makes component_log_prob's forms, with diagonal or full covariances."""
    return _full_forms if full else _diagonal_forms


def _diagonal_forms(shape: tuple[int, int, int], device: torch.device, *, compiled: bool) -> Form:
    N, K, M = shape
    z, mean, log_var = _random(device, (N, M), (K, M), (K, M))
    log_weight_K = torch.full((K,), -math.log(K), device=device)

    def kernel(*inputs: Tensor) -> Outputs:
        outputs: Outputs = autograd.call("component_log_prob", *inputs, log_weight_K)
        return outputs

    def eager(z: Tensor, mean: Tensor, log_var: Tensor) -> Outputs:
        return formulas.component_log_prob(z, mean, log_var, _like(log_weight_K, z))

    def distributions(z: Tensor, mean: Tensor, log_var: Tensor) -> Outputs:
        normal = Normal(mean, (0.5 * log_var).exp(), validate_args=False)
        log_prob = normal.log_prob(z.unsqueeze(1)).sum(-1)
        return log_prob, *formulas.normalize_log(log_prob + log_weight_K)

    def gemm(z: Tensor, mean: Tensor, log_var: Tensor) -> Outputs:
        precision = torch.exp(-log_var)
        constant_K = -0.5 * (M * formulas.LOG_2PI + (log_var + mean.square() * precision).sum(-1))
        log_prob = torch.addmm(constant_K, z.square(), precision.T, alpha=-0.5)
        log_prob = torch.addmm(log_prob, z, (mean * precision).T)
        return log_prob, *formulas.normalize_log(log_prob + log_weight_K)

    return _form(
        {"kernel": kernel, "eager": eager, "distributions": distributions, "gemm": gemm},
        [z, mean, log_var],
        best=gemm if compiled else None,
    )


def _full_forms(shape: tuple[int, int, int], device: torch.device, *, compiled: bool) -> Form:
    N, K, M = shape
    z, mean, factor = _random(device, (N, M), (K, M), (K, M, M))
    with torch.no_grad():
        factor.mul_(0.3).tril_()
        factor.diagonal(dim1=-2, dim2=-1).exp_()
    log_weight_K = torch.full((K,), -math.log(K), device=device)

    def kernel(*inputs: Tensor) -> Outputs:
        outputs: Outputs = autograd.call("component_log_prob_full", *inputs, log_weight_K)
        return outputs

    def eager(z: Tensor, mean: Tensor, cholesky: Tensor) -> Outputs:
        return formulas.component_log_prob_full(z, mean, cholesky, _like(log_weight_K, z))

    def distributions(z: Tensor, mean: Tensor, cholesky: Tensor) -> Outputs:
        precision = cholesky @ cholesky.mT
        normal = MultivariateNormal(mean, precision_matrix=precision, validate_args=False)
        log_prob = normal.log_prob(z.unsqueeze(1))
        return log_prob, *formulas.normalize_log(log_prob + log_weight_K)

    def gemm(z: Tensor, mean: Tensor, cholesky: Tensor) -> Outputs:
        lower = cholesky.tril()
        y_NKM = torch.addmm(-(mean.unsqueeze(1) @ lower).flatten(), z, lower.permute(1, 0, 2).reshape(M, K * M))
        log_determinant_K = lower.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        squares = y_NKM.view(-1, K, M).square().sum(-1)
        log_prob = log_determinant_K - 0.5 * (M * formulas.LOG_2PI + squares)
        return log_prob, *formulas.normalize_log(log_prob + log_weight_K)

    return _form(
        {"kernel": kernel, "eager": eager, "distributions": distributions, "gemm": gemm},
        [z, mean, factor],
        best=gemm if compiled else None,
    )


def _like(tensor: Tensor, other: Tensor) -> Tensor:
    return tensor.to(other.dtype)
