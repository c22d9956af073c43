"""Random arguments of the operators, and the comparison every kernel is held to.

A kernel's float32 error against float64 may be at most twice what the reference loses in float32.
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
    """One point of the grid; H is 1 for a latent all components share, else K."""

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
        return draws_for((self.N, self.K, self.M))

    def __str__(self) -> str:
        return f"N{self.N}-K{self.K}-M{self.M}-L{self.L}-{'shared' if self.shared else 'heads'}"


@dataclass(frozen=True)
class Switches:
    """Which terms enter q(y|x)."""

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
"""Where operators are called; the fixture of that name sets it."""


def operator(name: str) -> Callable[..., Any]:
    """Return an operator that takes its arguments to the device and brings its results back."""

    def call(*arguments: Any) -> Any:
        there = [a.to(device) if isinstance(a, Tensor) else a for a in arguments]
        outputs = getattr(torch.ops.deepmix, name).default(*there)
        return outputs.cpu() if isinstance(outputs, Tensor) else tuple(output.cpu() for output in outputs)

    return call


def mixture_arguments(sizes: Sizes, switches: Switches, dtype: torch.dtype = torch.float32, seed: int = 0) -> list[Any]:
    """Return random arguments of mixture_posterior, in the operator's order."""
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
    """Return random arguments of sampled_mixture_posterior, in the operator's order."""
    z, *parameters, _, use_posterior, product = mixture_arguments(sizes, switches, dtype, seed)
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed + 1000), dtype=dtype)
    return [noise, *parameters, use_posterior, product]


def in_double(arguments: Sequence[Any]) -> list[Any]:
    """Return the arguments in float64."""
    return [argument.double() if isinstance(argument, Tensor) else argument for argument in arguments]


def outputs_and_gradients(
    function: Callable[..., Any], arguments: Sequence[Any], upstream: Sequence[Tensor]
) -> list[Tensor]:
    """Return the function's outputs, then its gradients by every tensor argument."""
    leaves = [a.detach().clone().requires_grad_() if isinstance(a, Tensor) else a for a in arguments]
    outputs = function(*leaves)
    outputs = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
    wanted = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    upstream = [u.to(o.dtype) for o, u in zip(outputs, upstream, strict=True)]
    gradients = torch.autograd.grad(outputs, wanted, upstream, materialize_grads=True)
    return [o.detach() for o in outputs] + list(gradients)


def upstream_like(outputs: Any, seed: int = 1) -> list[Tensor]:
    """Return a random gradient for each output."""
    generator = torch.Generator().manual_seed(seed)
    outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
    return [torch.randn(output.shape, generator=generator) for output in outputs]


def sizes_of(values: Sequence[Tensor]) -> Tensor:
    """Return the root mean square and the largest absolute value of each tensor, (tensors, 2)."""
    rows = [(v.double().square().mean().sqrt(), v.double().abs().max()) if v.numel() else (0.0, 0.0) for v in values]
    return torch.tensor(rows, dtype=torch.float64)


def assert_as_exact_as_reference(
    kernel: Callable[..., Any], plain: Callable[..., Any], draw: Callable[[int], Sequence[Any]], draws: int = 1
) -> None:
    """Hold a float32 kernel and its gradients to twice the reference's own loss against float64.

    Losses are root mean squares over all elements and draws; single elements, whose errors scatter more, are
    held to four times the reference's largest. `draw` gives the arguments of a seed.
    """
    tables = []
    for seed in range(draws):
        arguments = draw(seed)
        with torch.no_grad():
            upstream = upstream_like(kernel(*arguments))
        exact = outputs_and_gradients(plain, in_double(arguments), upstream)
        lossy = outputs_and_gradients(plain, arguments, upstream)
        got = outputs_and_gradients(kernel, arguments, upstream)
        assert [one.shape for one in got] == [one.shape for one in exact]
        found = sizes_of([one.double() - true for one, true in zip(got, exact, strict=True)])
        lost = sizes_of([one.double() - true for one, true in zip(lossy, exact, strict=True)])
        tables.append(torch.stack([found, lost, sizes_of(exact)]))
    found, lost, scale = torch.stack(tables).square().mean(0).sqrt()
    assert not found.isnan().any()
    allowed = torch.maximum(lost, EPSILON * scale) * torch.tensor([2.0, 4.0])
    for number, (one, limit) in enumerate(zip(found.tolist(), allowed.tolist(), strict=True)):
        assert one[0] <= limit[0], f"value {number}: root mean square {one[0]:.1e}, allowed {limit[0]:.1e}"
        assert one[1] <= limit[1], f"value {number}: largest {one[1]:.1e}, allowed {limit[1]:.1e}"


def draws_for(sizes: tuple[int, int, int]) -> int:
    """Return how often a shape (N, K, M) is drawn: the smaller, the more; statistics of a few numbers say little."""
    n_elements = sizes[0] * sizes[1] * sizes[2]
    return 1 if n_elements == 0 else max(1, min(50, 30_000 // n_elements), 12 // sizes[1])
