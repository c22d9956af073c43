"""A backward pass computes the gradients that are needed, and no others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from deepmix.kernels import autograd
from tests.ops import oracle
from tests.ops.test_op_registration import SAMPLED, calls

pytestmark = pytest.mark.usefixtures("device")

CALLS = calls(torch.float32)


class BackwardSizes(TorchDispatchMode):
    """Notes how many elements each result of the backward operators has."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        if func.__name__.endswith("_backward.default"):
            self.sizes = [result.numel() for result in results]
        return results


def gradients(name: str, arguments: list[Any], leaves: list[int]) -> tuple[list[Tensor], list[int]]:
    """Return the gradients of some arguments, and the sizes of all that the operator returned."""
    inputs = [a.detach().to(oracle.device) if isinstance(a, Tensor) else a for a in arguments]
    for i in leaves:
        inputs[i].requires_grad_()
    outputs = autograd.call(name, *inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    upstream = oracle.upstream_like(outputs)
    with BackwardSizes() as recorder:
        results = torch.autograd.grad(outputs, [inputs[i] for i in leaves], [u.to(oracle.device) for u in upstream])
    return list(results), recorder.sizes


@pytest.mark.parametrize("number", range(len(CALLS)))
def test_each_gradient_alone_is_the_same_and_the_others_have_no_elements(number: int) -> None:
    name, arguments = CALLS[number]
    first = 1 if name == SAMPLED else 0  # the noise has no gradient
    leaves = [i for i, a in enumerate(arguments) if i >= first and isinstance(a, Tensor)]
    together, sizes = gradients(name, arguments, leaves)
    assert [size for size in sizes if size > 0] == [arguments[i].numel() for i in leaves]
    for i, expected in zip(leaves, together, strict=True):
        (alone,), sizes = gradients(name, arguments, [i])
        torch.testing.assert_close(alone, expected)
        assert [n for n, size in enumerate(sizes) if size > 0] == [i - first]


def test_a_tensor_that_left_a_transform_is_differentiated() -> None:
    left = []
    torch.func.grad(lambda mean: (left.append(mean), mean.sum())[1])(torch.ones(2, 1, 3, device=oracle.device))
    log_var = torch.zeros(2, 1, 3, device=oracle.device, requires_grad=True)
    kl_N1 = autograd.call("component_kl", left[0], log_var, None, None)
    assert torch.equal(kl_N1, torch.full_like(kl_N1, 1.5))
    (by_log_var,) = torch.autograd.grad(kl_N1.sum(), log_var)
    assert torch.equal(by_log_var, torch.zeros_like(log_var))
