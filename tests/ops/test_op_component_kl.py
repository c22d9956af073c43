"""Tests of component_kl against the float64 reference and torch.distributions."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from deepmix.kernels import ops
from deepmix.maths import Gaussian, MixtureParameters, formulas
from tests.ops.oracle import EQ_15, STANDARD, Sizes, Switches, assert_as_exact_as_reference, mixture_arguments, operator

pytestmark = pytest.mark.usefixtures("device")


kernel = operator("component_kl")


GRID = [
    *(Sizes(N, K, M) for N in (0, 1, 7) for K in (1, 10, 1000) for M in (1, 10, 64)),
    *(Sizes(N, K, M, shared=True) for N in (0, 1, 7) for K in (10, 1000) for M in (1, 10, 64)),
    Sizes(65536, 10, 10),
    Sizes(65536, 1, 64),
    Sizes(65536, 10, 10, shared=True),
    Sizes(70, 20000, 2, shared=True),
]


@pytest.mark.parametrize("switches", [EQ_15, STANDARD], ids=["mixture", "standard"])
@pytest.mark.parametrize("sizes", GRID, ids=str)
def test_error_is_at_most_twice_the_references(sizes: Sizes, switches: Switches) -> None:
    assert_as_exact_as_reference(
        kernel,
        formulas.component_kl,
        lambda seed: mixture_arguments(sizes, switches, seed=seed)[1:5],
        sizes.draws,
    )


def test_distributions_agree() -> None:
    mean, log_var, prior_mean, prior_log_var = mixture_arguments(Sizes(6, 3, 4), EQ_15, torch.float64)[1:5]
    posterior = Independent(Normal(mean, log_var.mul(0.5).exp()), 1)
    prior = Independent(Normal(prior_mean, prior_log_var.mul(0.5).exp()), 1)
    torch.testing.assert_close(kernel(mean, log_var, prior_mean, prior_log_var), kl_divergence(posterior, prior))


def test_public_function_expands_a_shared_standard_prior() -> None:
    mean, log_var = mixture_arguments(Sizes(6, 3, 4, shared=True), STANDARD)[1:3]
    kl_NK = ops.component_kl(Gaussian(mean, log_var), MixtureParameters(None, torch.zeros(3)))
    assert kl_NK.shape == (6, 3)
    torch.testing.assert_close(kl_NK, formulas.component_kl(mean, log_var, None, None).expand(6, 3))
