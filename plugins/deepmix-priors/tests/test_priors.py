"""The priors keep their contract, and their densities are those of torch.distributions."""

from __future__ import annotations

import pytest
import torch
from deepmix_priors.full import FullPrior
from deepmix_priors.vamp import VampOptions, VampPrior
from torch.distributions import MultivariateNormal, kl_divergence

from deepmix.contracts import Batch, Encoder, NoOptions, PriorPlacement
from deepmix.maths import Dims, Gaussian, cluster_moments, gaussian_log_prob
from deepmix.testing import check_prior

K, M, D, N = 3, 4, 6, 90


@pytest.mark.parametrize("prior_class", [FullPrior, VampPrior])
def test_the_contract(prior_class):
    check_prior(prior_class)


def start_of(z_NM: torch.Tensor, x_ND: torch.Tensor) -> PriorPlacement:
    """Return the placement of rows in three clusters in turn, and one row of noise."""
    label_N = torch.arange(N) % K
    label_N[-1] = -1
    halves = [Batch(x_ND[part], row_N=part) for part in torch.arange(N).split(N // 2)]
    return PriorPlacement(z_NM, label_N, *cluster_moments(z_NM, label_N, K), batches=lambda: iter(halves))


@pytest.mark.parametrize("n_heads", [1, K])
def test_full_has_the_density_kl_and_samples_of_gaussians_with_the_clusters_covariances(n_heads):
    generator = torch.Generator().manual_seed(0)
    mixing_MM = torch.randn(M, M, generator=generator)
    z_NM = torch.randn(N, M, generator=generator) @ mixing_MM + torch.eye(K, M)[torch.arange(N) % K] * 9.0
    prior = FullPrior(Dims(D, D, K, n_heads, M), NoOptions())
    start = start_of(z_NM, torch.zeros(N, D))
    prior.place_on(start)
    covariance_KMM = torch.stack([z_NM[start.label_N == k].T.cov(correction=0) for k in range(K)]) + 1e-3 * torch.eye(M)
    expected = MultivariateNormal(start.components.mean, covariance_KMM)
    shape = (5, n_heads, M)
    posterior = Gaussian(torch.randn(shape, generator=generator), torch.randn(shape, generator=generator))
    z_LNHM = posterior.sample(2, generator)
    torch.testing.assert_close(prior.log_prob(z_LNHM), expected.log_prob(z_LNHM), rtol=1e-3, atol=1e-3)
    q = MultivariateNormal(posterior.mean, torch.diag_embed(posterior.log_var.exp()))
    kl_NK = kl_divergence(q, expected.expand((5, K)))
    torch.testing.assert_close(prior.kl(posterior, z_LNHM), kl_NK, rtol=1e-3, atol=1e-3)
    sample_RM = prior.sample(20_000, 1, generator)
    torch.testing.assert_close(sample_RM.T.cov(), covariance_KMM[1], rtol=0.1, atol=0.1)
    torch.testing.assert_close(prior.log_weights().exp(), start.weight_K)


class Heads(Encoder):
    """An encoder whose head h adds h to the first columns."""

    def __init__(self, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads

    def forward(self, x_ND):
        mean_NHM = x_ND[:, None, :M] + torch.arange(float(self.n_heads))[:, None]
        return Gaussian(mean_NHM, torch.full_like(mean_NHM, -1.0))

    def code(self, x_ND):
        return x_ND[:, :M]

    def place(self, shift_M, scale_M, log_var):
        pass


@pytest.mark.parametrize("n_heads", [1, K])
def test_vamp_is_the_mean_posterior_of_rows_of_its_cluster_through_its_own_head(n_heads):
    generator = torch.Generator().manual_seed(0)
    x_ND = torch.randn(N, D, generator=generator)
    prior = VampPrior(Dims(D, D, K, n_heads, M), VampOptions(pseudo_inputs=5))
    with pytest.raises(RuntimeError, match="bind"):
        prior.components()
    encoder = Heads(n_heads)
    prior.bind(encoder)
    start = start_of(x_ND[:, :M], x_ND)
    prior.place_on(start)
    assert not any(name.startswith("_encoder") for name, _ in prior.named_modules())
    numbers = [
        [int((x_ND == input_D).all(-1).nonzero()[0, 0]) for input_D in inputs_JD] for inputs_JD in prior.input_KJD
    ]
    assert [sorted({row % K for row in rows}) for rows in numbers] == [[0], [1], [2]]
    assert all(len(set(rows)) == 5 and N - 1 not in rows for rows in numbers)
    z_LNHM = torch.randn(2, 7, n_heads, M, generator=generator)
    for k, rows in enumerate(numbers):
        head = k if n_heads > 1 else 0
        mean_JM = x_ND[rows, :M] + head
        z_LN1M = z_LNHM[:, :, [head]]
        plain_LN = gaussian_log_prob(z_LN1M, mean_JM, torch.full_like(mean_JM, -1.0)).exp().mean(-1).log()
        torch.testing.assert_close(prior.log_prob(z_LNHM)[..., k], plain_LN)
    sample_RM = prior.sample(20_000, 1, generator)
    torch.testing.assert_close(sample_RM.mean(0), prior.components().mean[1].mean(0), atol=0.05, rtol=0.0)
