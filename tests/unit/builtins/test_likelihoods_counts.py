"""Likelihoods of counts compared with scipy.stats in float64, also for large counts and extreme rates."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from deepmix_builtins.likelihoods.bounds import MAX_LOG_RATE
from deepmix_builtins.likelihoods.counts import (
    NegativeBinomialLikelihood,
    PoissonLikelihood,
    negative_binomial_log_mass,
    poisson_log_mass,
)
from scipy import stats
from torch import Tensor

from deepmix.data import CellBlock

COUNTS = torch.tensor([0.0, 1.0, 2.0, 15.0, 16.0, 17.0, 100.0, 12345.0, 1e6], dtype=torch.float64)
RATES = torch.tensor([1e-4, 0.3, 1.0, 17.0, 1e3, 1e6], dtype=torch.float64)


def poisson() -> PoissonLikelihood:
    return PoissonLikelihood(CellBlock("poisson", 2)).double()


def negative_binomial() -> NegativeBinomialLikelihood:
    return NegativeBinomialLikelihood(CellBlock("negative-binomial", 2)).double()


def law(mean: float | np.ndarray, dispersion: float | np.ndarray) -> stats.rv_discrete:
    return stats.nbinom(dispersion, dispersion / (dispersion + mean))


def test_poisson_is_scipys_for_small_and_large_counts() -> None:
    x, rate = COUNTS.unsqueeze(-1), RATES
    expected = torch.from_numpy(stats.poisson.logpmf(x.numpy(), rate.numpy()))
    torch.testing.assert_close(poisson_log_mass(x, rate.log()), expected, rtol=1e-10, atol=1e-8)


def test_poisson_of_large_counts_is_exact_in_float32() -> None:
    x = torch.tensor([1e6, 1e6, 123456.0])
    rate = torch.tensor([1e6, 1.001e6, 123000.0])
    expected = stats.poisson.logpmf(x.double().numpy(), rate.double().numpy())
    np.testing.assert_allclose(poisson_log_mass(x, rate.log()).numpy(), expected, rtol=0.0, atol=5e-3)


@pytest.mark.parametrize("dispersion", [0.01, 0.7, 1.0, 3.0, 500.0])
def test_negative_binomial_is_scipys_for_small_and_large_counts(dispersion: float) -> None:
    x, mean = COUNTS.unsqueeze(-1), RATES
    expected = torch.from_numpy(law(mean.numpy(), dispersion).logpmf(x.numpy()))
    actual = negative_binomial_log_mass(x, mean.log(), torch.tensor(math.log(dispersion), dtype=torch.float64))
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-8)


def test_a_large_dispersion_is_a_poisson_distribution() -> None:
    x = torch.arange(12, dtype=torch.float64)
    actual = negative_binomial_log_mass(x, torch.tensor(1.0).double(), torch.tensor(18.0).double())
    np.testing.assert_allclose(actual, stats.poisson.logpmf(x.numpy(), math.e), atol=1e-5)


@pytest.mark.parametrize("log_mass", [poisson_log_mass, negative_binomial_log_mass])
def test_gradients_are_those_of_finite_differences(log_mass) -> None:
    x = COUNTS[:-1].unsqueeze(-1)
    log_rate = RATES.log()
    others = [] if log_mass is poisson_log_mass else [torch.tensor(0.4, dtype=torch.float64)]
    inputs = [value.clone().requires_grad_() for value in (log_rate, *others)]
    gradients = torch.autograd.grad(log_mass(x, *inputs).sum(), inputs)
    step = 1e-6
    for index, gradient in enumerate(gradients):
        moved = [[value + (step * sign if i == index else 0.0) for i, value in enumerate(inputs)] for sign in (1, -1)]
        high, low = (log_mass(x, *values) for values in moved)
        difference = ((high - low) / (2.0 * step)).sum(0) if index == 0 else ((high - low) / (2.0 * step)).sum()
        torch.testing.assert_close(gradient, difference.detach(), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("make", [poisson, negative_binomial])
def test_outputs_are_relative_to_the_columns_training_mean(make) -> None:
    x = torch.tensor([[4.0, 0.0], [math.nan, 0.0], [6.0, 3.0]], dtype=torch.float64)
    likelihood = make()
    likelihood.start(x)
    outputs = torch.tensor([[0.0, 0.0], [math.log(2.0), -1.0]], dtype=torch.float64)
    expected = torch.tensor([[5.0, 1.0], [10.0, math.exp(-1.0)]], dtype=torch.float64)
    torch.testing.assert_close(likelihood.mean(outputs), expected, rtol=1e-6, atol=0.0)  # the start is in float32
    assert likelihood.location(outputs) is None
    assert likelihood.residual(x[:2], outputs) is None


def test_the_dispersion_starts_at_that_of_the_column() -> None:
    x = torch.from_numpy(law(np.array([6.0, 0.5]), np.array([2.0, 0.4])).rvs((50_000, 2), random_state=0)).double()
    likelihood = negative_binomial()
    likelihood.start(x)
    assert likelihood.used_log_dispersion_C.exp().tolist() == pytest.approx([2.0, 0.4], rel=0.1)
    log_prob = likelihood.log_prob(x, torch.zeros(1, 2).double())
    better = law(x.mean(0).numpy(), likelihood.used_log_dispersion_C.exp().detach().numpy()).logpmf(x.numpy())
    np.testing.assert_allclose(log_prob.detach(), better, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", [poisson, negative_binomial])
@pytest.mark.parametrize("output", [-1e4, 1e4])
def test_extreme_outputs_overflow_nowhere(make, output: float) -> None:
    likelihood = make().float()
    outputs = torch.full((2, 2), output, requires_grad=True)
    x = torch.tensor([[0.0, 1.0], [1e6, 1e9]])
    log_prob = likelihood.log_prob(x, outputs)
    gradients = torch.autograd.grad(log_prob.sum(), [outputs, *likelihood.parameters()])
    assert bool(log_prob.isfinite().all())
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    assert bool(likelihood.sample(outputs, torch.Generator()).isfinite().all())
    assert float(likelihood.mean(outputs).detach().max()) <= math.exp(MAX_LOG_RATE) * 1.001


def frequencies(x: Tensor) -> np.ndarray:
    return np.bincount(x.long().numpy(), minlength=40)[:40] / len(x)


def test_samples_have_scipys_frequencies() -> None:
    outputs = torch.tensor([[0.7, -1.0]], dtype=torch.float64).expand(20_000, 2)
    dispersed = negative_binomial()
    with torch.no_grad():
        dispersed.log_dispersion_C.copy_(torch.tensor([0.5, -1.0]))
    laws = {
        poisson(): stats.poisson(np.exp([0.7, -1.0])),
        dispersed: law(np.exp([0.7, -1.0]), np.exp([0.5, -1.0])),
    }
    for likelihood, exact in laws.items():
        x = likelihood.sample(outputs, torch.Generator().manual_seed(0)).detach()
        for cell in range(2):
            expected = exact.pmf(np.arange(40)[:, None])[:, cell]
            np.testing.assert_allclose(frequencies(x[:, cell]), expected, atol=0.012)
