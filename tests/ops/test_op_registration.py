"""Tests that the operators keep PyTorch's rules: opcheck, gradcheck, torch.compile, autocast and vmap."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from deepmix.kernels import autograd, ops
from deepmix.maths import Gaussian, Latents, MixtureParameters
from tests.ops.oracle import (
    EQ_5,
    EQ_10,
    EQ_15,
    PRODUCT,
    STANDARD,
    Sizes,
    Switches,
    mixture_arguments,
    sampled_arguments,
)
from tests.ops.test_op_component_log_prob import diagonal_arguments, full_arguments

SMALL = [Sizes(5, 3, 2, L=2), Sizes(5, 3, 2, L=2, shared=True)]


SAMPLED_SWITCHES = [EQ_10, EQ_15, STANDARD, Switches(product=True)]


SWITCHES = [EQ_5, EQ_10, STANDARD, PRODUCT]


SAMPLED = "sampled_mixture_posterior"


def with_gradients(arguments: list[Any], name: str = "") -> list[Any]:
    """Return the arguments as leaves that require gradients, except the noise, which has none."""
    first = 1 if name == SAMPLED else 0
    return [a.requires_grad_() if isinstance(a, Tensor) and i >= first else a for i, a in enumerate(arguments)]


def calls(dtype: torch.dtype) -> list[tuple[str, list[Any]]]:
    """Return names and arguments of calls to every operator that has a gradient."""
    mixtures = [mixture_arguments(sizes, switches, dtype) for sizes in SMALL for switches in SWITCHES]
    return [
        *(("mixture_posterior", arguments) for arguments in mixtures),
        *((SAMPLED, sampled_arguments(sizes, switches, dtype)) for sizes in SMALL for switches in SAMPLED_SWITCHES),
        *(("component_kl", arguments[1:5]) for arguments in mixtures),
        ("component_log_prob", diagonal_arguments(5, 3, 2, dtype)),
        ("component_log_prob_full", full_arguments(5, 3, 2, dtype)),
    ]


def operator(name: str) -> Callable[..., Any]:
    overload: Callable[..., Any] = getattr(torch.ops.deepmix, name).default
    return overload


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch 2.15's own reads it
@pytest.mark.parametrize("number", range(len(calls(torch.float32))))
def test_opcheck(number: int) -> None:
    name, arguments = calls(torch.float32)[number]
    torch.library.opcheck(operator(name), with_gradients(arguments, name))


@pytest.mark.parametrize("number", range(len(calls(torch.float64))))
def test_gradcheck(number: int) -> None:
    name, arguments = calls(torch.float64)[number]
    if name == "component_log_prob_full":
        arguments[2] = arguments[2].detach()  # the operator reads only its lower triangle
        assert torch.autograd.gradcheck(
            lambda *a: operator(name)(a[0], a[1], a[2].tril(), a[3]), with_gradients(arguments)
        )
    else:
        assert torch.autograd.gradcheck(operator(name), with_gradients(arguments, name))


@pytest.mark.parametrize("eager", [False, True], ids=["operator", "eager"])
@pytest.mark.parametrize("number", range(len(calls(torch.float64))))
def test_gradgradcheck(number: int, eager: bool) -> None:
    name, arguments = calls(torch.float64)[number]
    compute = (lambda *a: autograd.call(name, *a)) if eager else operator(name)
    if name == "component_log_prob_full":
        arguments[2] = arguments[2].detach()
    assert torch.autograd.gradgradcheck(compute, with_gradients(arguments, name))


def test_hessian_of_the_kl_by_the_means_is_the_priors_precision() -> None:
    mean, log_var = torch.randn(1, 1, 3, dtype=torch.float64), torch.zeros(1, 1, 3, dtype=torch.float64)
    prior_mean, prior_log_var = torch.zeros(1, 3, dtype=torch.float64), torch.tensor([[0.0, 1.0, -1.0]]).double()
    hessian = torch.autograd.functional.hessian(
        lambda m: autograd.call("component_kl", m, log_var, prior_mean, prior_log_var).sum(), mean
    )
    torch.testing.assert_close(hessian.reshape(3, 3), torch.diag((-prior_log_var[0]).exp()))


def test_gradient_ends_at_an_input_that_was_computed_from_another() -> None:
    z = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    factor = torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)
    log_var, log_weight = torch.zeros(3, 2, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    results = []
    for compute in (operator("component_log_prob"), functools.partial(autograd.call, "component_log_prob")):
        log_normalizer_N = compute(z, z.mean(0, keepdim=True) * factor, log_var, log_weight)[2]
        (plain,) = torch.autograd.grad(log_normalizer_N.sum(), z, retain_graph=True)
        (graph,) = torch.autograd.grad(log_normalizer_N.sum(), z, create_graph=True)
        torch.testing.assert_close(graph, plain)
        results.append(torch.autograd.grad(graph.square().sum(), z)[0])
    torch.testing.assert_close(results[0], results[1])
    assert results[0].abs().max() > 0.01


def assert_operators_gradients(name: str, arguments: list[Any], compute: Callable[..., Any]) -> None:
    """Assert that a function gives an operator's results and gradients, bit by bit."""
    leaves = [a for a in with_gradients(arguments, name) if isinstance(a, Tensor) and a.requires_grad]
    results = []
    for function in (operator(name), compute):
        outputs = function(*arguments)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        upstream = [torch.full_like(output, 0.5 + i) for i, output in enumerate(outputs)]
        results.append([*outputs, *torch.autograd.grad(outputs, leaves, upstream)])
    for expected, actual in zip(*results, strict=True):
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("number", range(len(calls(torch.float32))))
def test_eager_gradients_equal_the_operators(number: int) -> None:
    name, arguments = calls(torch.float32)[number]
    assert_operators_gradients(name, arguments, lambda *a: autograd.call(name, *a))


def e_step(mean: Tensor, log_var: Tensor, noise: Tensor, prior: Gaussian, log_weight: Tensor) -> Tensor:
    posterior, mixture = Gaussian(mean, log_var), MixtureParameters(prior, log_weight)
    latents = Latents(noise, posterior, mixture, ops.component_kl(posterior, mixture), at_mean=False)
    responsibilities = ops.mixture_posterior(latents, None, use_posterior=True)
    assert responsibilities.z_LNHM is not None
    return responsibilities.log_q_NK - latents.kl_NK + responsibilities.z_LNHM.square().mean()


def e_step_of_samples(mean: Tensor, log_var: Tensor, noise: Tensor, prior: Gaussian, log_weight: Tensor) -> Tensor:
    posterior, mixture = Gaussian(mean, log_var), MixtureParameters(prior, log_weight)
    latents = Latents(noise, posterior, mixture, ops.component_kl(posterior, mixture), at_mean=False)
    log_likelihood_LNK = latents.z_LNHM.square().mean((-2, -1)).unsqueeze(-1)
    return ops.mixture_posterior(latents, log_likelihood_LNK, use_posterior=True).log_q_NK


@pytest.mark.parametrize("sizes", SMALL, ids=str)
@pytest.mark.parametrize("compute", [e_step, e_step_of_samples])
def test_compiles_as_one_graph(compute: Callable[..., Tensor], sizes: Sizes) -> None:
    noise, mean, log_var, prior_mean, prior_log_var, log_weight, *_ = sampled_arguments(sizes, EQ_10)
    leaves = with_gradients([mean, log_var, prior_mean, prior_log_var, log_weight])
    arguments = (mean, log_var, noise, Gaussian(prior_mean, prior_log_var), log_weight)
    graph = torch.compile(compute, fullgraph=True, backend="aot_eager")
    actual, expected = graph(*arguments), compute(*arguments)
    torch.testing.assert_close(actual, expected)
    for one, other in zip(
        torch.autograd.grad(actual.square().sum(), leaves),
        torch.autograd.grad(expected.square().sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


IN_A_NEW_PROCESS = """
import sys, torch
from deepmix.kernels import ops
from deepmix.maths import Gaussian, MixtureParameters

z = torch.arange(6.0).reshape(3, 2).requires_grad_()
mixture = MixtureParameters(Gaussian(torch.eye(2), torch.zeros(2, 2)), torch.zeros(2))
log_prob = lambda z: ops.component_log_prob(z, mixture)[0].sum()
if "compile first" in sys.argv:
    from_graph = torch.compile(log_prob, fullgraph=True, backend="aot_eager")(z)
log_prob(z).backward()
if "compile first" in sys.argv:
    torch.testing.assert_close(from_graph, log_prob(z))
print("torch._dynamo" in sys.modules)
"""


@pytest.mark.parametrize("what", ["run", "compile first"])
def test_only_compiling_imports_the_compiler(what: str) -> None:
    command = [sys.executable, "-W", "error", "-c", IN_A_NEW_PROCESS, what]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert process.stdout.split() == [str(what == "compile first")]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    noise, mean, log_var, prior_mean, prior_log_var, log_weight, *_ = sampled_arguments(SMALL[0], EQ_10)
    prior = Gaussian(prior_mean, prior_log_var)
    noise, mean, log_var = noise.to(dtype), mean.to(dtype).requires_grad_(), log_var.to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        log_q_NK = e_step(mean, log_var, noise, prior, log_weight)
    assert log_q_NK.dtype == torch.float32
    log_q_NK.square().sum().backward()
    assert mean.grad is not None
    assert mean.grad.dtype == dtype
    exact = e_step(mean.detach().float(), log_var.float(), noise.float(), prior, log_weight)
    # the samples are bfloat16 if all rows are, and `e_step` adds their mean square, of about 1
    close = {"rtol": 0.0, "atol": 2.0**-7} if dtype == torch.bfloat16 else {}
    torch.testing.assert_close(log_q_NK.detach(), exact, **close)


def test_vmap_over_priors() -> None:
    z, mean, log_var, log_weight = diagonal_arguments(6, 3, 2)
    means = torch.stack([mean, mean + 1.0])
    compute = operator("component_log_prob")
    batched = torch.vmap(compute, in_dims=(None, 0, None, None))(z, means, log_var, log_weight)
    for i in range(2):
        for actual, expected in zip(batched, compute(z, means[i], log_var, log_weight), strict=True):
            assert torch.equal(actual[i], expected)


@pytest.mark.parametrize("compute", [autograd.call, lambda name, *a: operator(name)(*a)], ids=["eager", "operator"])
def test_gradients_through_vmap(compute: Callable[..., Any]) -> None:
    mean, log_var, prior_mean, prior_log_var = mixture_arguments(SMALL[0], EQ_10)[1:5]
    means = torch.stack([mean, mean - 1.0], dim=1).requires_grad_()
    compute = functools.partial(compute, "component_kl")
    batched = torch.vmap(compute, in_dims=(1, None, None, None))(means, log_var, prior_mean, prior_log_var)
    (actual,) = torch.autograd.grad(batched.square().sum(), means)
    one_by_one = torch.stack([compute(means[:, i], log_var, prior_mean, prior_log_var) for i in range(2)])
    (expected,) = torch.autograd.grad(one_by_one.square().sum(), means)
    torch.testing.assert_close(actual, expected)


def test_vmap_over_noise() -> None:
    noise, *parameters = sampled_arguments(SMALL[0], EQ_15)
    leaves = [a for a in with_gradients(parameters) if isinstance(a, Tensor)]
    noises = torch.stack([noise, -noise])
    compute = operator(SAMPLED)
    batched = torch.vmap(lambda one: compute(one, *parameters))(noises)
    one_by_one = [torch.stack(outputs) for outputs in zip(*(compute(one, *parameters) for one in noises), strict=True)]
    for actual, expected in zip(batched, one_by_one, strict=True):
        assert torch.equal(actual, expected)
    gradients = [torch.autograd.grad(sum(o.square().sum() for o in of), leaves) for of in (batched, one_by_one)]
    for actual, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(actual, expected)
