"""A prior with a density of its own does what diagonal Gaussians do where its density is theirs."""

from __future__ import annotations

import math

import pytest
import torch
from deepmix_builtins.likelihoods.gaussian import GaussianLikelihood
from deepmix_builtins.mixture.posteriors import JointPosterior, PriorPosterior, RatioPosterior
from deepmix_builtins.mixture.priors import MixturePrior
from deepmix_builtins.networks.decoders import MlpDecoder
from deepmix_builtins.networks.encoders import MlpEncoder
from torch import Tensor

from deepmix.contracts import Batch, DensityPrior, NoOptions, Phase, Placement
from deepmix.data import CellBlock
from deepmix.maths import (
    Dims,
    Gaussian,
    cluster_moments,
    component_kl,
    gaussian_log_prob,
)
from deepmix.models import Composite, MixtureOptions, MixtureVAE

K, M, D, N = 3, 2, 5, 40


class OwnGaussians(DensityPrior):
    """Diagonal Gaussians, answered by the prior itself."""

    def __init__(self, dims: Dims, options: NoOptions) -> None:
        super().__init__()
        self.inner = MixturePrior(dims, options)
        self.batches_seen = 0

    def log_weights(self) -> Tensor:
        return self.inner().log_weight_K

    def log_prob(self, z_LNHM: Tensor) -> Tensor:
        components = self.inner().components
        assert components is not None
        return gaussian_log_prob(z_LNHM, components.mean, components.log_var)

    def sample(self, n_rows: int, component: int, generator: torch.Generator) -> Tensor:
        return torch.zeros(n_rows, M) + component

    def place(self, components: Gaussian, weight_K: Tensor) -> None:
        self.inner.place(components, weight_K)

    def place_on(self, start) -> None:
        super().place_on(start)
        self.batches_seen = len(list(start.batches()))


class OwnGaussiansInClosedForm(OwnGaussians):
    def kl(self, posterior: Gaussian, z_LNHM: Tensor) -> Tensor:
        components = self.inner().components
        assert components is not None
        return component_kl(posterior.mean, posterior.log_var, components.mean, components.log_var)


def mixture(prior_class: type, estimator_class: type, n_heads: int, samples: int = 2) -> MixtureVAE:
    torch.manual_seed(0)
    dims = Dims(D, D, K, n_heads, M)
    likelihood = Composite([GaussianLikelihood(CellBlock("gaussian", D))], masked=False)
    parts = [part(dims, part.Options()) for part in (MlpEncoder, MlpDecoder, prior_class, estimator_class)]
    return MixtureVAE(dims, *parts, likelihood=likelihood, options=MixtureOptions(samples=samples))


def placed(model: MixtureVAE, x_ND: Tensor) -> MixtureVAE:
    batch = Batch(x_ND)
    code_NM, error_N = model.pretrained(batch)
    model.place_on(Placement(code_NM, error_N, torch.arange(N) % K, batches=lambda: iter([batch])))
    return model


@pytest.mark.parametrize("estimator", [PriorPosterior, RatioPosterior, JointPosterior])
@pytest.mark.parametrize("n_heads", [1, K])
def test_loss_and_inference_are_those_of_the_gaussians(estimator, n_heads):
    x_ND = torch.randn(N, D, generator=torch.Generator().manual_seed(1))
    plain, own = (placed(mixture(c, estimator, n_heads), x_ND) for c in (MixturePrior, OwnGaussiansInClosedForm))
    assert own.prior.batches_seen == 1
    phase = Phase(anchor=1.0)
    losses = []
    for model in (plain, own):
        generator = torch.Generator().manual_seed(3)
        losses.append(model(Batch(x_ND, generator=generator, phase=phase, label_N=torch.arange(N) % K)))
    torch.testing.assert_close(losses[0].objective_N, losses[1].objective_N)
    torch.testing.assert_close(losses[0].elbo_N, losses[1].elbo_N)
    for one, other in zip(plain.infer(Batch(x_ND)), own.infer(Batch(x_ND)), strict=True):
        torch.testing.assert_close(one, other)
    gradients = [
        torch.autograd.grad(loss.objective_N.sum(), model.encoder.parameters())
        for loss, model in zip(losses, (plain, own), strict=True)
    ]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    assert own.prior_sample(2, 1, torch.Generator()).tolist() == [[1.0, 1.0]] * 2


def test_without_a_closed_form_the_kl_is_estimated_and_deterministic_outside_training():
    x_ND = torch.randn(N, D, generator=torch.Generator().manual_seed(1))
    exact, estimated = (placed(mixture(c, RatioPosterior, K), x_ND) for c in (OwnGaussiansInClosedForm, OwnGaussians))
    one, two, half = (estimated(Batch(x_ND[:n])).terms["kl_latent"] for n in (N, N, N // 2))
    assert torch.equal(one, two)
    torch.testing.assert_close(one[: N // 2], half)
    expected = exact(Batch(x_ND)).terms["kl_latent"]
    assert float((one - expected).abs().mean() / expected.mean()) < 0.1


def test_moments_leave_noise_out():
    z_NM = torch.tensor([[0.0], [2.0], [100.0], [6.0], [8.0]])
    components, weight_K = cluster_moments(z_NM, torch.tensor([0, 0, -1, 1, 1]), 2)
    assert components.mean.tolist() == [[1.0], [7.0]]
    assert weight_K.tolist() == [0.5, 0.5]
    assert math.isclose(float(components.log_var.exp().sum()), 2.0, rel_tol=1e-5)
