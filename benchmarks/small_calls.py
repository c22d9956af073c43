"""Time the operators at N = K = M = 1, where the kernel does next to nothing: what is left is the cost of a call.

`python benchmarks/small_calls.py` prints a table of microseconds of processor time, first quartiles of blocks of calls
in turn, on one thread: each operator with its autograd node in Python, as a library built ahead of time has it, and
with the one in C++ (`csrc/nodes.cpp`); an `autograd.Function` in Python that saves as many tensors, returns as many and
computes nothing; and at the end a product, whose node is torch's own.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from deepmix import kernels
from deepmix.errors import DeepmixError
from deepmix.kernels import autograd, shortcuts

CALLS = 20
"""Calls per block; a single one takes too little time for the clock."""

WARM_UP = 20

Call = Callable[[], Any]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=100, help="blocks of calls per figure")
    blocks = parser.parse_args().blocks
    torch.set_num_threads(1)
    if "cpu" not in kernels.kernel_devices():
        raise DeepmixError("there are no kernels to time; 'deepmix doctor' says why")
    calls = {(rule.name, form): both for rule in autograd.RULES for form, both in forms(rule).items()}
    x, y = (torch.ones(1, 1, requires_grad=True) for _ in range(2))
    calls["product", "C++"] = passes(torch.mul, [x, y])
    times = quartiles([one for both in calls.values() for one in both], blocks)
    print("| operator | node | forward | with backward |\n|---|---|---:|---:|")
    for number, (name, form) in enumerate(calls):
        print(f"| `{name}` | {form} | {times[2 * number]:.1f} | {times[2 * number + 1]:.1f} |")


def arguments(name: str) -> list[Any]:
    """Return inputs of an operator, in which each dimension is 1."""
    z, row, parameter, log_weight = torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1), torch.ones(1, 1), torch.zeros(1)
    mixture = [z, row, row.clone(), parameter, parameter.clone(), log_weight]
    of_operators: dict[str, list[Any]] = {
        "mixture_posterior": [*mixture, row.clone(), True, False],
        "sampled_mixture_posterior": [*mixture, True, False],
        "component_kl": mixture[1:5],
        "component_log_prob": [parameter.clone(), *mixture[3:]],
        "component_log_prob_full": [parameter.clone(), parameter, row, log_weight],
    }
    inputs, first = of_operators[name], 1 if name == "sampled_mixture_posterior" else 0
    return [one.requires_grad_() if isinstance(one, Tensor) and i >= first else one for i, one in enumerate(inputs)]


def forms(rule: autograd.Rule) -> dict[str, tuple[Call, Call]]:
    """Return calls of an operator by the kind of its node: the forward pass, and both passes."""
    inputs = arguments(rule.name)
    in_python = autograd.function_in_python(rule)
    result = {"empty, Python": passes(empty(inputs, in_python(*inputs)), inputs), "Python": passes(in_python, inputs)}
    in_cpp = getattr(torch.ops.deepmix, f"recorded_{rule.name}", None)
    if in_cpp is not None:
        result["C++"] = passes(in_cpp.default, inputs)
    return result


def empty(inputs: Sequence[Any], outputs: Tensor | tuple[Tensor, ...]) -> Callable[..., Any]:
    """Return an `autograd.Function` that gives values and gradients of these shapes without computing anything."""
    gradients = tuple(torch.ones_like(one) if requires_grad(one) else None for one in inputs)
    results = tuple(torch.zeros_like(one) for one in ((outputs,) if isinstance(outputs, Tensor) else outputs))

    class Empty(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(*(one for one in inputs if isinstance(one, Tensor)))
            return results

        @staticmethod
        def backward(ctx: Any, *_: Any) -> Any:
            assert ctx.saved_tensors
            return gradients

    return shortcuts.apply_of(Empty)


def requires_grad(value: object) -> bool:
    """Return whether a value is a tensor with a gradient."""
    return isinstance(value, Tensor) and value.requires_grad


def passes(function: Callable[..., Any], inputs: list[Any]) -> tuple[Call, Call]:
    """Return calls of the forward pass, and of both, by the engine itself, as `deepmix bench` does."""
    leaves = tuple(one for one in inputs if requires_grad(one))
    engine: Any = torch.autograd.Variable._execution_engine

    def forward() -> tuple[Tensor, ...]:
        outputs = function(*inputs)
        return (outputs,) if isinstance(outputs, Tensor) else outputs

    upstream = tuple(torch.ones_like(one) for one in forward())
    return forward, lambda: engine.run_backward(forward(), upstream, False, False, leaves)


def quartiles(calls: list[Call], blocks: int) -> list[float]:
    """Return the first quartile of each call's microseconds; the calls take turns."""
    for call in calls:
        for _ in range(WARM_UP):
            call()
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(blocks):
        for number, call in enumerate(calls):
            started = time.thread_time_ns()
            for _ in range(CALLS):
                call()
            times[number].append((time.thread_time_ns() - started) / CALLS / 1000)
    return [sorted(one)[len(one) // 4] for one in times]


if __name__ == "__main__":
    main()
