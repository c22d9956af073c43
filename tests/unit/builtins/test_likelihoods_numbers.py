"""Likelihoods of numbers compared with scipy.stats in float64, also far in the tails."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from deepmix_builtins.likelihoods.bernoulli import BernoulliLikelihood
from deepmix_builtins.likelihoods.bounds import MAX_LOG_VAR, MIN_LOG_VAR, MIN_VARIANCE
from deepmix_builtins.likelihoods.gaussian import (
    ColumnGaussianLikelihood,
    GaussianLikelihood,
    LearnedGaussianLikelihood,
)
from deepmix_builtins.likelihoods.log_normal import LogNormalLikelihood
from deepmix_builtins.likelihoods.student_t import StudentTLikelihood
from scipy import stats
from torch import Tensor

from deepmix.data import CellBlock

R, C = 6, 3
CLOSE = {"rtol": 1e-11, "atol": 1e-11}  # float64, single cells


def built(likelihood, **values: list[float]):
    """Return a likelihood of C cells in float64, with the named parameters or buffers set."""
    module = likelihood(CellBlock("", C)).double()
    with torch.no_grad():
        for name, value in values.items():
            module.get_parameter(name).copy_(torch.tensor(value, dtype=torch.float64))
    return module


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def agree(actual: Tensor, expected: np.ndarray, **close: float) -> None:
    torch.testing.assert_close(actual.detach(), torch.from_numpy(np.asarray(expected)), **(close or CLOSE))


FAR = torch.tensor([[-1e6, -40.0, -3.0], [0.0, 1e-9, 2.0], [8.0, 300.0, 1e6]], dtype=torch.float64)


def test_bernoulli_of_zeros_and_ones() -> None:
    logits = randn(R, C, seed=1) * 10.0
    x = (randn(R, C, seed=2) > 0.0).double()
    expected = stats.bernoulli.logpmf(x.numpy(), torch.sigmoid(logits).numpy())
    agree(built(BernoulliLikelihood).log_prob(x, logits), expected)


def test_bernoulli_of_grey_values_is_vade_equation_12() -> None:
    logits, x = randn(R, C, seed=1), randn(R, C, seed=2).sigmoid()
    mu = 1.0 / (1.0 + torch.exp(-logits))
    expected = x * mu.log() + (1.0 - x) * (1.0 - mu).log()
    agree(built(BernoulliLikelihood).log_prob(x, logits), expected.numpy())


def test_bernoulli_of_extreme_logits_is_finite() -> None:
    logits = torch.tensor([[-1000.0, 1000.0, 1000.0]], dtype=torch.float64)
    x = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64)
    assert built(BernoulliLikelihood).log_prob(x, logits).tolist() == [[0.0, 0.0, -1000.0]]


@pytest.mark.parametrize("variance", [None, 0.3, 7.0])
def test_gaussian_has_one_variance_for_all_cells(variance: float | None) -> None:
    mean, x, likelihood = randn(3, C, seed=1), FAR, built(GaussianLikelihood)
    if variance is not None:
        likelihood.place(variance)
    expected = stats.norm.logpdf(x.numpy(), mean.numpy(), math.sqrt(1.0 if variance is None else variance))
    agree(likelihood.log_prob(x, mean), expected)


@pytest.mark.parametrize("residual", [0.0, 1e-9])
def test_a_perfect_reconstruction_leaves_the_density_bounded(residual: float) -> None:
    x, best = randn(R, C), stats.norm.logpdf(0.0, scale=0.01)
    for kind in (GaussianLikelihood, ColumnGaussianLikelihood):
        likelihood = built(kind)
        likelihood.place(residual)
        agree(likelihood.log_prob(x, x), np.full((R, C), best))
    assert pytest.approx(MIN_VARIANCE) == 1e-4 == pytest.approx(math.exp(MIN_LOG_VAR))


def test_gaussian_learned_reads_means_then_log_variances() -> None:
    mean, log_var, x = randn(R, C, seed=1), randn(R, C, seed=2), randn(R, C, seed=3)
    actual = built(LearnedGaussianLikelihood).log_prob(x, torch.cat([mean, log_var], dim=-1))
    agree(actual, stats.norm.logpdf(x.numpy(), mean.numpy(), torch.exp(0.5 * log_var).numpy()))


@pytest.mark.parametrize(("output", "used"), [(-50.0, MIN_LOG_VAR), (20.0, MAX_LOG_VAR)])
def test_gaussian_learned_log_variances_stay_within_bounds(output: float, used: float) -> None:
    mean, x = randn(R, C, seed=1), randn(R, C, seed=2)
    log_var = torch.full_like(mean, output).requires_grad_()
    actual = built(LearnedGaussianLikelihood).log_prob(x, torch.cat([mean, log_var], dim=-1))
    agree(actual, stats.norm.logpdf(x.numpy(), mean.numpy(), math.exp(0.5 * used)), rtol=1e-9, atol=1e-9)
    (gradient,) = torch.autograd.grad(actual.sum(), log_var)
    assert gradient.count_nonzero() == 0


def test_a_variance_per_column_is_1_and_fixed_in_pretraining_and_learned_after_it_was_placed() -> None:
    likelihood, mean, x = built(ColumnGaussianLikelihood), randn(R, C, seed=1), randn(R, C, seed=2)
    optimizer = torch.optim.Adam(likelihood.parameters(), 0.1)

    def step() -> None:
        optimizer.zero_grad()
        (-likelihood.log_prob(x, mean).mean()).backward()
        optimizer.step()

    step()
    agree(likelihood.log_prob(x, mean), stats.norm.logpdf(x.numpy(), mean.numpy(), 1.0))
    likelihood.place(0.25)
    agree(likelihood.log_prob(x, mean), stats.norm.logpdf(x.numpy(), mean.numpy(), 0.5))
    for _ in range(400):
        step()
    agree(likelihood.variance().exp(), (x - mean).square().mean(0).numpy(), rtol=1e-3, atol=0.0)


DEGREES = [2.4, 5.0, 60.0]


def student(df: list[float], log_scale: list[float]) -> StudentTLikelihood:
    raw = [math.log(math.expm1(n - 2.0)) - 3.0 for n in df]  # softplus and the start undone
    likelihood = built(StudentTLikelihood, log_scale_C=log_scale, shape_C=raw)
    likelihood.placed.fill_(1.0)
    return likelihood


def test_student_t_is_scipys_far_into_the_tails() -> None:
    mean, log_scale = randn(3, C, seed=1), [-1.0, 0.0, 2.0]
    likelihood = student(DEGREES, log_scale)
    expected = stats.t.logpdf(FAR.numpy(), DEGREES, mean.numpy(), np.exp(log_scale))
    agree(likelihood.log_prob(FAR, mean), expected)
    assert torch.equal(likelihood.mean(mean), mean)


def test_student_t_starts_with_the_placed_variance() -> None:
    likelihood = built(StudentTLikelihood)
    before = likelihood.log_prob(FAR, torch.zeros_like(FAR))
    df = 2.0 + math.log1p(math.exp(3.0))
    agree(before, stats.t.logpdf(FAR.numpy(), df))
    assert torch.autograd.grad(before.sum(), likelihood.log_scale_C)[0].count_nonzero() == 0
    likelihood.place(0.5)
    scale = math.sqrt(0.5 * (df - 2.0) / df)
    assert stats.t(df, scale=scale).var() == pytest.approx(0.5)
    agree(likelihood.log_prob(FAR, torch.zeros_like(FAR)), stats.t.logpdf(FAR.numpy(), df, scale=scale))
    after = likelihood.log_prob(FAR, torch.zeros_like(FAR))
    gradients = torch.autograd.grad(after.sum(), [likelihood.log_scale_C, likelihood.shape_C])
    assert all(bool((gradient != 0.0).all()) for gradient in gradients)


def test_student_t_samples_have_scipys_distribution() -> None:
    likelihood = student(DEGREES, [-1.0, 0.0, 2.0])
    x = likelihood.sample(torch.full((20_000, C), 3.0, dtype=torch.float64), torch.Generator().manual_seed(0))
    for cell, (df, scale) in enumerate(zip(DEGREES, np.exp([-1.0, 0.0, 2.0]), strict=True)):
        assert stats.kstest(x[:, cell].detach().numpy(), stats.t(df, 3.0, scale).cdf).pvalue > 0.001


POSITIVE = torch.tensor([[1e-30, 1e-3, 0.5], [1.0, 1.0, 1.0], [40.0, 1e6, 1e30]], dtype=torch.float64)


def test_log_normal_is_scipys() -> None:
    likelihood, outputs = built(LogNormalLikelihood), randn(3, C, seed=1)
    likelihood.place(0.36)
    frozen = stats.lognorm(0.6, scale=np.exp(outputs.numpy()))
    agree(likelihood.log_prob(POSITIVE, outputs), frozen.logpdf(POSITIVE.numpy()))
    agree(likelihood.mean(outputs), frozen.mean())
    agree(likelihood.residual(POSITIVE, outputs), np.log(POSITIVE.numpy()) - outputs.numpy())


def test_log_normal_outputs_are_in_units_of_the_columns_spread() -> None:
    x = torch.exp(randn(400, C, seed=3) * torch.tensor([0.1, 1.0, 5.0]))
    with_missing = x.clone()
    with_missing[::7, 1] = math.nan
    likelihood, outputs = built(LogNormalLikelihood), randn(3, C, seed=1)
    likelihood.start(with_missing)
    spread = np.nanstd(np.log(with_missing.numpy()), axis=0)
    likelihood.place(0.36)
    frozen = stats.lognorm(0.6 * spread, scale=np.exp(spread * outputs.numpy()))
    agree(likelihood.log_prob(POSITIVE, outputs), frozen.logpdf(POSITIVE.numpy()), rtol=1e-9, atol=1e-9)
    agree(likelihood.mean(outputs), frozen.mean())
    samples = likelihood.sample(outputs[:1].expand(20_000, C), torch.Generator().manual_seed(0))
    for cell in range(C):
        law = stats.lognorm(0.6 * spread[cell], scale=math.exp(spread[cell] * float(outputs[0, cell])))
        assert stats.kstest(samples[:, cell].detach().numpy(), law.cdf).pvalue > 0.001


def test_an_empty_and_a_constant_column_start_finite() -> None:
    x = torch.tensor([[math.nan, 2.0, 1.0], [math.nan, 2.0, 3.0]], dtype=torch.float64)
    likelihood = built(LogNormalLikelihood)
    likelihood.start(x)
    assert likelihood.spread_C.tolist() == pytest.approx([1.0, 0.01, 0.5 * math.log(3.0)])
