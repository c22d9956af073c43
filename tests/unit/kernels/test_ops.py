"""The kernels' Python interface refuses shapes that don't fit, and names the expected and the actual shape."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from deepmix.kernels import ops
from deepmix.maths import Gaussian, Latents, MixtureParameters

N, K, M, L = 5, 3, 2, 2


CLOSE = {"rtol": 1e-12, "atol": 1e-12}  # float64: sums of a few terms


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian(*shape: int, seed: int = 0) -> Gaussian:
    return Gaussian(randn(*shape, seed=seed), randn(*shape, seed=seed + 1))


def mixture(n_components: int = K, latent_dim: int = M) -> MixtureParameters:
    return MixtureParameters(gaussian(n_components, latent_dim, seed=5), randn(n_components).log_softmax(0))


def standard(n_components: int = K) -> MixtureParameters:
    return MixtureParameters(None, randn(n_components).log_softmax(0))


def latents(n_heads: int = K, prior: MixtureParameters | None = None, shape: tuple[int, ...] = ()) -> Latents:
    posterior = gaussian(N, n_heads, M, seed=3)
    noise = randn(*(shape or (L, N, n_heads, M)), seed=9)
    return Latents(noise, posterior, prior or mixture(), torch.zeros(N, K, dtype=torch.float64), at_mean=False)


@pytest.mark.parametrize("prior", [mixture(), standard()], ids=["mixture", "standard"])
@pytest.mark.parametrize("n_heads", [1, K])
def test_component_kl_has_a_column_for_every_component(n_heads: int, prior: MixtureParameters) -> None:
    posterior = gaussian(N, n_heads, M)
    actual = ops.component_kl(posterior, prior)
    components = prior.components or Gaussian(torch.zeros(K, M).double(), torch.zeros(K, M).double())
    q = Normal(posterior.mean.expand(N, K, M), torch.exp(0.5 * posterior.log_var).expand(N, K, M))
    p = Normal(components.mean, torch.exp(0.5 * components.log_var))
    torch.testing.assert_close(actual, kl_divergence(q, p).sum(-1), **CLOSE)


@pytest.mark.parametrize("prior", [mixture(), standard()], ids=["mixture", "standard"])
@pytest.mark.parametrize("n_heads", [1, K])
def test_mixture_posterior_is_normalised_over_every_component(n_heads: int, prior: MixtureParameters) -> None:
    actual = ops.mixture_posterior(latents(n_heads, prior), randn(L, N, K), use_posterior=True)
    assert actual.log_q_NK.shape == (N, K)
    torch.testing.assert_close(actual.log_q_NK.exp().sum(-1), torch.ones(N, dtype=torch.float64), **CLOSE)


def test_a_likelihood_shared_by_all_components_moves_only_the_normaliser() -> None:
    """VaDE decodes once per row, (L, N, 1)."""
    batch, log_likelihood = latents(1), randn(L, N, 1)
    without = ops.mixture_posterior(batch, None, use_posterior=True)
    actual = ops.mixture_posterior(batch, log_likelihood, use_posterior=True)
    torch.testing.assert_close(actual.log_q_NK, without.log_q_NK, **CLOSE)
    shift = log_likelihood.mean(0).squeeze(-1)
    torch.testing.assert_close(actual.log_normalizer_N, without.log_normalizer_N + shift, **CLOSE)


@pytest.mark.parametrize(
    ("posterior", "prior", "message"),
    [
        (Gaussian(randn(N, M), randn(N, M)), mixture(), "one shape (N, H, M), got (5, 2) and (5, 2)"),
        (Gaussian(randn(N, K, M), randn(N, K, 1)), mixture(), "one shape (N, H, M), got (5, 3, 2) and (5, 3, 1)"),
        (gaussian(N, 2, M), mixture(), "q(z|y,x) has 2 heads; the prior has 3 components"),
        (gaussian(N, 2, M), standard(), "q(z|y,x) has 2 heads; the prior has 3 components"),
        (gaussian(N, K, M), mixture(latent_dim=4), "the prior's mean must be (K, M) = (3, 2), got (3, 4)"),
        (
            gaussian(N, K, M),
            MixtureParameters(Gaussian(randn(K, M), randn(1, M)), randn(K)),
            "the prior's log-variance must be (K, M) = (3, 2), got (1, 2)",
        ),
    ],
)
def test_component_kl_refuses_shapes_that_do_not_fit(
    posterior: Gaussian, prior: MixtureParameters, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        ops.component_kl(posterior, prior)


def test_mixture_posterior_refuses_noise_of_another_shape() -> None:
    with pytest.raises(ValueError, match=re.escape("of shape (5, 3, 2), got (2, 5, 1, 2)")):
        ops.mixture_posterior(latents(shape=(L, N, 1, M)), None, use_posterior=True)


@pytest.mark.parametrize("shape", [(N, K), (1, N, K), (L, N, 2)])
def test_mixture_posterior_refuses_likelihoods_of_another_shape(shape: tuple[int, ...]) -> None:
    message = f"log p(x|z) must be (L, N, K) = (2, 5, 3), got {shape}"
    with pytest.raises(ValueError, match=re.escape(message)):
        ops.mixture_posterior(latents(), randn(*shape), use_posterior=True)
