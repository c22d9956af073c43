"""Placing a pretrained autoencoder, grouped networks, priors and generated rows."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import final

import numpy as np
import pytest
import torch
from deepmix_builtins.likelihoods.gaussian import GaussianLikelihood
from deepmix_builtins.mixture.priors import MixturePrior
from deepmix_builtins.networks.decoders import GroupedMlpDecoder
from deepmix_builtins.networks.encoders import MlpEncoder
from torch import Tensor
from torch.distributions import Bernoulli
from torch.nn import functional

from deepmix.contracts import Batch, Decoder, NoOptions, Phase
from deepmix.data import CellBlock
from deepmix.maths import Dims, cluster_moments
from deepmix.models import INITIAL_LOG_VAR, Composite
from tests.losses import loss_of
from tests.unit.models.mixture import CLOSE, Case, D, K, M, N, build, grey_rows, randn, seeded

pytestmark = pytest.mark.usefixtures("double_precision")


PLACED = [
    Case(),
    Case(prior="standard"),
    Case(equation=16),
    Case(network="grouped-mlp"),
    Case(equation=6, network="grouped-mlp", prior="standard"),
]


@pytest.mark.parametrize("case", PLACED, ids=str)
def test_place_leaves_reconstructions_of_codes_unchanged(case: Case) -> None:
    model, x = build(replace(case, likelihood="gaussian")), grey_rows()
    with torch.no_grad():  # codes far from unit spread and centre
        for name, parameter in model.encoder.mean.named_parameters():
            parameter.mul_(0.1) if "weight" in name else parameter.add_(3.0)
    with torch.no_grad():
        code = model.encoder.code(x)
        before = model.decoder(code, [N] + [0] * (case.n_heads - 1))
    shift, scale = code.mean(0), code.std(0)
    assert (shift.abs() > 1.0).all()
    assert (scale < 0.5).all()

    found_code, squared_error = model.pretrained(Batch(x))
    torch.testing.assert_close(found_code, code, **CLOSE)
    torch.testing.assert_close(squared_error, (x - before).square().mean(-1), **CLOSE)
    model.place(found_code, squared_error, torch.arange(N) % K)

    with torch.no_grad():
        posterior = model.encoder(x)
        torch.testing.assert_close(model.encoder.code(x), (code - shift) / scale, **CLOSE)
        for head in range(case.n_heads):
            torch.testing.assert_close(posterior.mean[:, head], (code - shift) / scale, **CLOSE)
            counts = [0] * case.n_heads
            counts[head] = N
            torch.testing.assert_close(model.decoder(posterior.mean[:, head], counts), before, **CLOSE)
    assert torch.equal(posterior.log_var, torch.full((N, case.n_heads, M), INITIAL_LOG_VAR))


def test_initial_posteriors_are_a_fifth_as_wide_as_the_codes() -> None:
    assert math.exp(0.5 * INITIAL_LOG_VAR) == pytest.approx(0.2, rel=1e-12)


@pytest.mark.parametrize("noise", [True, False])
def test_place_takes_the_residual_variance_and_the_moments_of_the_rescaled_codes(noise: bool) -> None:
    model = build(Case(likelihood="gaussian"))
    model.options = replace(model.options, noise=noise)
    code, squared_error, labels = 5.0 + 3.0 * randn(N, M, seed=1), torch.linspace(0.1, 0.3, N), torch.arange(N) % K
    model.place(code, squared_error, labels)

    def decode(z_NM: Tensor) -> Tensor:
        return model.decoder(z_NM, [N] + [0] * (K - 1))

    added = model.likelihood.noise_error(decode, (code - code.mean(0)) / code.std(0), INITIAL_LOG_VAR)
    assert added > 1e-4
    expected = 0.2 + added if noise else 0.2
    assert math.exp(float(model.likelihood.blocks[0].log_var)) == pytest.approx(expected, rel=1e-12)
    moments, weight = cluster_moments((code - code.mean(0)) / code.std(0), labels, K)
    prior = model.prior()
    torch.testing.assert_close(prior.components.mean, moments.mean, **CLOSE)
    torch.testing.assert_close(prior.components.log_var, moments.log_var, **CLOSE)
    torch.testing.assert_close(prior.log_weight_K, weight.log(), **CLOSE)


def test_place_leaves_the_standard_prior_alone() -> None:
    model = build(Case(prior="standard"))
    model.place(5.0 + randn(N, M), torch.ones(N), torch.zeros(N, dtype=torch.long))
    prior = model.prior()
    assert prior.components is None
    torch.testing.assert_close(prior.log_weight_K, torch.full((K,), -math.log(K)), **CLOSE)


def test_place_survives_a_latent_that_never_varies() -> None:
    model, x = build(Case()), grey_rows()
    code = randn(N, M)
    code[:, 0] = 4.0
    model.place(code, torch.ones(N), torch.arange(N) % K)
    actual = loss_of(model, x, seeded(7), beta=1.0)
    assert actual.objective_N.isfinite().all()


def test_pretraining_maximises_the_log_likelihood_of_rows_given_their_codes() -> None:
    model, x = build(Case()), grey_rows()
    logits = model.decoder(model.encoder(x).mean[:, 0], [N, 0, 0, 0])
    expected = -functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
    loss = model(Batch(x, phase=Phase("pretrain")))
    torch.testing.assert_close(loss.objective_N, expected, **CLOSE)
    assert torch.equal(loss.elbo_N, loss.objective_N)
    assert not loss.elbo_N.requires_grad


def alone(decoder: GroupedMlpDecoder, k: int, z: Tensor) -> Tensor:
    for layer in (decoder.first, *decoder.trunk):
        z = torch.relu(z @ layer.weight_KIO[k] + layer.bias_KO[k])
    return z @ decoder.output.weight_KIO[k] + decoder.output.bias_KO[k]


@pytest.mark.parametrize(
    "counts", [[3, 0, 5, 1], [2, 2, 2, 2], [0, 0, 4, 0], [0, 3, 3, 0], [1, 2, 3, 4], [0, 0, 0, 0]], ids=str
)
def test_grouped_decoder_is_each_network_run_alone(counts: list[int]) -> None:
    decoder = build(Case(network="grouped-mlp")).decoder
    z = randn(sum(counts), M)
    expected = torch.cat([alone(decoder, k, rows) for k, rows in enumerate(z.split(counts))])
    actual = decoder(z, counts)
    assert actual.shape == (sum(counts), D)
    torch.testing.assert_close(actual, expected, **CLOSE)


def test_grouped_encoder_is_each_network_run_alone() -> None:
    encoder, x = build(Case(network="grouped-mlp")).encoder, grey_rows()
    actual = encoder(x)
    for k in range(K):
        features = x
        for layer in encoder.trunk:
            features = torch.relu(features @ layer.weight_KIO[k] + layer.bias_KO[k])
        for head, tensor in ((encoder.mean, actual.mean), (encoder.log_var, actual.log_var)):
            torch.testing.assert_close(tensor[:, k], features @ head.weight_KIO[k] + head.bias_KO[k], **CLOSE)
    torch.testing.assert_close(encoder.code(x), actual.mean[:, 0], **CLOSE)


def test_weights_of_a_mixture_prior_are_the_softmax_of_its_logits() -> None:
    prior = MixturePrior(Dims(D, D, 3, 3, M), NoOptions())
    with torch.no_grad():
        prior.logit_K.copy_(torch.tensor([2.0, 3.0, 5.0]).log() + 7.0)
    torch.testing.assert_close(prior().log_weight_K.exp(), torch.tensor([0.2, 0.3, 0.5]), **CLOSE)


@final
class PassThrough(Decoder):
    """A decoder that returns its latents and remembers which head they were assigned to."""

    def forward(self, z_RM: Tensor, counts_H: list[int]) -> Tensor:
        self.counts_H = counts_H
        return z_RM

    def place(self, shift_M: Tensor, scale_M: Tensor) -> None:
        raise AssertionError("not used here")


@pytest.mark.parametrize("case", [Case(equation=15), Case(equation=16), Case(prior="standard")], ids=str)
def test_samples_have_the_moments_of_their_component(case: Case) -> None:
    model, n_rows, component = build(replace(case, likelihood="gaussian")), 40_000, 2
    model.decoder = PassThrough()
    z = model.sample(n_rows, component, seeded(3))
    components = model.prior().components
    mean = torch.zeros(M) if components is None else components.mean[component]
    variance = torch.ones(M) if components is None else components.log_var[component].exp()
    assert z.shape == (n_rows, M)
    assert ((z.mean(0) - mean).abs() < 5.0 * (variance / n_rows).sqrt()).all()  # five standard errors
    assert ((z.var(0) / variance - 1.0).abs() < 5.0 * math.sqrt(2.0 / n_rows)).all()
    assert model.decoder.counts_H == ([n_rows] if case.n_heads == 1 else [0, 0, n_rows, 0])


def test_samples_are_means_of_the_observation_model() -> None:
    model = build(Case())
    rows = model.sample(50, 1, seeded(3))
    components = model.prior().components
    z = components.mean[1] + torch.exp(0.5 * components.log_var[1]) * torch.randn((50, M), generator=seeded(3))
    torch.testing.assert_close(rows, Bernoulli(logits=model.decoder(z, [0, 50, 0, 0])).mean, **CLOSE)
    assert rows.shape == (50, D)
    assert not rows.requires_grad


class DoublingEncoder(MlpEncoder):
    def clustering_view(self, x_ND):
        return 2.0 * x_ND


class TriplingLikelihood(GaussianLikelihood):
    def clustering_view(self, x_NC):
        return 3.0 * x_NC


def test_initial_clusterings_see_the_view_of_the_encoder_or_else_of_the_likelihood() -> None:
    model, rows = build(Case(likelihood="gaussian")), grey_rows().numpy()
    assert np.array_equal(model.clustering_view(rows), rows)
    model.likelihood = Composite([TriplingLikelihood(CellBlock("gaussian", D))])
    assert np.array_equal(model.clustering_view(rows), 3.0 * rows)
    model.encoder.__class__ = DoublingEncoder
    assert np.array_equal(model.clustering_view(rows), 2.0 * rows)
