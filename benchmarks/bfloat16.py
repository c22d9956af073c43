"""Time the CPU operators on rows in bfloat16 beside the same rows converted to float32, and give the errors.

`python benchmarks/bfloat16.py` prints one row per operator and pass at (N, K, M) = (65536, 10, 10): milliseconds of
processor time, first for bfloat16, then for the conversion and float32, called in turn; and the largest error against
float64 of what is float32 (log-probabilities, gradients of parameters) and of what is bfloat16 (samples, gradients of
rows), each in units of the array's largest value.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deepmix import kernels
from deepmix.kernels import autograd
from deepmix.maths import formulas
from deepmix.training import keep_freed_memory

SHAPE = (65536, 10, 10)
CALLS = 15
OPERATORS = ("mixture_posterior", "sampled_mixture_posterior", "component_kl")


@dataclass(frozen=True)
class Arguments:
    """An operator's arguments."""

    rows: list[Tensor]
    numbers: list[Tensor]
    last: tuple[Any, ...]

    def to(self, rows: torch.dtype, numbers: torch.dtype, device: torch.device | str = "cpu") -> list[Any]:
        """Return the arguments in these dtypes on a device, with gradients."""
        tensors = [one.to(device, rows) for one in self.rows] + [one.to(device, numbers) for one in self.numbers]
        return [*(one.detach().requires_grad_() for one in tensors), *self.last]


def arguments_of(name: str) -> Arguments:
    """Return random arguments with rows in bfloat16."""
    N, K, M = SHAPE
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    posterior, prior = [random(N, K, M).bfloat16(), (0.5 * random(N, K, M)).bfloat16()], [random(K, M), random(K, M)]
    if name == "component_kl":
        return Arguments(posterior, prior, ())
    likelihood = (None,) if name == "mixture_posterior" else ()
    samples = random(1, N, K, M).bfloat16()
    return Arguments([samples, *posterior], [*prior, random(K).log_softmax(0)], (*likelihood, True, False))


def forward(compute: Callable[..., Any], arguments: Sequence[Any]) -> tuple[Tensor, ...]:
    """Return the outputs."""
    outputs = compute(*arguments)
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


def both(compute: Callable[..., Any], arguments: Sequence[Any]) -> tuple[Tensor, ...]:
    """Return the outputs and the gradients for ones as upstream gradients."""
    outputs = forward(compute, arguments)
    leaves = [one for one in arguments if isinstance(one, Tensor)]
    upstream = [torch.ones_like(one) for one in outputs]
    gradients = torch.autograd.grad(outputs, leaves, upstream, allow_unused=True)
    return (*(one.detach() for one in outputs), *(one for one in gradients if one is not None))


def milliseconds(calls: Sequence[Callable[[], object]]) -> list[float]:
    """Return the median processor time of each call; they take turns."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(CALLS):
        for call, own in zip(calls, times, strict=True):
            started = time.process_time()
            call()
            own.append(1e3 * (time.process_time() - started))
    return [statistics.median(own) for own in times]


def calls_of(name: str, n_rows: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return an operator, and the same operator on rows converted to float32."""
    kernel = functools.partial(autograd.call, name)

    def converted(*inputs: Any) -> Any:
        return kernel(*(one.float() for one in inputs[:n_rows]), *inputs[n_rows:])

    return kernel, converted


def row_of(name: str) -> None:
    """Print an operator's rows."""
    arguments = arguments_of(name)
    kernel, converted = calls_of(name, len(arguments.rows))
    half = arguments.to(torch.bfloat16, torch.float32)
    exact = both(getattr(formulas, name), arguments.to(torch.float64, torch.float64))
    errors = {torch.float32: 0.0, torch.bfloat16: 0.0}
    for one, true in zip(both(kernel, half), exact, strict=True):
        errors[one.dtype] = max(errors[one.dtype], float((one.double() - true).abs().max() / true.abs().max()))
    for compute in (forward, both):
        with torch.set_grad_enabled(compute is both):
            times = milliseconds([functools.partial(compute, one, half) for one in (kernel, converted)])
        figures = f"{times[0]:7.2f} {times[1]:7.2f} {errors[torch.float32]:9.0e} {errors[torch.bfloat16]:9.0e}"
        print(f"{name:26} {compute.__name__:8} {figures}", flush=True)


if __name__ == "__main__":
    kernels.kernel_devices()
    keep_freed_memory()  # as `deepmix bench` does
    for operator in OPERATORS:
        row_of(operator)
