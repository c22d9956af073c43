"""The composite of likelihoods: bits of arrays, sums over the cells that are not missing, and older weights."""

from __future__ import annotations

import math

import pytest
import torch
from deepmix_builtins.likelihoods.bernoulli import BernoulliLikelihood
from deepmix_builtins.likelihoods.counts import NegativeBinomialLikelihood, PoissonLikelihood
from deepmix_builtins.likelihoods.gaussian import (
    ColumnGaussianLikelihood,
    GaussianLikelihood,
    LearnedGaussianLikelihood,
)
from deepmix_builtins.likelihoods.levels import CategoricalLikelihood, OrdinalLikelihood
from deepmix_builtins.likelihoods.log_normal import LogNormalLikelihood
from deepmix_builtins.likelihoods.student_t import StudentTLikelihood
from torch import Tensor
from torch.distributions import Bernoulli, Normal
from torch.nn import functional

from deepmix.data import CellBlock
from deepmix.errors import UsageError
from deepmix.maths import gaussian_log_prob
from deepmix.models import Composite, MixtureOptions

R, D = 5, 3
CLOSE = {"rtol": 1e-12, "atol": 1e-12}  # float64: sums of a few terms
ARRAY_CLASSES = {
    "bernoulli": BernoulliLikelihood,
    "gaussian": GaussianLikelihood,
    "gaussian-learned": LearnedGaussianLikelihood,
}


def of_array(name: str, n_features: int = D) -> Composite:
    return Composite([ARRAY_CLASSES[name](CellBlock(name, n_features))])


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


TABLE = (
    ColumnGaussianLikelihood(CellBlock("gaussian-per-column", 2)),
    StudentTLikelihood(CellBlock("student-t", 1)),
    LogNormalLikelihood(CellBlock("log-normal", 1)),
    PoissonLikelihood(CellBlock("poisson", 1)),
    NegativeBinomialLikelihood(CellBlock("negative-binomial", 1)),
    BernoulliLikelihood(CellBlock("bernoulli", 1)),
    CategoricalLikelihood(CellBlock("categorical", 2, (3, 2))),
    OrdinalLikelihood(CellBlock("ordinal", 1, (4,))),
)
N_CELLS, N_OUTPUTS = 10, 13
ROWS = torch.tensor(
    [
        [0.3, -1.2, 4.0, 2.0, 3.0, 7.0, 1.0, 2.0, 0.0, 3.0],
        [1.0, 0.1, -0.5, 0.1, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0],
    ],
    dtype=torch.float64,
)


def of_table() -> Composite:
    return Composite(TABLE, masked=True).double()


def test_a_composite_adds_up_the_cells_and_the_outputs_of_its_blocks() -> None:
    composite, outputs = of_table(), randn(2, N_OUTPUTS, seed=1)
    assert (composite.n_cells, composite.n_outputs) == (N_CELLS, N_OUTPUTS)
    cells = composite.cell_log_prob(ROWS, outputs)
    assert cells.shape == (2, N_CELLS)
    torch.testing.assert_close(composite.log_prob(ROWS, outputs), cells.sum(-1), **CLOSE)
    first, last = 0, 0
    for block in TABLE:  # every block sees its own cells and outputs
        n_cells, n_outputs = block.block.n_cells, block.n_outputs
        own = block.log_prob(ROWS[:, first : first + n_cells], outputs[:, last : last + n_outputs])
        torch.testing.assert_close(cells[:, first : first + n_cells], own, **CLOSE)
        first, last = first + n_cells, last + n_outputs
    assert composite.mean(outputs).shape == composite.sample(outputs, torch.Generator()).shape == (2, N_CELLS)


@pytest.mark.parametrize("cell", range(N_CELLS))
def test_a_missing_cell_is_left_out_and_leaves_gradients_finite(cell: int) -> None:
    composite = of_table()
    outputs = randn(2, N_OUTPUTS, seed=1).requires_grad_()
    x = ROWS.clone()
    x[0, cell] = math.nan
    actual = composite.log_prob(x, outputs)
    whole = composite.cell_log_prob(ROWS, outputs)
    expected = whole[0].sum() - whole[0, cell]
    torch.testing.assert_close(actual, torch.stack([expected, whole[1].sum()]), **CLOSE)
    gradients = torch.autograd.grad(actual.sum(), [outputs, *composite.parameters()], allow_unused=True)
    assert all(gradient is None or bool(gradient.isfinite().all()) for gradient in gradients)
    used = torch.autograd.grad(whole[0].sum() - whole[0, cell] + whole[1].sum(), outputs)[0]
    torch.testing.assert_close(gradients[0], used, **CLOSE)


def test_a_row_without_any_value_says_nothing() -> None:
    composite, outputs = of_table(), randn(2, N_OUTPUTS, seed=1).requires_grad_()
    actual = composite.log_prob(torch.full_like(ROWS, math.nan), outputs)
    assert actual.tolist() == [0.0, 0.0]
    assert torch.autograd.grad(actual.sum(), outputs)[0].count_nonzero() == 0


def test_the_squared_error_of_a_table_is_that_of_the_cells_with_a_variance() -> None:
    composite, outputs, x = of_table(), randn(2, N_OUTPUTS, seed=1), ROWS.clone()
    x[0, 1], x[1, :4] = math.nan, math.nan
    first = [x[0, 0] - outputs[0, 0], x[0, 2] - outputs[0, 2], x[0, 3].log() - outputs[0, 3]]
    expected = torch.stack([torch.stack(first).square().mean(), x.new_zeros(())])
    torch.testing.assert_close(composite.squared_error(x, outputs), expected, **CLOSE)
    discrete = Composite([TABLE[3]], masked=True)
    assert discrete.squared_error(x[:, 4:5], outputs[:, 4:5]).tolist() == [0.0, 0.0]


def test_samples_repeat_with_the_seed_and_leave_the_global_generator_alone() -> None:
    composite, outputs, before = of_table(), randn(2, N_OUTPUTS, seed=1), torch.get_rng_state()
    one, two = (composite.sample(outputs, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(torch.get_rng_state(), before)


# What the class before blocks computed, for the bits of runs on arrays.


def older_log_prob(name: str, log_var: Tensor, x_RD: Tensor, outputs_RP: Tensor) -> Tensor:
    if name == "bernoulli":
        return -functional.binary_cross_entropy_with_logits(outputs_RP, x_RD, reduction="none").sum(-1)
    if name == "gaussian":
        return gaussian_log_prob(x_RD, outputs_RP, log_var.expand_as(outputs_RP))
    mean_RD, log_var_RD = outputs_RP.chunk(2, dim=-1)
    return gaussian_log_prob(x_RD, mean_RD, log_var_RD.clamp(math.log(1e-4), 8.0))


def older_mean(name: str, outputs_RP: Tensor) -> Tensor:
    if name == "bernoulli":
        return outputs_RP.sigmoid()
    return outputs_RP if name == "gaussian" else outputs_RP.chunk(2, dim=-1)[0]


@pytest.mark.parametrize("n_features", [1, 7, 64, 784])
@pytest.mark.parametrize("name", list(ARRAY_CLASSES))
def test_the_bits_of_arrays_are_those_of_the_class_before_blocks(name: str, n_features: int) -> None:
    composite = of_array(name, n_features)
    composite.place(0.37)
    log_var = torch.tensor(math.log(0.37))
    for seed in range(3):
        outputs = (3.0 * randn(33, composite.n_outputs, seed=seed)).float().requires_grad_()
        x = rand(33, n_features, seed=seed + 10).float()
        if name != "bernoulli":
            x = (x - 0.5) * 6.0
        weight = randn(33, seed=seed + 20).float()
        new, old = composite.log_prob(x, outputs), older_log_prob(name, log_var, x, outputs)
        assert torch.equal(new, old)
        gradients = [torch.autograd.grad((weight * value).sum(), outputs)[0] for value in (new, old)]
        assert torch.equal(*gradients)
        mean = older_mean(name, outputs)
        assert torch.equal(composite.mean(outputs), mean)
        assert torch.equal(composite.squared_error(x, outputs), (x - mean).square().mean(-1))


def test_the_noise_error_has_the_bits_of_the_class_before_blocks() -> None:
    weight, z = randn(4, 20, seed=1).float(), randn(9000, 4, seed=3).float()
    sample = z[:: math.ceil(len(z) / 4096)]
    noise = torch.randn(sample.shape, generator=torch.Generator().manual_seed(0))
    old = float(
        ((sample + math.exp(-1.5) * noise).matmul(weight).tanh() - sample.matmul(weight).tanh()).square().mean()
    )
    assert of_array("gaussian", 20).noise_error(lambda z: (z @ weight).tanh(), z, -3.0) == old


@pytest.mark.parametrize("name", list(ARRAY_CLASSES))
def test_weights_saved_before_there_were_blocks_are_read(name: str) -> None:
    model = torch.nn.ModuleDict({"likelihood": of_array(name)})
    older = {"likelihood.log_var": torch.tensor(-1.25)}
    model.load_state_dict(older)
    assert list(older) == ["likelihood.log_var"], "the caller's mapping has changed"
    x, outputs = rand(R, D).float(), randn(R, model["likelihood"].n_outputs, seed=1).float()
    expected = older_log_prob(name, torch.tensor(-1.25), x, outputs)
    assert torch.equal(model["likelihood"].log_prob(x, outputs), expected)
    again = torch.nn.ModuleDict({"likelihood": of_array(name)})
    again.load_state_dict(model.state_dict())
    assert torch.equal(again["likelihood"].log_prob(x, outputs), expected)


def test_older_weights_of_an_array_do_not_fit_a_table() -> None:
    with pytest.raises(RuntimeError, match="Missing key"):
        of_table().load_state_dict({"log_var": torch.zeros(())})


def test_placing_the_mean_squared_error_maximises_the_fixed_gaussian() -> None:
    mean, x = randn(R, D, seed=1), randn(R, D, seed=2)
    residual = float((x - mean).square().mean())

    def total(variance: float) -> float:
        likelihood = of_array("gaussian").double()
        likelihood.place(variance)
        return float(likelihood.log_prob(x, mean).sum())

    assert total(residual) > total(0.99 * residual)
    assert total(residual) > total(1.01 * residual)


def test_placing_does_not_change_the_likelihoods_without_a_fixed_variance() -> None:
    x = rand(R, D)
    for name, outputs in (("bernoulli", randn(R, D)), ("gaussian-learned", randn(R, 2 * D))):
        likelihood = of_array(name)
        before = likelihood.log_prob(x, outputs)
        likelihood.place(0.01)
        assert torch.equal(likelihood.log_prob(x, outputs), before)


def test_means_are_those_of_the_distributions() -> None:
    outputs = randn(R, 2 * D)
    mean, log_var = outputs[:, :D], outputs[:, D:]
    torch.testing.assert_close(of_array("bernoulli").mean(mean), Bernoulli(logits=mean).mean, **CLOSE)
    assert torch.equal(of_array("gaussian").mean(mean), mean)
    assert torch.equal(of_array("gaussian-learned").mean(outputs), Normal(mean, torch.exp(0.5 * log_var)).mean)


def test_outputs_per_row_are_twice_the_features_only_where_variances_are_outputs() -> None:
    actual = {name: of_array(name).n_outputs for name in ARRAY_CLASSES}
    assert actual == {"bernoulli": D, "gaussian": D, "gaussian-learned": 2 * D}


@pytest.mark.parametrize("name", list(ARRAY_CLASSES))
def test_no_likelihood_of_an_array_has_parameters_of_its_own(name: str) -> None:
    """The supplement's Table 2 counts one mean output and nothing more."""
    assert list(of_array(name).parameters()) == []


def test_noise_on_the_latents_adds_the_square_of_what_a_linear_decoder_makes_of_it() -> None:
    weight, bias, z = randn(2, D, seed=1), randn(D, seed=2), randn(9000, 2, seed=3)
    likelihood = of_array("gaussian").double()

    def error(log_var: float) -> float:
        return likelihood.noise_error(lambda z: z @ weight + bias, z, log_var)

    assert error(-3.0) == pytest.approx(math.exp(-3.0) * float(weight.square().sum()) / D, rel=0.05)  # 3,000 rows
    assert error(-3.0) == error(-3.0)
    assert error(-1.0) == pytest.approx(math.exp(2.0) * error(-3.0), rel=1e-9)


@pytest.mark.parametrize("name", ["bernoulli", "gaussian-learned"])
def test_noise_adds_nothing_where_no_variance_is_placed(name: str) -> None:
    likelihood = of_array(name).double()
    assert likelihood.noise_error(lambda z: z.repeat(1, likelihood.n_outputs // 2 + 1), randn(R, 2), 0.0) == 0.0


def test_an_unknown_likelihood_is_refused_with_the_choices() -> None:
    assert MixtureOptions(likelihood="auto").likelihood == "auto"
    with pytest.raises(UsageError, match=r"unknown likelihood 'laplace'; choose one of: auto"):
        MixtureOptions(likelihood="laplace")
