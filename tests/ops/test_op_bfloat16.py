"""Tests of rows in bfloat16: kernels compute with them in float32, and only what they write as rows is rounded."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from deepmix import kernels
from deepmix.kernels import autograd, ops
from deepmix.maths import Gaussian, Latents, MixtureParameters, formulas
from tests.ops import oracle
from tests.ops.oracle import (
    EQ_5,
    EQ_15,
    STANDARD,
    Sizes,
    in_double,
    mixture_arguments,
    operator,
    outputs_and_gradients,
    sampled_arguments,
    upstream_like,
)

pytestmark = pytest.mark.usefixtures("device")

ROUNDING = 2.0**-8
"""The largest relative error of a number that is rounded to bfloat16."""

N_ROWS = {"mixture_posterior": 3, "sampled_mixture_posterior": 3, "component_kl": 2, "component_log_prob": 1}
"""How many of an operator's first arguments are rows."""


def arguments_of(name: str, sizes: Sizes) -> list[Any]:
    if name == "sampled_mixture_posterior":
        return sampled_arguments(sizes, EQ_15)
    arguments = mixture_arguments(sizes, EQ_5)
    if name == "component_kl":
        return arguments[1:5]
    return [arguments[0][0, :, 0], *arguments[3:6]] if name == "component_log_prob" else arguments


def results_of(compute: Callable[..., Any], name: str, arguments: Sequence[Any], dtype: torch.dtype) -> list[Tensor]:
    """Return outputs and gradients for rows that are rounded to bfloat16 and then converted."""
    n_rows = N_ROWS[name]
    rows = [one.bfloat16().to(dtype) for one in arguments[:n_rows]]
    numbers = list(arguments[n_rows:]) if dtype != torch.float64 else in_double(arguments[n_rows:])
    with torch.no_grad():
        upstream = [one.bfloat16() for one in upstream_like(compute(*rows, *numbers))]
    return outputs_and_gradients(compute, [*rows, *numbers], upstream)


def assert_equal_but_for_rounding(actual: list[Tensor], in_float: list[Tensor], name: str) -> None:
    for one, wide in zip(actual, in_float, strict=True):
        if oracle.device == "cpu":
            assert torch.equal(one, wide.to(one.dtype))
        else:  # the compiler may fuse other products and sums in the kernels for other rows
            limit = 1e-5 * wide.square().mean().sqrt() + (ROUNDING * wide.abs() if one.dtype == torch.bfloat16 else 0.0)
            assert ((one.float() - wide).abs() <= limit).all()
    n_rounded = sum(one.dtype == torch.bfloat16 for one in actual)
    assert n_rounded == N_ROWS[name] + (name == "sampled_mixture_posterior")  # the rows' gradients, and z


@pytest.mark.parametrize("sizes", [Sizes(33, 5, 9, L=2), Sizes(65, 6, 8, shared=True)], ids=str)
@pytest.mark.parametrize("name", N_ROWS)
def test_results_are_those_in_float32_rounded_once(name: str, sizes: Sizes) -> None:
    arguments = arguments_of(name, sizes)
    actual = results_of(operator(name), name, arguments, torch.bfloat16)
    assert_equal_but_for_rounding(actual, results_of(operator(name), name, arguments, torch.float32), name)
    for one, true in zip(actual, results_of(getattr(formulas, name), name, arguments, torch.float64), strict=True):
        limit = 2e-5 * true.square().mean().sqrt() + (ROUNDING * true.abs() if one.dtype == torch.bfloat16 else 0.0)
        assert ((one.double() - true).abs() <= limit).all()


@pytest.mark.parametrize("name", ["mixture_posterior", "sampled_mixture_posterior", "component_kl"])
def test_rows_too_large_for_the_caches(name: str) -> None:
    arguments = arguments_of(name, Sizes(43000, 10, 10))  # 8.6 MB an array
    actual, in_float = (results_of(operator(name), name, arguments, dtype) for dtype in (torch.bfloat16, torch.float32))
    assert_equal_but_for_rounding(actual, in_float, name)


def test_rounding_is_that_of_torch() -> None:
    values = torch.tensor(
        [1.0 + 2.0**-8, 1.0 + 3 * 2.0**-8, 3.5e38, -1e-40, torch.inf, torch.nan, 0.3], dtype=torch.float32
    )
    rows = torch.zeros(1, len(values), 1, 1).bfloat16()
    upstream = values.view(-1, 1)
    zeros = torch.zeros(len(values), 1, 1).bfloat16()
    by_mean = operator("component_kl_backward")(zeros + 1.0, zeros, None, None, upstream, 1)[0]
    assert rows.numel() == by_mean.numel()
    torch.testing.assert_close(by_mean.flatten(), values.bfloat16(), rtol=0.0, atol=0.0, equal_nan=True)


@pytest.mark.parametrize("plain", [False, True], ids=["kernel", "reference"])
def test_public_functions_return_numbers_in_float32_and_samples_in_bfloat16(plain: bool) -> None:
    noise, mean, log_var, prior_mean, prior_log_var, log_weight, *_ = sampled_arguments(Sizes(9, 4, 3), STANDARD)
    assert prior_mean is None
    assert prior_log_var is None
    posterior = Gaussian(mean.bfloat16().requires_grad_(), log_var.bfloat16())
    prior = MixtureParameters(None, log_weight)
    with kernels.reference_only() if plain else contextlib.nullcontext():
        kl_NK = ops.component_kl(posterior, prior)
        latents = Latents(noise.bfloat16(), posterior, prior, kl_NK, at_mean=False)
        result = ops.mixture_posterior(latents, None, use_posterior=True)
    assert (kl_NK.dtype, result.log_q_NK.dtype, result.log_normalizer_N.dtype) == (torch.float32,) * 3
    assert result.z_LNHM is not None
    assert result.z_LNHM.dtype == torch.bfloat16
    wide = (noise.bfloat16().float(), posterior.mean.float(), posterior.log_var.float())
    z_LNHM, log_q_NK, _ = formulas.sampled_mixture_posterior(*wide, None, None, log_weight, True, False)
    torch.testing.assert_close(result.log_q_NK, log_q_NK)
    torch.testing.assert_close(result.z_LNHM.float(), z_LNHM, rtol=ROUNDING, atol=0.0)
    (by_mean,) = torch.autograd.grad(kl_NK.sum() + result.z_LNHM.float().sum(), posterior.mean)
    torch.testing.assert_close(by_mean.float(), posterior.mean.detach().float() + 1.0, rtol=3 * ROUNDING, atol=ROUNDING)


def test_second_derivatives_reach_rows_in_bfloat16() -> None:
    mean, log_var = (torch.zeros(1, 1, 2).bfloat16().requires_grad_() for _ in range(2))
    (by_mean,) = torch.autograd.grad(
        autograd.call("component_kl", mean, log_var, None, None).sum(), mean, create_graph=True
    )
    (twice,) = torch.autograd.grad(by_mean.sum(), mean)
    assert twice.tolist() == [[[1.0, 1.0]]]  # KL(N(mean, s) || N(0, I)) has mean^2 / 2
