"""Observation models compared with torch.distributions, and the floors that keep densities bounded."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal

from deepmix.models import Likelihood
from deepmix.models.likelihoods import MAX_LOG_VAR, MIN_LOG_VAR, MIN_VARIANCE

R, D = 5, 3


CLOSE = {"rtol": 1e-12, "atol": 1e-12}  # float64: sums of a few terms


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_bernoulli_of_binary_rows_is_the_distributions_log_prob() -> None:
    logits, x = 3.0 * randn(R, D, seed=1), (rand(R, D, seed=2) > 0.5).double()
    actual = Likelihood("bernoulli", D).log_prob(x, logits)
    torch.testing.assert_close(actual, Bernoulli(logits=logits).log_prob(x).sum(-1), **CLOSE)


def test_bernoulli_of_grey_values_is_vade_equation_12() -> None:
    logits, x = randn(R, D, seed=1), rand(R, D, seed=2)
    mu = 1.0 / (1.0 + torch.exp(-logits))
    expected = (x * mu.log() + (1.0 - x) * (1.0 - mu).log()).sum(-1)
    torch.testing.assert_close(Likelihood("bernoulli", D).log_prob(x, logits), expected, **CLOSE)


def test_bernoulli_of_extreme_logits_is_finite() -> None:
    logits = torch.tensor([[-1000.0, 1000.0, 1000.0]], dtype=torch.float64)
    x = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64)
    assert Likelihood("bernoulli", D).log_prob(x, logits).tolist() == [-1000.0]


@pytest.mark.parametrize("variance", [None, 0.3, 7.0])
def test_gaussian_has_one_variance_for_all_features(variance: float | None) -> None:
    mean, x = randn(R, D, seed=1), randn(R, D, seed=2)
    likelihood = Likelihood("gaussian", D).double()
    if variance is not None:
        likelihood.place(variance)
    expected = Normal(mean, math.sqrt(1.0 if variance is None else variance)).log_prob(x).sum(-1)
    torch.testing.assert_close(likelihood.log_prob(x, mean), expected, **CLOSE)


def test_gaussian_learned_reads_means_then_log_variances() -> None:
    mean, log_var, x = randn(R, D, seed=1), randn(R, D, seed=2), randn(R, D, seed=3)
    actual = Likelihood("gaussian-learned", D).log_prob(x, torch.cat([mean, log_var], dim=-1))
    torch.testing.assert_close(actual, Normal(mean, torch.exp(0.5 * log_var)).log_prob(x).sum(-1), **CLOSE)


@pytest.mark.parametrize(("output", "used"), [(-50.0, MIN_LOG_VAR), (20.0, MAX_LOG_VAR)])
def test_gaussian_learned_log_variances_stay_within_bounds(output: float, used: float) -> None:
    mean, x = randn(R, D, seed=1), randn(R, D, seed=2)
    log_var = torch.full_like(mean, output).requires_grad_()
    actual = Likelihood("gaussian-learned", D).log_prob(x, torch.cat([mean, log_var], dim=-1))
    torch.testing.assert_close(actual, Normal(mean, math.exp(0.5 * used)).log_prob(x).sum(-1), **CLOSE)
    (gradient,) = torch.autograd.grad(actual.sum(), log_var)
    assert gradient.count_nonzero() == 0


def test_the_floor_of_a_variance_is_a_standard_deviation_of_one_hundredth() -> None:
    assert MIN_VARIANCE == 1e-4
    assert pytest.approx(1e-4) == math.exp(MIN_LOG_VAR)


@pytest.mark.parametrize("residual", [0.0, 1e-9])
def test_a_perfect_reconstruction_leaves_the_density_bounded(residual: float) -> None:
    likelihood = Likelihood("gaussian", D).double()
    likelihood.place(residual)
    x = randn(R, D)
    best = -0.5 * D * math.log(2.0 * math.pi * MIN_VARIANCE)
    torch.testing.assert_close(likelihood.log_prob(x, x), torch.full((R,), best, dtype=torch.float64), **CLOSE)


def test_placing_the_mean_squared_error_maximises_the_fixed_gaussian() -> None:
    mean, x = randn(R, D, seed=1), randn(R, D, seed=2)
    residual = float((x - mean).square().mean())

    def total(variance: float) -> float:
        likelihood = Likelihood("gaussian", D).double()
        likelihood.place(variance)
        return float(likelihood.log_prob(x, mean).sum())

    assert total(residual) > total(0.99 * residual)
    assert total(residual) > total(1.01 * residual)


def test_placed_variance_is_part_of_the_saved_state() -> None:
    placed, fresh = Likelihood("gaussian", D).double(), Likelihood("gaussian", D).double()
    placed.place(0.3)
    fresh.load_state_dict(placed.state_dict())
    x, mean = randn(R, D, seed=1), randn(R, D, seed=2)
    torch.testing.assert_close(fresh.log_prob(x, mean), placed.log_prob(x, mean), rtol=0.0, atol=0.0)
    assert not torch.equal(Likelihood("gaussian", D).double().log_prob(x, mean), placed.log_prob(x, mean))


def test_placing_does_not_change_the_likelihoods_without_a_fixed_variance() -> None:
    x = rand(R, D)
    for name, outputs in (("bernoulli", randn(R, D)), ("gaussian-learned", randn(R, 2 * D))):
        likelihood = Likelihood(name, D).double()
        before = likelihood.log_prob(x, outputs)
        likelihood.place(0.01)
        assert torch.equal(likelihood.log_prob(x, outputs), before)


def test_means_are_those_of_the_distributions() -> None:
    outputs = randn(R, 2 * D)
    mean, log_var = outputs[:, :D], outputs[:, D:]
    torch.testing.assert_close(Likelihood("bernoulli", D).mean(mean), Bernoulli(logits=mean).mean, **CLOSE)
    assert torch.equal(Likelihood("gaussian", D).mean(mean), mean)
    expected = Normal(mean, torch.exp(0.5 * log_var)).mean
    assert torch.equal(Likelihood("gaussian-learned", D).mean(outputs), expected)


def test_outputs_a_row_are_twice_the_features_only_where_variances_are_learned() -> None:
    actual = {name: Likelihood(name, D).n_outputs for name in ("bernoulli", "gaussian", "gaussian-learned")}
    assert actual == {"bernoulli": D, "gaussian": D, "gaussian-learned": 2 * D}


@pytest.mark.parametrize("name", ["bernoulli", "gaussian", "gaussian-learned"])
def test_no_likelihood_has_parameters_of_its_own(name: str) -> None:
    """The supplement's Table 2 counts one mean output and nothing more."""
    assert list(Likelihood(name, D).parameters()) == []


def test_noise_on_the_latents_adds_the_square_of_what_a_linear_decoder_makes_of_it() -> None:
    weight, bias, z = randn(2, D, seed=1), randn(D, seed=2), randn(9000, 2, seed=3)
    likelihood = Likelihood("gaussian", D).double()

    def error(log_var: float) -> float:
        return likelihood.noise_error(lambda z: z @ weight + bias, z, log_var)

    assert error(-3.0) == pytest.approx(math.exp(-3.0) * float(weight.square().sum()) / D, rel=0.05)  # 3,000 rows
    assert error(-3.0) == error(-3.0)
    assert error(-1.0) == pytest.approx(math.exp(2.0) * error(-3.0), rel=1e-9)


@pytest.mark.parametrize("name", ["bernoulli", "gaussian-learned"])
def test_noise_adds_nothing_where_no_variance_is_placed(name: str) -> None:
    assert Likelihood(name, D).double().noise_error(lambda z: z.repeat(1, D), randn(R, 2), 0.0) == 0.0
