"""Without torch's private names, the operators give the same values and gradients."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from deepmix.bench import timing
from deepmix.kernels import autograd, shortcuts
from tests.ops.test_op_registration import calls, with_gradients

ACTIVE, BELOW = "_are_functorch_transforms_active", "_AutoDispatchBelowAutograd"
CALLS = calls(torch.float32)


def remove(patch: pytest.MonkeyPatch, names: tuple[str, ...]) -> None:
    """Let the shortcuts see a torch without these names; torch itself needs them."""
    remaining_names = {name: getattr(torch._C, name) for name in (ACTIVE, BELOW) if name not in names}
    patch.setattr(shortcuts, "_C", SimpleNamespace(**remaining_names))


def outputs_of(name: str, arguments: list[Any]) -> tuple[Tensor, ...]:
    outputs = autograd.call(name, *arguments)
    return outputs if isinstance(outputs, tuple) else (outputs,)


def values_and_gradients(name: str, arguments: list[Any]) -> list[Tensor]:
    leaves = [a for a in with_gradients(arguments, name) if isinstance(a, Tensor) and a.requires_grad]
    with torch.no_grad():
        plain = outputs_of(name, arguments)
    outputs = outputs_of(name, arguments)
    upstream = [torch.full_like(output, 0.5 + i) for i, output in enumerate(outputs)]
    return [*plain, *outputs, *torch.autograd.grad(outputs, leaves, upstream)]


@pytest.mark.parametrize("names", [(ACTIVE,), (BELOW,), (ACTIVE, BELOW)], ids=str)
@pytest.mark.parametrize("number", range(len(CALLS)))
def test_values_and_gradients_are_the_same(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], number: int
) -> None:
    name, arguments = CALLS[number]
    expected = values_and_gradients(name, arguments)
    remove(monkeypatch, names)
    for actual, value in zip(values_and_gradients(name, arguments), expected, strict=True):
        assert torch.equal(actual, value)


def test_the_shortcuts_are_taken_only_where_torch_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    mean, log_var = torch.zeros(2, 1, 3, requires_grad=True), torch.zeros(2, 1, 3)
    called = []
    monkeypatch.setitem(autograd._functions, "component_kl", lambda *inputs: called.append(len(inputs)))
    autograd.call("component_kl", mean, log_var, None, None)
    assert called == [4]
    remove(monkeypatch, (ACTIVE,))
    kl_NK = autograd.call("component_kl", mean, log_var, None, None)
    assert called == [4]
    assert torch.equal(kl_NK, torch.zeros(2, 1))
    assert kl_NK.requires_grad


@pytest.mark.parametrize("names", [(), (ACTIVE,), (BELOW,), (ACTIVE, BELOW)], ids=str)
def test_under_vmap(monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]) -> None:
    """KL(q || N(0, 1)) of unit variances is half the mean's square, and its gradient the mean."""
    remove(monkeypatch, names)
    means = torch.arange(12.0).view(2, 2, 1, 3).requires_grad_()
    kl_BN1 = torch.vmap(lambda mean: autograd.call("component_kl", mean, torch.zeros_like(mean), None, None))(means)
    assert torch.equal(kl_BN1, 0.5 * means.square().sum(-1))
    (gradient,) = torch.autograd.grad(kl_BN1.sum(), means)
    assert torch.equal(gradient, means)


def test_the_benchmark_takes_the_same_gradients_without_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor(3.0, requires_grad=True)
    upstream = (torch.tensor([1.0, 10.0]), torch.tensor(2.0))
    for engine in ("there", "missing"):
        if engine == "missing":
            monkeypatch.setattr(
                timing,
                "torch",
                SimpleNamespace(autograd=SimpleNamespace(Variable=SimpleNamespace(), grad=torch.autograd.grad)),
            )
        by_x, by_y = timing.gradients_of((x * y, y * y), (x, y), upstream)
        assert torch.equal(by_x, torch.tensor([3.0, 30.0]))
        assert torch.equal(by_y, torch.tensor(1.0 + 20.0 + 12.0))
