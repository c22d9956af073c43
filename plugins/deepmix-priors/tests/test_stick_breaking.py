"""Stick breaking agrees with torch.distributions and numerical integration, and its models keep their contract."""

from __future__ import annotations

import math

import pytest
import torch
from deepmix_priors.dlgmm import Dlgmm, DlgmmOptions, mixture_log_prob
from deepmix_priors.stick_breaking import StickBreakingOptions, StickBreakingVAE
from deepmix_priors.sticks import (
    draw_fractions,
    fraction_kl,
    mean_fractions,
    piece_lengths,
    raw_of,
    shape_of,
)
from torch.distributions import Categorical, Independent, Kumaraswamy, MixtureSameFamily, Normal

from deepmix.contracts import Batch, Phase
from deepmix.data import CellBlock
from deepmix.errors import UsageError
from deepmix.maths import Dims, Gaussian
from deepmix.models import Composite
from deepmix.testing import ModelKit, StandInLikelihood

SHAPES = torch.tensor([[0.3, 0.4], [1.0, 1.0], [1.0, 5.0], [4.0, 0.5], [8.0, 30.0]], dtype=torch.float64)
N, K, M, D = 12, 3, 2, 6


def build(model_class, **options):
    torch.manual_seed(0)
    composite = Composite([StandInLikelihood(CellBlock("cells", D))])
    return model_class(Dims(D, D, K, 1, M), composite, model_class.Options(hidden="16-8", **options))


def batch(**fields) -> Batch:
    generator = torch.Generator().manual_seed(1)
    return Batch(torch.rand(N, D, generator=torch.Generator().manual_seed(0)), generator=generator, **fields)


class TestStickBreakingVAE(ModelKit):
    part = StickBreakingVAE
    test_command_line = test_compile = None  # slow; tests/plugins/test_runs.py trains with it


class TestDlgmm(ModelKit):
    part = Dlgmm
    test_command_line = test_compile = None


def test_a_fraction_has_the_mean_the_samples_and_the_kl_of_a_kumaraswamy_distribution():
    a, b = SHAPES.T
    expected = Kumaraswamy(a, b)
    torch.testing.assert_close(mean_fractions(a, b)[0].exp(), expected.mean)
    many = torch.Generator().manual_seed(0)
    log_v, log_rest = draw_fractions(a.expand(20_000, -1), b.expand(20_000, -1), many)
    torch.testing.assert_close(log_v.exp() + log_rest.exp(), torch.ones_like(log_v))
    torch.testing.assert_close(log_v.exp().mean(0), expected.mean, atol=0.01, rtol=0)
    torch.testing.assert_close(log_v.exp().var(0), expected.variance, atol=0.01, rtol=0)
    alpha, beta = torch.tensor([0.7, 1.0, 1.0, 2.0, 3.0]).double(), torch.tensor([0.5, 1.0, 5.0, 4.0, 9.0]).double()
    log_prior = (alpha - 1.0) * log_v + (beta - 1.0) * log_rest
    log_prior = log_prior - (torch.lgamma(alpha) + torch.lgamma(beta) - torch.lgamma(alpha + beta))
    log_one_minus_power = torch.log(-torch.expm1(a * log_v))
    log_q = a.log() + b.log() + (a - 1.0) * log_v + (b - 1.0) * log_one_minus_power
    kl = fraction_kl(a, b, alpha, beta)
    torch.testing.assert_close(kl, (log_q - log_prior).mean(0), atol=0.05, rtol=0.03)
    assert abs(float(kl[1])) < 1e-6, "Kumaraswamy(1, 1) and Beta(1, 1) are uniform"
    assert abs(float(kl[2])) < 1e-3, "Kumaraswamy(1, 5) is Beta(1, 5)"
    torch.testing.assert_close(shape_of(raw_of(SHAPES)), SHAPES)


def test_the_pieces_of_a_stick_are_its_whole_length():
    v_NS = torch.tensor([[0.5, 0.5, 0.25], [0.9, 0.1, 1e-6]])
    lengths_NK = piece_lengths(v_NS.log(), torch.log1p(-v_NS)).exp()
    torch.testing.assert_close(lengths_NK[0], torch.tensor([0.5, 0.25, 0.0625, 0.1875]))
    torch.testing.assert_close(lengths_NK.sum(-1), torch.ones(2))


def test_sb_vae_starts_at_its_prior_whose_samples_have_its_mean_lengths():
    model = build(StickBreakingVAE, concentration=3.0)
    with torch.no_grad():
        model.shapes.weight.zero_()
    loss = model(batch())
    torch.testing.assert_close(loss.terms["kl_latent"], torch.zeros(N), atol=1e-3, rtol=0)
    expected_M = torch.tensor([0.25, 0.75 * 0.25])
    torch.testing.assert_close(model.infer(batch())[1], expected_M.expand(N, M), atol=1e-4, rtol=0)
    sample_RM = model.prior_sample(20_000, 0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(sample_RM.mean(0), expected_M, atol=0.01, rtol=0)
    torch.testing.assert_close(model.mean_M, expected_M)
    torch.testing.assert_close(model.spread_M, sample_RM.std(0), atol=0.01, rtol=0)


def test_dlgmm_weighs_every_row_equally_at_first_and_its_posterior_is_a_mixture_of_gaussians():
    model = build(Dlgmm)
    log_q_NK, _ = model.infer(batch())
    torch.testing.assert_close(log_q_NK.exp(), torch.full((N, K), 1.0 / K), atol=1e-5, rtol=0)
    assert float(model(batch()).terms["kl_assignment"].abs().max()) < 1e-2
    generator = torch.Generator().manual_seed(0)
    posterior = Gaussian(torch.randn(N, K, M, generator=generator), torch.randn(N, K, M, generator=generator))
    log_weight_NK = torch.randn(N, K, generator=generator).log_softmax(-1)
    z_NKM = torch.randn(N, K, M, generator=generator)
    components = Independent(Normal(posterior.mean, torch.exp(0.5 * posterior.log_var)), 1)
    mixture = MixtureSameFamily(Categorical(logits=log_weight_NK), components)
    expected_NK = mixture.log_prob(z_NKM.transpose(0, 1)).T
    torch.testing.assert_close(mixture_log_prob(z_NKM, posterior, log_weight_NK), expected_NK)


def test_dlgmm_with_equal_components_has_the_bound_of_a_plain_vae():
    model = build(Dlgmm)
    code_NM, squared_error_N = model.pretrained(batch())
    component_N = torch.zeros(N, dtype=torch.long)
    before = model.decode(code_NM, component_N)
    model.place(code_NM, squared_error_N, torch.arange(N) % K)
    terms = model(Batch(batch().x_ND)).terms
    mean_NM = model.infer(batch())[1]
    torch.testing.assert_close(mean_NM.std(0), torch.ones(M), atol=1e-4, rtol=0)
    torch.testing.assert_close(model.decode(mean_NM, component_N), before)
    log_var = 2.0 * math.log(0.2)
    expected_N = -0.5 * (M * log_var + torch.zeros(N)) + 0.5 * mean_NM.square().sum(-1)  # log q - log p at the means
    torch.testing.assert_close(terms["kl_latent"], expected_N)
    reconstruction_N = -0.5 * (batch().x_ND - model.decode(mean_NM, component_N)).square().sum(-1)
    torch.testing.assert_close(terms["reconstruction"], reconstruction_N)


def test_dlgmm_learns_the_initial_clusters_that_it_is_anchored_to():
    model, label_N = build(Dlgmm), torch.arange(N) % K
    x_ND = torch.eye(K, D)[label_N] * 3.0
    optimizer = torch.optim.Adam(model.parameters(), 0.03)
    for seed in range(20):
        held = Batch(x_ND, torch.Generator().manual_seed(seed), Phase(hold=True, anchor=3.0), label_N=label_N)
        optimizer.zero_grad()
        (-model(held).objective_N.mean()).backward()
        optimizer.step()
    assert torch.equal(model.infer(Batch(x_ND))[0].argmax(-1), label_N)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (lambda: StickBreakingOptions(concentration=0.0), "concentration must be above 0, got 0.0"),
        (lambda: DlgmmOptions(concentration=-1.0), "concentration must be above 0, got -1.0"),
        (lambda: DlgmmOptions(hidden="16,8"), "hidden must be 'auto' or widths such as 500-500-2000, got '16,8'"),
    ],
)
def test_an_option_out_of_range_is_named(options, words):
    with pytest.raises(UsageError, match=words):
        options()
