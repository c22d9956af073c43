"""GMVAE: its formulas against torch.distributions and quadrature, its cut-off, and Digits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from deepmix_builtins.models.gmvae import GmvaeOptions, cluster_posterior, conditional_kl, cut_off
from torch.distributions import Bernoulli, Normal, kl_divergence

from deepmix.contracts import Batch
from deepmix.errors import UsageError
from deepmix.maths import Gaussian
from tests.losses import loss_of

N, K, M = 7, 4, 2


SMALL = {"hidden": "8-7", "w_dim": "1", "component_width": "5"}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussians(*shape: int, seed: int) -> Gaussian:
    return Gaussian(*torch.randn((2, *shape), generator=seeded(seed), dtype=torch.float64).unbind())


def normal(of: Gaussian) -> Normal:
    return Normal(of.mean, torch.exp(0.5 * of.log_var))


def grey_rows() -> torch.Tensor:
    return torch.rand(N, 6, generator=seeded(3), dtype=torch.float64)


def test_cluster_posterior_is_bayes_rule():
    z, components = torch.randn(N, M, generator=seeded(0), dtype=torch.float64), gaussians(N, K, M, seed=1)
    density = normal(components).log_prob(z.unsqueeze(1)).sum(-1).exp()
    expected = density / density.sum(-1, keepdim=True)
    torch.testing.assert_close(cluster_posterior(z, components).exp(), expected, rtol=1e-10, atol=1e-12)


def test_conditional_kl_is_torchs():
    posterior, components = gaussians(N, M, seed=0), gaussians(N, K, M, seed=1)
    wide = Gaussian(posterior.mean.unsqueeze(1), posterior.log_var.unsqueeze(1))
    expected = kl_divergence(normal(wide), normal(components)).sum(-1)
    torch.testing.assert_close(conditional_kl(posterior, components), expected, rtol=1e-10, atol=1e-12)


def test_below_the_cut_off_the_kl_costs_nothing_and_moves_nothing():
    kl = torch.tensor([0.2, 0.9, 1.7], dtype=torch.float64, requires_grad=True)
    actual = cut_off(kl, 1.0)
    assert actual.tolist() == [1.0, 1.0, 1.7]
    actual.sum().backward()
    assert kl.grad.tolist() == [0.0, 0.0, 1.0]


def placed(small_model, **settings):
    model = small_model("gmvae", **SMALL, **settings).double()
    code = model.pretrained(Batch(grey_rows()))[0]
    model.place(code, torch.ones(N).double(), torch.arange(N) % K)
    with torch.no_grad():  # otherwise w would hardly matter
        model.components.mean.weight.mul_(20.0)
        model.components.log_var.bias.zero_()
    return model


@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.parametrize("beta", [1.0, 0.4])
def test_bound_is_the_papers_written_out(small_model, beta, hold):
    model, x = placed(small_model, cutoff="0.8"), grey_rows()
    labels = torch.arange(N) % K
    actual = loss_of(model, x, seeded(5), beta=beta, hold=hold, labels=labels)
    z_posterior, w_posterior = (Gaussian(q.mean[:, 0], q.log_var[:, 0]) for q in (model.encoder(x), model.w_encoder(x)))
    generator = seeded(5)
    z, w = (
        q.mean + torch.exp(0.5 * q.log_var) * torch.randn(1, *q.mean.shape, generator=generator, dtype=torch.float64)[0]
        for q in (z_posterior, w_posterior)
    )
    components = model.components(w)
    log_q_y = normal(components).log_prob(z.unsqueeze(1)).sum(-1).log_softmax(-1)
    q_y = log_q_y.exp()
    weight = torch.nn.functional.one_hot(labels, K).double() if hold else q_y
    logits = model.decoder(z, [N])
    reconstruction = Bernoulli(logits=logits, validate_args=False).log_prob(x).sum(-1)
    z_kl = torch.stack(
        [
            kl_divergence(normal(z_posterior), Normal(components.mean[:, k], (0.5 * components.log_var[:, k]).exp()))
            for k in range(K)
        ]
    ).sum(-1)
    w_kl = kl_divergence(normal(w_posterior), Normal(0.0, 1.0)).sum(-1)
    y_kl = (torch.special.xlogy(weight, weight) + weight * math.log(K)).sum(-1)
    latent = (weight * z_kl.T).sum(-1) + w_kl
    close = {"rtol": 1e-7, "atol": 1e-7}
    torch.testing.assert_close(actual.log_q_NK, log_q_y, **close)
    torch.testing.assert_close(actual.elbo_N, reconstruction - latent - y_kl, **close)
    torch.testing.assert_close(actual.objective_N, reconstruction - beta * (latent + y_kl.clamp_min(0.8)), **close)
    anchored = loss_of(model, x, seeded(5), beta=beta, hold=hold, labels=labels, anchor=2.0)
    cross_entropy = -log_q_y[torch.arange(N), labels]
    torch.testing.assert_close(anchored.objective_N, actual.objective_N - 2.0 * cross_entropy, **close)


def test_mean_bound_is_below_the_log_likelihood_by_quadrature(small_model):
    """With one w and one z, log p(x) is the log of the integral over a grid of w and z, and every y."""
    model = small_model("gmvae", **{**SMALL, "latent_dim": "1"}).double()
    x = grey_rows()
    model.place(model.pretrained(Batch(x))[0], torch.ones(N).double(), torch.arange(N) % K)
    grid = torch.linspace(-8.0, 8.0, 321, dtype=torch.float64)
    step = float(grid[1] - grid[0])
    with torch.no_grad():
        components = model.components(grid.unsqueeze(-1))
        density_wz = normal(components).log_prob(grid.view(1, 1, -1, 1).transpose(1, 2)).squeeze(-1)
        density_wz = density_wz.exp().mean(-1)
        weight_z = (Normal(0.0, 1.0).log_prob(grid).exp().unsqueeze(-1) * density_wz).sum(0) * step
        logits = model.decoder(grid.unsqueeze(-1), [len(grid)])
        likelihood = Bernoulli(logits=logits, validate_args=False).log_prob(x.unsqueeze(1)).sum(-1).exp()
        log_evidence = (likelihood @ weight_z * step).log()
        bounds = torch.stack([loss_of(model, x, seeded(seed), beta=1.0).elbo_N for seed in range(400)])
    error = bounds.std(0) / math.sqrt(len(bounds))
    assert (bounds.mean(0) <= log_evidence + 4.0 * error).all()
    assert (bounds.mean(0) >= log_evidence - 15.0).all()


@pytest.mark.parametrize(
    "bad", [{"w_dim": 0}, {"component_width": 0}, {"cutoff": -0.1}, {"cutoff": math.nan}, {"hidden": "a"}]
)
def test_bad_options(bad):
    with pytest.raises(UsageError, match=next(iter(bad))):
        GmvaeOptions(**bad)


def test_digits(train):
    """Few updates reach 0.60; a guess gets 0.1."""
    results = train("gmvae", init="kmeans", settings={"epochs": "10", "pretrain_epochs": "20"})
    assert results["heads"]["posterior"]["test"]["acc"] >= 0.5
    assert np.isfinite(results["elbo"]["test"])
