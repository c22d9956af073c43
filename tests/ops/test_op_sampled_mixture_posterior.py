"""Tests of sampled_mixture_posterior against the float64 reference, and against a z that is drawn first."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import Tensor

from deepmix import kernels
from deepmix.kernels import ops
from deepmix.maths import Gaussian, Latents, MixtureParameters, formulas
from tests.ops.oracle import (
    EQ_10,
    EQ_15,
    STANDARD,
    Sizes,
    Switches,
    assert_as_exact_as_reference,
    in_double,
    operator,
    sampled_arguments,
)
from tests.ops.test_op_mixture_posterior import GRID

pytestmark = pytest.mark.usefixtures("device")


kernel = operator("sampled_mixture_posterior")


LAYOUTS = pytest.mark.parametrize("shared", [False, True], ids=["heads", "shared"])


@pytest.mark.parametrize("sizes", [*GRID, Sizes(300001, 10, 1), Sizes(30001, 17, 5, L=3)], ids=str)
def test_error_is_at_most_twice_the_references(sizes: Sizes) -> None:
    assert_as_exact_as_reference(
        kernel,
        formulas.sampled_mixture_posterior,
        lambda seed: sampled_arguments(sizes, EQ_15, seed=seed),
        sizes.draws,
    )


@pytest.mark.parametrize("switches", [EQ_10, STANDARD, Switches(product=True)], ids=str)
@pytest.mark.parametrize("sizes", [Sizes(50, 6, 10, L=2), Sizes(50, 6, 10, L=2, shared=True)], ids=str)
def test_every_switch(sizes: Sizes, switches: Switches) -> None:
    assert_as_exact_as_reference(
        kernel,
        formulas.sampled_mixture_posterior,
        lambda seed: sampled_arguments(sizes, switches, seed=seed),
        sizes.draws,
    )


@LAYOUTS
def test_float64(shared: bool) -> None:
    arguments = sampled_arguments(Sizes(33, 5, 9, L=2, shared=shared), EQ_15, torch.float64)
    for actual, expected in zip(kernel(*arguments), formulas.sampled_mixture_posterior(*arguments), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-13, atol=1e-13)


@LAYOUTS
@pytest.mark.parametrize("number", range(3))
def test_gradient_of_one_output_alone(number: int, shared: bool) -> None:
    arguments = sampled_arguments(Sizes(33, 5, 9, L=2, shared=shared), EQ_15, torch.float64)
    leaves = [a.requires_grad_() for a in arguments[1:] if isinstance(a, Tensor)]
    gradients = []
    for compute in (kernel, formulas.sampled_mixture_posterior):
        output = compute(*arguments)[number]
        gradients.append(torch.autograd.grad(output.square().sum(), leaves, materialize_grads=True))
    for actual, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


@LAYOUTS
def test_results_equal_those_of_a_z_drawn_first(shared: bool) -> None:
    arguments = sampled_arguments(Sizes(40, 10, 10, L=2, shared=shared), EQ_15)
    noise, mean, log_var, *rest, use_posterior, product = arguments
    z, *from_noise = kernel(*arguments)
    torch.testing.assert_close(z, formulas.reparameterise(noise, mean, log_var))
    from_z = operator("mixture_posterior")(z, mean, log_var, *rest, None, use_posterior, product)
    for actual, expected in zip(from_noise, from_z, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@LAYOUTS
def test_narrow_posteriors_keep_their_density(shared: bool) -> None:
    """From z, log q(z|y,x) would lose the digits that cancel in z - mean; from the noise, it loses none."""
    arguments = sampled_arguments(Sizes(40, 4, 10, shared=shared), EQ_15)
    arguments[1] += 1e3
    arguments[2] -= 15.0
    arguments[3] += 1e3
    *_, exact = formulas.sampled_mixture_posterior(*in_double(arguments))
    *_, log_normalizer_N = kernel(*arguments)
    torch.testing.assert_close(log_normalizer_N.double(), exact, rtol=0.0, atol=2e-3)  # from z, it is off by 0.2


@LAYOUTS
@pytest.mark.parametrize("rows", [21, 1000])
def test_nan_stays_in_its_row(rows: int, shared: bool) -> None:
    arguments = sampled_arguments(Sizes(rows, 10, 10, shared=shared), EQ_15)
    clean = kernel(*arguments)
    arguments[1][5, 0, 2] = torch.nan
    z, log_q_NK, log_normalizer_N = kernel(*arguments)
    others = torch.arange(rows) != 5
    assert torch.isnan(z[0, 5, 0, 2])
    assert torch.equal(z[:, others], clean[0][:, others])
    for actual, expected in zip((log_q_NK, log_normalizer_N), clean[1:], strict=True):
        assert torch.isnan(actual[5]).all()
        assert torch.equal(actual[others], expected[others])


@LAYOUTS
def test_results_do_not_depend_on_threads_or_strides(shared: bool) -> None:
    arguments = sampled_arguments(Sizes(5000, 10, 10, shared=shared), EQ_15)
    leaves = [a.requires_grad_() for a in arguments[1:] if isinstance(a, Tensor)]
    strided = [a.mT.contiguous().mT if isinstance(a, Tensor) and a.dim() > 1 else a for a in arguments]
    threads = torch.get_num_threads()
    results = []
    try:
        for count, inputs in ((1, arguments), (2, arguments), (2, strided)):
            torch.set_num_threads(count)
            z_LNHM, log_q_NK, _ = kernel(*inputs)
            gradients = torch.autograd.grad(log_q_NK.square().sum() + z_LNHM.square().sum(), leaves)
            results.append([z_LNHM, log_q_NK, *gradients])
    finally:
        torch.set_num_threads(threads)
    for values in zip(*results, strict=True):
        assert torch.equal(values[0], values[1])
        assert torch.equal(values[0], values[2])


@pytest.mark.parametrize("plain", [False, True], ids=["kernel", "reference"])
def test_public_function_draws_z_without_a_likelihood(plain: bool) -> None:
    arguments = sampled_arguments(Sizes(9, 4, 3, L=2), EQ_15)
    noise, mean, log_var, prior_mean, prior_log_var, log_weight, *_ = arguments
    posterior = Gaussian(mean.bfloat16(), log_var.bfloat16())
    arguments[1:3] = posterior.mean.float(), posterior.log_var.float()
    prior = MixtureParameters(Gaussian(prior_mean, prior_log_var), log_weight)
    latents = Latents(noise, posterior, prior, torch.zeros(9, 4), at_mean=False)
    with kernels.reference_only() if plain else contextlib.nullcontext():
        responsibilities = ops.mixture_posterior(latents, None, use_posterior=True)
    z, log_q_NK, log_normalizer_N = formulas.sampled_mixture_posterior(*arguments)
    assert responsibilities.z_LNHM is not None
    torch.testing.assert_close(responsibilities.z_LNHM, z)
    torch.testing.assert_close(responsibilities.log_q_NK, log_q_NK)
    torch.testing.assert_close(responsibilities.log_normalizer_N, log_normalizer_N)


def test_noise_has_no_gradient() -> None:
    for compute in (kernel, formulas.sampled_mixture_posterior):
        arguments = sampled_arguments(Sizes(9, 4, 3), EQ_15)
        noise, mean = arguments[0].requires_grad_(), arguments[1].requires_grad_()
        by_noise, by_mean = torch.autograd.grad(compute(*arguments)[0].sum(), (noise, mean), allow_unused=True)
        assert by_noise is None
        assert (by_mean == 1.0).all()


def test_wrong_shapes_are_named() -> None:
    noise, mean, log_var, *_, log_weight, _, _ = sampled_arguments(Sizes(9, 4, 3), STANDARD)
    with pytest.raises(RuntimeError, match="mean has the wrong shape"):
        kernel(noise, mean[:8], log_var, None, None, log_weight, True, False)
    with pytest.raises(RuntimeError, match="the noise needs 4 dimensions"):
        kernel(mean, mean, log_var, None, None, log_weight, True, False)
