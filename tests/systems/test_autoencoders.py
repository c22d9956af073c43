"""Plain autoencoders on the grid: `ae` and `k-dae` have neither noise nor KL."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Bernoulli

from deepmix.contracts import Batch, Phase
from tests.losses import loss_of

WIDTHS = {"encoder.hidden": "8-7", "decoder.hidden": "8-7"}


K, N = 4, 9


def grey_rows() -> torch.Tensor:
    return torch.rand(N, 6, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("name", ["ae", "k-dae"])
def test_the_bound_is_the_reconstruction_whatever_the_noise(small_model, name):
    model, x = small_model(name, **WIDTHS).double(), grey_rows()
    bounds = [loss_of(model, x, torch.Generator().manual_seed(seed), beta=1.0) for seed in (0, 1)]
    assert torch.equal(bounds[0].objective_N, bounds[1].objective_N)
    assert torch.equal(bounds[0].terms["kl_latent"], torch.zeros(N).double())
    n_components = K if name == "k-dae" else 1
    expected = bounds[0].terms["reconstruction"] - math.log(n_components)  # p(y), the same for every autoencoder
    torch.testing.assert_close(bounds[0].elbo_N, expected, rtol=1e-8, atol=1e-8)  # p(y) is kept in float32


def test_ae_trains_what_its_pretraining_does(small_model):
    model, x = small_model("ae", **WIDTHS).double(), grey_rows()
    actual = loss_of(model, x, torch.Generator(), beta=1.0).objective_N
    pretraining = model(Batch(x, phase=Phase("pretrain"))).objective_N
    torch.testing.assert_close(actual, pretraining, rtol=1e-12, atol=1e-12)


def test_k_dae_takes_the_autoencoder_that_reconstructs_best(small_model):
    model, x = small_model("k-dae", **WIDTHS).double(), grey_rows()
    with torch.no_grad():
        codes = model.encoder(x).mean
        likelihoods = []
        for k in range(K):
            counts = [0] * K
            counts[k] = N
            logits = model.decoder(codes[:, k], counts)
            likelihoods.append(Bernoulli(logits=logits, validate_args=False).log_prob(x).sum(-1))
    likelihood = torch.stack(likelihoods, dim=-1)
    log_q, latent = model.infer(Batch(x))
    torch.testing.assert_close(log_q, likelihood.log_softmax(-1), rtol=1e-10, atol=1e-10)
    best = likelihood.argmax(-1)
    torch.testing.assert_close(latent, codes[torch.arange(N), best])
    actual = loss_of(model, x, torch.Generator(), beta=1.0).terms["reconstruction"]
    torch.testing.assert_close(actual, likelihood.amax(-1), rtol=1e-10, atol=1e-10)
    assert len(best.unique()) > 1


def test_ae_with_a_mixture_finds_most_digits(train):
    """The defaults reach 0.75; a guess gets 0.1."""
    results = train("ae", heads=("gmm",), init="kmeans", settings={"epochs": "6", "pretrain_epochs": "10"})
    assert results["heads"]["gmm"]["test"]["acc"] >= 0.6
    assert results["knn_error"]["5"] <= 0.3
    assert results["elbo_parts"]["test"]["kl_latent"] == 0.0


def test_k_dae_keeps_and_learns_the_initial_clusters(train):
    results = train(
        "k-dae",
        init="kmeans",
        settings={"epochs": "5", "pretrain_epochs": "8", "batch_size": "64"}
        | {"encoder.hidden": "64-32", "decoder.hidden": "64-32"},
    )
    assert results["heads"]["posterior"]["test"]["acc"] >= results["initial_labels"]["test"]["acc"] - 0.1
    assert results["heads"]["posterior"]["test"]["acc"] >= 0.55
