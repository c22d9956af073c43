"""Random arguments for the operators, and the comparison that every kernel must pass.

A kernel's float32 error against float64 may be at most twice the reference's float32 error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deepmix.maths import formulas

MIXTURE = formulas.mixture_posterior


EPSILON = torch.finfo(torch.float32).eps


@dataclass(frozen=True)
class Sizes:
    """One point of the grid. H is 1 if all components share one latent, otherwise K."""

    N: int
    K: int
    M: int
    L: int = 1
    shared: bool = False

    @property
    def H(self) -> int:
        return 1 if self.shared else self.K

    @property
    def draws(self) -> int:
        """How often to draw: more often where latents that all components share make some gradients small."""
        few = 3_000 // max(1, self.N * self.M) if self.shared else 0
        return max(draws_for((self.N, self.K, self.M)), min(few, 20))

    def __str__(self) -> str:
        return f"N{self.N}-K{self.K}-M{self.M}-L{self.L}-{'shared' if self.shared else 'heads'}"


@dataclass(frozen=True)
class Switches:
    """The terms that enter q(y|x)."""

    use_posterior: bool = True
    prior: bool = True
    likelihood: bool = False
    product: bool = False


EQ_5 = Switches(likelihood=True)


EQ_10 = Switches(use_posterior=False)


EQ_15 = Switches()


STANDARD = Switches(prior=False)


PRODUCT = Switches(likelihood=True, product=True)


device = "cpu"
"""The device on which the operators run; the fixture of the same name sets it."""


def operator(name: str) -> Callable[..., Any]:
    """Return an operator that moves its arguments to the device and its results back."""

    def call(*arguments: Any) -> Any:
        on_device = [a.to(device) if isinstance(a, Tensor) else a for a in arguments]
        outputs = getattr(torch.ops.deepmix, name).default(*on_device)
        return outputs.cpu() if isinstance(outputs, Tensor) else tuple(output.cpu() for output in outputs)

    return call


def mixture_arguments(sizes: Sizes, switches: Switches, dtype: torch.dtype = torch.float32, seed: int = 0) -> list[Any]:
    """Return random arguments for mixture_posterior, in the operator's order."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int, scale: float = 1.0) -> Tensor:
        return scale * torch.randn(shape, generator=generator, dtype=dtype)

    N, K, M, L, H = sizes.N, sizes.K, sizes.M, sizes.L, sizes.H
    mean, log_var = random(N, H, M), random(N, H, M, scale=0.5)
    z = mean + random(L, N, H, M) * torch.exp(0.5 * log_var)
    prior = (random(K, M), random(K, M, scale=0.5)) if switches.prior else (None, None)
    log_likelihood = random(L, N, K, scale=3.0) if switches.likelihood else None
    log_weight = random(K).log_softmax(0)
    return [z, mean, log_var, *prior, log_weight, log_likelihood, switches.use_posterior, switches.product]


def sampled_arguments(sizes: Sizes, switches: Switches, dtype: torch.dtype = torch.float32, seed: int = 0) -> list[Any]:
    """Return random arguments for sampled_mixture_posterior, in the operator's order."""
    z, *parameters, _, use_posterior, product = mixture_arguments(sizes, switches, dtype, seed)
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed + 1000), dtype=dtype)
    return [noise, *parameters, use_posterior, product]


def in_double(arguments: Sequence[Any]) -> list[Any]:
    """Return the arguments in float64."""
    return [argument.double() if isinstance(argument, Tensor) else argument for argument in arguments]


def outputs_and_gradients(
    function: Callable[..., Any], arguments: Sequence[Any], upstream: Sequence[Tensor]
) -> list[Tensor]:
    """Return the function's outputs, then its gradients with respect to every tensor argument."""
    leaves = [a.detach().clone().requires_grad_() if isinstance(a, Tensor) else a for a in arguments]
    outputs = function(*leaves)
    outputs = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    upstream = [u.to(o.dtype) for o, u in zip(outputs, upstream, strict=True)]
    gradients = torch.autograd.grad(outputs, tensors, upstream, materialize_grads=True)
    return [o.detach() for o in outputs] + list(gradients)


def upstream_like(outputs: Any, seed: int = 1) -> list[Tensor]:
    """Return a random gradient for each output."""
    generator = torch.Generator().manual_seed(seed)
    outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
    return [torch.randn(output.shape, generator=generator) for output in outputs]


def magnitudes(values: Sequence[Tensor]) -> Tensor:
    """Return the root mean square and the largest absolute value of each tensor, (tensors, 2)."""
    rows = [(v.double().square().mean().sqrt(), v.double().abs().max()) if v.numel() else (0.0, 0.0) for v in values]
    return torch.tensor(rows, dtype=torch.float64)


def assert_as_exact_as_reference(
    kernel: Callable[..., Any], plain: Callable[..., Any], draw: Callable[[int], Sequence[Any]], draws: int = 1
) -> None:
    """Assert that the float32 errors of a kernel and its gradients are at most twice those of the reference.

    Errors are differences from float64, as root mean squares over all elements and draws. Single elements scatter more,
    so the largest error may be four times the reference's. `draw` returns the arguments for a seed.
    """
    tables = []
    for seed in range(draws):
        arguments = draw(seed)
        with torch.no_grad():
            upstream = upstream_like(kernel(*arguments))
        exact = outputs_and_gradients(plain, in_double(arguments), upstream)
        reference = outputs_and_gradients(plain, arguments, upstream)
        actual = outputs_and_gradients(kernel, arguments, upstream)
        assert [one.shape for one in actual] == [one.shape for one in exact]
        error = magnitudes([one.double() - true for one, true in zip(actual, exact, strict=True)])
        reference_error = magnitudes([one.double() - true for one, true in zip(reference, exact, strict=True)])
        tables.append(torch.stack([error, reference_error, magnitudes(exact)]))
    error, reference_error, scale = torch.stack(tables).square().mean(0).sqrt()
    assert not error.isnan().any()
    limits = torch.maximum(reference_error, EPSILON * scale) * torch.tensor([2.0, 4.0])
    for number, (one, limit) in enumerate(zip(error.tolist(), limits.tolist(), strict=True)):
        assert one[0] <= limit[0], f"value {number}: its root-mean-square error is {one[0]:.1e}, above {limit[0]:.1e}"
        assert one[1] <= limit[1], f"value {number}: its largest error is {one[1]:.1e}, above {limit[1]:.1e}"


def draws_for(sizes: tuple[int, int, int]) -> int:
    """Return how often to draw a shape (N, K, M): small shapes more often, since few numbers give poor statistics."""
    n_elements = sizes[0] * sizes[1] * sizes[2]
    return 1 if n_elements == 0 else max(1, min(50, 30_000 // n_elements), 12 // sizes[1])
