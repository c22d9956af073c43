"""The two kinds of autograd node, in C++ and in Python, give the same, and keep torch's rules for nodes."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from deepmix.kernels import autograd, build, loader
from tests.ops.test_op_registration import assert_operators_gradients, calls, with_gradients

RULES = {rule.name: rule for rule in autograd.RULES}
CALLS = calls(torch.float32)
HAS_NODES = "DEEPMIX_TEST_CUDA_ON_CPU" not in os.environ and build.takes_nodes(torch.__version__)
"""Whether the tests' library has nodes in C++: it does where it was compiled on first use from all sources."""


def in_python(name: str) -> Callable[..., Any]:
    return autograd.function_in_python(RULES[name])


def kinds() -> list[Callable[[str], Callable[..., Any]]]:
    """Return what makes a call whose gradient a node of either kind records."""
    return [in_python, lambda name: autograd._functions[name]]


def kl_arguments() -> list[Tensor]:
    """Return q and a prior of three components of two dimensions, four rows."""
    mean, log_var = torch.randn(4, 3, 2), torch.randn(4, 3, 2)
    return [mean, log_var, torch.randn(3, 2), torch.randn(3, 2)]


def test_a_library_compiled_on_first_use_has_nodes(session_kernels: loader.Kernels) -> None:
    mean, *others = kl_arguments()
    node = autograd.call("component_kl", mean.requires_grad_(), *others).grad_fn
    is_in_python = isinstance(node, torch.autograd.function.BackwardCFunction)
    assert is_in_python == (session_kernels.path == "ahead of time" or not HAS_NODES)


@pytest.mark.parametrize("number", range(len(CALLS)))
def test_nodes_in_python_give_the_operators_gradients(number: int) -> None:
    name, arguments = CALLS[number]
    assert_operators_gradients(name, arguments, in_python(name))


@pytest.mark.parametrize("number", range(0, len(CALLS), 4))
def test_nodes_in_python_have_second_derivatives(number: int) -> None:
    name, arguments = calls(torch.float64)[number]
    assert torch.autograd.gradgradcheck(in_python(name), with_gradients(arguments, name))


@pytest.mark.parametrize("kind", kinds(), ids=["python", "eager"])
def test_rules_of_nodes(kind: Callable[[str], Callable[..., Any]]) -> None:
    mean, *others = kl_arguments()
    compute = kind("component_kl")
    assert not compute(mean, *others).requires_grad
    mean.requires_grad_()
    seen = []
    kl_NK = compute(mean, *others)
    kl_NK.register_hook(lambda gradient: seen.append(gradient.shape))
    kl_NK.sum().backward()
    assert seen == [(4, 3)]
    variance_KM = others[2].exp()
    torch.testing.assert_close(mean.grad, (mean.detach() - others[1]) / variance_KM)
    assert all(one.grad is None for one in others)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        kl_NK.sum().backward()
    later = compute(mean, *others)
    others[2].add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        later.sum().backward()


@pytest.mark.parametrize("kind", kinds(), ids=["python", "eager"])
def test_one_output_alone_and_none(kind: Callable[[str], Callable[..., Any]]) -> None:
    """Gradients by the normaliser alone are the responsibilities' weights, and a graph that no one asks stays away."""
    name, arguments = next(one for one in calls(torch.float64) if one[0] == "component_log_prob")
    z, mean, log_var, log_weight = with_gradients(arguments)
    _, log_q_NK, log_normalizer_N = kind(name)(z, mean, log_var, log_weight)
    (by_weight_K,) = torch.autograd.grad(log_normalizer_N.sum(), log_weight, retain_graph=True)
    torch.testing.assert_close(by_weight_K, log_q_NK.detach().exp().sum(0))
    (graph_K,) = torch.autograd.grad(log_normalizer_N.sum(), log_weight, create_graph=True)
    torch.testing.assert_close(graph_K, by_weight_K)
    assert graph_K.requires_grad
    with torch.no_grad():
        assert kind(name)(z, mean, log_var, log_weight)[0].grad_fn is None


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # torch's own forward mode uses it
@pytest.mark.parametrize("is_recorded", [True, False])
def test_forward_mode_is_refused(is_recorded: bool) -> None:
    """Without the refusal, torch.func.jvp and forward mode without gradients would give zeros and nothing."""
    mean, *others = kl_arguments()

    def compute(mean: Tensor) -> Tensor:
        kl_NK: Tensor = autograd.call("component_kl", mean, *others)
        return kl_NK

    with torch.set_grad_enabled(is_recorded):
        with pytest.raises(NotImplementedError, match="forward mode"):
            torch.func.jvp(compute, (mean,), (torch.ones_like(mean),))
        with forward_ad.dual_level():
            assert torch.equal(compute(mean), autograd.call("component_kl", mean, *others))
            with pytest.raises(NotImplementedError, match="forward mode"):
                compute(forward_ad.make_dual(mean, torch.ones_like(mean)))
