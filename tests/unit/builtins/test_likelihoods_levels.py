"""Likelihoods of levels compared with SciPy's softmax and differences of logistic distribution functions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from deepmix_builtins.likelihoods.levels import MIN_GAP, CategoricalLikelihood, OrdinalLikelihood
from scipy import special, stats
from torch import Tensor

from deepmix.data import CellBlock

LEVELS = (3, 2, 5)
N_ROWS = 4


def categorical() -> CategoricalLikelihood:
    return CategoricalLikelihood(CellBlock("categorical", 3, LEVELS)).double()


def ordinal(levels: tuple[int, ...] = LEVELS) -> OrdinalLikelihood:
    return OrdinalLikelihood(CellBlock("ordinal", len(levels), levels)).double()


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_categorical_is_a_softmax_over_the_levels_of_each_cell() -> None:
    likelihood, outputs = categorical(), 5.0 * randn(N_ROWS, 10, seed=1)
    assert likelihood.n_outputs == 10
    x = torch.tensor([[0.0, 0.0, 0.0], [2.0, 1.0, 4.0], [1.0, 0.0, 3.0], [1.0, 1.0, 2.0]], dtype=torch.float64)
    first, expected, best = 0, [], []
    for cell, n_levels in enumerate(LEVELS):
        log_p = special.log_softmax(outputs[:, first : first + n_levels].numpy(), axis=1)
        expected.append(log_p[np.arange(N_ROWS), x[:, cell].long()])
        best.append(log_p.argmax(1))
        first += n_levels
    np.testing.assert_allclose(likelihood.log_prob(x, outputs), np.stack(expected, 1), rtol=1e-12)
    np.testing.assert_array_equal(likelihood.mean(outputs), np.stack(best, 1))


def test_categorical_of_extreme_outputs_is_finite() -> None:
    outputs = torch.tensor([[1e4, -1e4, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0]], requires_grad=True)
    log_prob = categorical().float().log_prob(torch.tensor([[1.0, 0.0, 4.0]]), outputs)
    assert log_prob.tolist()[0] == pytest.approx([-2e4, -math.log(2.0), -math.log(5.0)])
    assert bool(torch.autograd.grad(log_prob.sum(), outputs)[0].isfinite().all())


def cutpoints(likelihood: OrdinalLikelihood, cell: int) -> np.ndarray:
    """Return the cutpoints by halving intervals on P(x = 0), P(x <= 1), ... at output 0."""
    zeros = torch.zeros(1, likelihood.n_outputs, dtype=torch.float64)
    p = likelihood.level_log_prob(zeros)[0, cell].exp().detach().numpy()[: LEVELS[cell]]
    return special.logit(p.cumsum()[:-1])


def test_ordinal_is_the_difference_of_two_logistic_distribution_functions() -> None:
    likelihood, outputs = ordinal(), 3.0 * randn(N_ROWS, 3, seed=1)
    with torch.no_grad():
        likelihood.first_C.copy_(torch.tensor([-1.0, 0.5, -2.0]))
        likelihood.raw_gap_CG.copy_(randn(3, 3, seed=2))
    log_p = likelihood.level_log_prob(outputs).detach()
    gaps = np.logaddexp(0.0, likelihood.raw_gap_CG.detach().numpy()) + MIN_GAP
    for cell, n_levels in enumerate(LEVELS):
        inner = float(likelihood.first_C[cell].detach()) + np.concatenate([[0.0], gaps[cell].cumsum()])[: n_levels - 1]
        edges = np.concatenate([[-np.inf], inner, [np.inf]])
        expected = np.diff(stats.logistic.cdf(edges - outputs[:, [cell]].numpy()), axis=1)
        np.testing.assert_allclose(log_p[:, cell, :n_levels].exp(), expected, rtol=1e-10, atol=1e-14)
        assert bool((log_p[:, cell, n_levels:] == -math.inf).all())
        np.testing.assert_allclose(cutpoints(likelihood, cell), inner, rtol=1e-9)
        for level in range(n_levels):
            x = torch.full((N_ROWS, 3), 0.0, dtype=torch.float64)
            x[:, cell] = level
            torch.testing.assert_close(likelihood.log_prob(x, outputs)[:, cell].detach(), log_p[:, cell, level])
        np.testing.assert_array_equal(likelihood.mean(outputs)[:, cell].detach(), expected.argmax(1))


@pytest.mark.parametrize("output", [-200.0, 200.0])
def test_ordinal_keeps_its_digits_far_from_the_cutpoints(output: float) -> None:
    """Sigmoids of 200 differ by less than float64 can tell from 1; in logarithms the middle level is near -200."""
    likelihood = ordinal((3,))
    outputs = torch.full((1, 1), output, dtype=torch.float64, requires_grad=True)
    log_prob = likelihood.log_prob(torch.ones(1, 1, dtype=torch.float64), outputs)
    low, high = 0.0, math.log(2.0) + MIN_GAP
    sign = 1.0 if output > 0 else -1.0
    tail = [math.exp(sign * edge) for edge in (low, high)]  # sigmoid(c - o) is nearly exp(c - o), or 1 - exp(o - c)
    expected = -abs(output) + math.log(abs(tail[1] - tail[0]))
    assert log_prob.item() == pytest.approx(expected, rel=1e-12)
    gradient = torch.autograd.grad(log_prob, [outputs, likelihood.first_C, likelihood.raw_gap_CG])
    assert gradient[0].item() == pytest.approx(-sign)
    assert all(bool(value.isfinite().all()) for value in gradient)


def test_ordinal_starts_at_the_fractions_of_the_training_rows() -> None:
    likelihood = ordinal()
    x = torch.tensor([[0, 1, 0], [0, 0, 1], [1, 1, 2], [2, 1, 4], [0, 1, 4], [1, 0, 1]], dtype=torch.float64)
    x = x.repeat(500, 1)
    x[::9, 0] = math.nan
    likelihood.start(x)
    fractions = likelihood.level_log_prob(torch.zeros(1, 3, dtype=torch.float64))[0].exp().detach()
    for cell, n_levels in enumerate(LEVELS):
        seen = x[~x[:, cell].isnan(), cell].long()
        expected = np.bincount(seen, minlength=n_levels) / len(seen)
        np.testing.assert_allclose(fractions[cell, :n_levels], expected, atol=2e-3)
    assert float(fractions[2, 3]) > 0.0, "no training row has level 3, which must stay possible"


@pytest.mark.parametrize("make", [categorical, ordinal])
def test_a_stand_in_beyond_the_levels_of_a_cell_has_a_finite_density(make) -> None:
    likelihood = make()
    outputs = randn(1, likelihood.n_outputs, seed=1)
    assert bool(likelihood.log_prob(torch.full((1, 3), 7.0, dtype=torch.float64), outputs).isfinite().all())


@pytest.mark.parametrize("make", [categorical, ordinal])
def test_samples_have_the_frequencies_of_the_levels(make) -> None:
    likelihood = make()
    outputs = randn(1, likelihood.n_outputs, seed=1)
    x = likelihood.sample(outputs.expand(20_000, -1), torch.Generator().manual_seed(0)).detach()
    p = likelihood.level_log_prob(outputs)[0].exp().detach()
    for cell, n_levels in enumerate(LEVELS):
        frequencies = np.bincount(x[:, cell].long(), minlength=5) / len(x)
        np.testing.assert_allclose(frequencies, p[cell], atol=0.012)
        assert frequencies[n_levels:].sum() == 0.0
