"""The check of a likelihood: its density sums to 1, and samples and means are those of the density."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from deepmix.contracts import Likelihood
from deepmix.data import CellBlock
from deepmix.maths import Array
from deepmix.testing.assertions import assert_close, assert_empty_rows, assert_same_shape

N_ROWS = 7
N_SAMPLES = 20_000
SAMPLE_MARGIN = 0.015
"""Accepted distance of the distribution functions of N_SAMPLES samples and of a density: 2.1 / sqrt(N_SAMPLES), which
one correct likelihood in 3,000 exceeds."""
MEAN_MARGIN = 0.01
"""Accepted error of the mean, in standard deviations of the density."""
COUNTED = ("unit", "count", "level")
"""Supports whose values are counted; a density is integrated over the others."""
MASS_MARGIN = 2e-3
"""Accepted error of the sum of a density over a grid."""
N_GRID, GRID_REACH = 4001, 5.0
"""Points of the grid of a density, which reaches sinh(5) = 74 interquartile ranges to both sides."""


def check_likelihood(likelihood_class: type[Likelihood]) -> None:
    """Check shapes, gradients, that the density sums to 1, and that samples and means are those of the density.

    Until `start` and `place`, and after them, on cells of the class's `support`. Samples are compared with the density
    by the largest difference of the two distribution functions, at most SAMPLE_MARGIN. The view for initial clusterings
    must be the same for dense and for sparse rows.
    """
    if not (isinstance(likelihood_class, type) and issubclass(likelihood_class, Likelihood)):
        raise AssertionError(f"{likelihood_class!r} must be a subclass of deepmix.contracts.Likelihood")
    levels = (3, 2, 4) if likelihood_class.support == "level" else ()
    block = CellBlock("likelihood", 3, levels)
    likelihood = likelihood_class(block).double()
    outputs_RP = 0.7 * torch.randn(N_ROWS, likelihood.n_outputs, generator=_seeded(1), dtype=torch.float64)
    x_NC = likelihood.sample(0.5 * outputs_RP.repeat(30, 1), _seeded(2)).detach()
    for stage in ("new", "placed"):
        _check_cells(likelihood, x_NC[:N_ROWS], outputs_RP)
        _check_distribution(stage, likelihood, outputs_RP[:1])
        x_NC[::5] = torch.nan
        likelihood.start(x_NC)
        likelihood.place(0.3)
        x_NC = likelihood.sample(outputs_RP, _seeded(2)).detach()
    _check_clustering_view(likelihood, np.asarray(x_NC, dtype=np.float32))
    clone = likelihood_class(block).double()
    clone.load_state_dict(likelihood.state_dict())
    assert_close(
        "log_prob after a round trip of state_dict()",
        clone.log_prob(x_NC, outputs_RP),
        likelihood.log_prob(x_NC, outputs_RP),
    )


def _check_cells(likelihood: Likelihood, x_RC: Tensor, outputs_RP: Tensor) -> None:
    """Check the shapes of what a likelihood returns, its gradients, and that cells are independent."""
    shape = (len(outputs_RP), likelihood.block.n_cells)
    for factor in (1.0, 20.0):  # also where outputs are extreme
        extreme_RP = (factor * outputs_RP).requires_grad_()
        for cells_RC in (x_RC, torch.ones_like(x_RC)):  # 1 stands for a missing cell
            log_prob_RC = likelihood.log_prob(cells_RC, extreme_RP)
            assert_same_shape("log_prob(x, outputs)", log_prob_RC, shape)
            inputs = [extreme_RP, *likelihood.parameters()]
            gradients = torch.autograd.grad(log_prob_RC.sum(), inputs, allow_unused=True)
            if not all(value is None or bool(value.isfinite().all()) for value in (log_prob_RC, *gradients)):
                raise AssertionError(f"log_prob and its gradients must be finite, also at outputs times {factor:g}")
    assert_same_shape("mean(outputs)", likelihood.mean(outputs_RP), shape)
    changed_RC = _replaced(likelihood, x_RC, 0, x_RC[:, 0].roll(1), x_RC.sum(1))
    same = slice(2 if likelihood.total_is_known else 1, None)
    whole_RC, other_RC = (likelihood.log_prob(cells_RC, outputs_RP)[:, same] for cells_RC in (x_RC, changed_RC))
    assert_close("log_prob of a cell beside other cells", whole_RC, other_RC)
    centre, residual = likelihood.location(outputs_RP), likelihood.residual(x_RC, outputs_RP)
    if (centre is None) != (residual is None):
        raise AssertionError("location and residual must both return a tensor, or both None")
    if centre is not None and residual is not None:
        assert_same_shape("location(outputs)", centre, shape)
        assert_same_shape("residual(x, outputs)", residual, shape)
    assert_empty_rows(lambda: likelihood.log_prob(x_RC[:0], outputs_RP[:0]))


def _check_clustering_view(likelihood: Likelihood, x_NC: Array) -> None:
    """Check that initial clusterings see as many rows as there are, and the same of dense and of sparse ones."""
    view, sparse_view = (likelihood.clustering_view(rows) for rows in (x_NC, sparse.csr_matrix(x_NC)))
    if not sparse.issparse(sparse_view) or sparse.issparse(view):
        raise AssertionError("clustering_view must return a dense array for dense rows, and CSR for CSR")
    if len(view) != len(x_NC):
        raise AssertionError(f"clustering_view must return as many rows as it gets, {len(x_NC)}; got {len(view)}")
    assert_close("clustering_view of CSR rows", torch.from_numpy(sparse_view.toarray()), torch.from_numpy(view))


def _replaced(likelihood: Likelihood, x_RC: Tensor, cell: int, value_R: Tensor, total_R: Tensor) -> Tensor:
    """Return the rows with other values of a cell; the next cell is changed too if that must keep the rows' sums."""
    changed_RC = x_RC.clone()
    changed_RC[:, cell] = value_R
    if likelihood.total_is_known:
        changed_RC[:, (cell + 1) % x_RC.shape[1]] += total_R - changed_RC.sum(1)
    return changed_RC


def _check_distribution(stage: str, likelihood: Likelihood, outputs_1P: Tensor) -> None:
    """Check that the density of each cell sums to 1, and that samples, the mean and the seed agree with it."""
    state = torch.get_rng_state()
    many_RP = outputs_1P.expand(N_SAMPLES, -1)
    sample_RC = likelihood.sample(many_RP, _seeded(3)).detach()
    if not torch.equal(state, torch.get_rng_state()):
        raise AssertionError("sample must draw from its generator only, and torch's global generator has changed")
    if not torch.equal(sample_RC, likelihood.sample(many_RP, _seeded(3))):
        raise AssertionError("sample must return the same values for generators of one seed")
    assert_same_shape("sample(outputs, generator)", sample_RC, (N_SAMPLES, likelihood.block.n_cells))
    for cell in range(likelihood.block.n_cells):
        what = f"of a {stage} likelihood, cell {cell},"
        value_G, mass_G = _masses(likelihood, sample_RC, outputs_1P, cell)
        if abs(float(mass_G.sum()) - 1.0) > MASS_MARGIN:
            raise AssertionError(f"the density {what} must sum to 1, but sums to {float(mass_G.sum()):.4g}")
        apart = _distance(value_G, mass_G, sample_RC[:, cell], counted=likelihood.support in COUNTED)
        if apart > SAMPLE_MARGIN:
            raise AssertionError(f"samples and the density {what} must agree, but differ by {apart:.3g}")
        mean = float(likelihood.mean(outputs_1P).detach()[0, cell])
        if likelihood.support == "level":
            expected, margin = float(value_G[mass_G.argmax()]), 0.0
        else:
            expected = float((mass_G * value_G).sum())
            margin = MEAN_MARGIN * float((mass_G * (value_G - expected).square()).sum().sqrt())
        if abs(mean - expected) > margin:
            raise AssertionError(f"the mean {what} must be that of its density, {expected:.4g}, but is {mean:.4g}")


def _masses(likelihood: Likelihood, sample_RC: Tensor, outputs_1P: Tensor, cell: int) -> tuple[Tensor, Tensor]:
    """Return values that cover the support of a cell, and the probability that each stands for."""
    value_G, width_G = _grid(likelihood, sample_RC[:, cell], cell)
    total = likelihood.mean(outputs_1P).detach().sum()
    cells_GC = _replaced(likelihood, sample_RC[:1].repeat(len(value_G), 1), cell, value_G, total)
    log_prob_GC = likelihood.log_prob(cells_GC, outputs_1P.expand(len(value_G), -1)).detach()
    return value_G, log_prob_GC[:, cell].exp() * width_G


def _distance(value_G: Tensor, mass_G: Tensor, sample_R: Tensor, *, counted: bool) -> float:
    """Return the largest difference of the distribution functions of a sample and of masses on a grid."""
    fraction_G = torch.searchsorted(sample_R.sort().values, value_G, right=True).double() / len(sample_R)
    below_G = mass_G.cumsum(0) if counted else mass_G.cumsum(0) - 0.5 * mass_G
    return float((below_G - fraction_G).abs().max())


def _grid(likelihood: Likelihood, sample_R: Tensor, cell: int) -> tuple[Tensor, Tensor]:
    """Return values of a cell that cover its support, and the width that each stands for, 1 where they are counted."""
    if likelihood.support in COUNTED:
        sizes = {"unit": 2, "count": int(4.0 * sample_R.max()) + 100}
        size = sizes[likelihood.support] if likelihood.support in sizes else likelihood.block.levels[cell]
        value_G = torch.arange(size, dtype=torch.float64)
        return value_G, torch.ones_like(value_G)
    positive = likelihood.support == "positive"
    low, middle, high = (sample_R.log() if positive else sample_R).quantile(torch.tensor([0.25, 0.5, 0.75]).double())
    step_G = torch.linspace(-GRID_REACH, GRID_REACH, N_GRID, dtype=torch.float64)
    value_G = middle + (high - low) * step_G.sinh()  # dense in the middle, and far into heavy tails
    width_G = (high - low) * step_G.cosh() * (2.0 * GRID_REACH / (N_GRID - 1))
    return (value_G.exp(), width_G * value_G.exp()) if positive else (value_G, width_G)


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
