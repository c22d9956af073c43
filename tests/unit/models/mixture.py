"""Small models of every kind, and their ELBO written out plainly as the oracle for the tests of `mixture_vae`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import torch
from deepmix_builtins.likelihoods.bernoulli import BernoulliLikelihood
from deepmix_builtins.likelihoods.gaussian import GaussianLikelihood, LearnedGaussianLikelihood
from deepmix_builtins.mixture.posteriors import (
    EStepOptions,
    JointPosterior,
    KDvaePosterior,
    PriorPosterior,
    RatioPosterior,
)
from deepmix_builtins.mixture.priors import MixturePrior, StandardPrior
from deepmix_builtins.networks.decoders import GroupedMlpDecoder, MlpDecoder
from deepmix_builtins.networks.encoders import GroupedMlpEncoder, GroupedMlpOptions, MlpEncoder, MlpOptions
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from deepmix.contracts import NoOptions
from deepmix.data import CellBlock
from deepmix.maths import Dims
from deepmix.models import Composite, MixtureOptions, MixtureVAE

N, D, K, M, L = 9, 6, 4, 2, 2


CLOSE = {"rtol": 1e-10, "atol": 1e-10}  # float64 through two small networks: errors of 1e-13, and a margin


THRESHOLD = MixtureOptions().decode_threshold


ENCODER_GAIN, DECODER_GAIN = 4.0, 2.0
"""Times the networks' initial weights (not biases), so that rows differ in their codes and components."""


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=seeded(seed))


def grey_rows(seed: int = 0) -> Tensor:
    return torch.rand((N, D), generator=seeded(seed))


@dataclass(frozen=True)
class Case:
    """One point of the grid."""

    equation: Literal[5, 6, 10, 15, 16] = 15
    """The equation of the supplement for q(y|x); 6 is k-DVAE's."""
    e_step: Literal["sampled", "closed-form"] = "closed-form"
    assignment: Literal["soft", "hard"] = "soft"
    prior: Literal["mixture", "standard"] = "mixture"
    network: Literal["mlp", "grouped-mlp"] = "mlp"
    product: bool = False
    likelihood: str = "bernoulli"
    samples: int = L
    threshold: float = 0.0

    @property
    def n_heads(self) -> int:
        return 1 if self.equation == 16 else K

    def __str__(self) -> str:
        chosen = [f"{f.name}={getattr(self, f.name)}" for f in fields(self) if getattr(self, f.name) != f.default]
        return ",".join(chosen) or "default"


LIKELIHOODS = {
    "bernoulli": BernoulliLikelihood,
    "gaussian": GaussianLikelihood,
    "gaussian-learned": LearnedGaussianLikelihood,
}
ESTIMATORS = {5: JointPosterior, 10: PriorPosterior, 15: RatioPosterior, 16: PriorPosterior}


def build(case: Case, seed: int = 0) -> MixtureVAE:
    likelihood = Composite([LIKELIHOODS[case.likelihood](CellBlock(case.likelihood, D))])
    dims = Dims(D, likelihood.n_outputs, K, case.n_heads, M)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if case.network == "mlp":
            encoder, decoder = MlpEncoder(dims, MlpOptions("8-7")), MlpDecoder(dims, MlpOptions("8-7"))
        else:
            options = GroupedMlpOptions("8-7")
            encoder, decoder = GroupedMlpEncoder(dims, options), GroupedMlpDecoder(dims, options)
        with torch.no_grad():  # rows that look alike to the model would test little
            for gain, network in ((ENCODER_GAIN, encoder), (DECODER_GAIN, decoder)):
                for name, parameter in network.named_parameters():
                    parameter.mul_(gain if "weight" in name else 1.0)
        if case.prior == "mixture":
            prior = MixturePrior(dims, NoOptions())
            with torch.no_grad():
                prior.mean_KM.normal_().mul_(2.0)
                prior.log_var_KM.normal_()
                prior.logit_K.normal_()
        else:
            prior = StandardPrior(dims, NoOptions())
    if case.equation == 6:
        posterior = KDvaePosterior(dims, NoOptions())
    else:
        reduction = "product" if case.product else "mean"
        posterior = ESTIMATORS[case.equation](dims, EStepOptions(case.e_step, reduction))
    options = MixtureOptions(case.assignment, "auto", case.samples, case.threshold)
    return MixtureVAE(dims, encoder, decoder, prior, posterior, likelihood, options)


@dataclass(frozen=True)
class Plain:
    """The bound as the papers print it: every component decoded, every term by torch.distributions."""

    log_q: Tensor
    objective: Tensor
    reconstruction: Tensor
    kl_latent: Tensor
    kl_assignment: Tensor
    log_likelihood: Tensor
    """(N, K), mean over samples."""
    kl: Tensor
    """(N, K)."""
    log_weight: Tensor


def log_density(model: MixtureVAE, outputs: Tensor, x: Tensor) -> Tensor:
    (block,) = model.likelihood.blocks
    if isinstance(block, BernoulliLikelihood):
        return (x * functional.logsigmoid(outputs) + (1.0 - x) * functional.logsigmoid(-outputs)).sum(-1)
    if isinstance(block, GaussianLikelihood):
        return Normal(outputs, torch.exp(0.5 * block.log_var)).log_prob(x).sum(-1)
    return Normal(outputs[:, :D], torch.exp(0.5 * outputs[:, D:])).log_prob(x).sum(-1)


def plain_elbo(
    model: MixtureVAE,
    case: Case,
    x: Tensor,
    seed: int,
    beta: float,
    labels: Tensor | None = None,
    q_has_gradient: bool = False,
) -> Plain:
    posterior, prior = model.encoder(x), model.prior()
    noise = torch.randn((case.samples, *posterior.mean.shape), generator=seeded(seed))
    z = posterior.mean + torch.exp(0.5 * posterior.log_var) * noise
    log_ratios, log_likelihoods, kls = [], [], []
    for k in range(K):
        head = 0 if case.n_heads == 1 else k
        counts = [0] * case.n_heads
        counts[head] = len(x)
        q_k = Normal(posterior.mean[:, head], torch.exp(0.5 * posterior.log_var[:, head]))
        p_k = Normal(torch.zeros(M), torch.ones(M))
        if prior.components is not None:
            p_k = Normal(prior.components.mean[k], torch.exp(0.5 * prior.components.log_var[k]))
        outputs = [model.decoder(z[sample, :, head], counts) for sample in range(case.samples)]
        log_p_x = torch.stack([log_density(model, output, x) for output in outputs])
        kl = kl_divergence(q_k, p_k).sum(-1)
        if case.e_step == "sampled" and case.equation != 6:
            log_ratio = prior.log_weight_K[k] + p_k.log_prob(z[:, :, head]).sum(-1)
            if case.equation in (5, 15):
                log_ratio = log_ratio - q_k.log_prob(z[:, :, head]).sum(-1)
        else:
            log_ratio = (prior.log_weight_K[k] - kl).expand(case.samples, -1)
            if case.equation in (10, 16):
                log_ratio = log_ratio - q_k.entropy().sum(-1)
        if case.equation in (5, 6):
            log_ratio = log_ratio + log_p_x
        log_ratios.append(log_ratio.sum(0) if case.product else log_ratio.mean(0))
        log_likelihoods.append(log_p_x.mean(0))
        kls.append(kl)
    log_q = torch.stack(log_ratios, dim=-1).log_softmax(-1)
    log_likelihood, kl = torch.stack(log_likelihoods, dim=-1), torch.stack(kls, dim=-1)
    if labels is not None:
        weight = functional.one_hot(labels, K).double()
    elif case.assignment == "hard":
        weight = functional.one_hot(log_q.argmax(-1), K).double()
    else:
        weight = log_q.exp() if q_has_gradient else log_q.exp().detach()
    reconstruction = (weight * log_likelihood).sum(-1)
    kl_latent = (weight * kl).sum(-1)
    kl_assignment = (torch.special.xlogy(weight, weight) - weight * prior.log_weight_K).sum(-1)
    objective = reconstruction - beta * (kl_latent + kl_assignment)
    return Plain(log_q, objective, reconstruction, kl_latent, kl_assignment, log_likelihood, kl, prior.log_weight_K)


def gradients(value: Tensor, model: MixtureVAE) -> dict[str, Tensor]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    actual = torch.autograd.grad(value, parameters, allow_unused=True)
    return {
        name: torch.zeros_like(parameter) if gradient is None else gradient
        for name, parameter, gradient in zip(names, parameters, actual, strict=True)
    }


def assert_same_gradients(actual: Tensor, expected: Tensor, model: MixtureVAE) -> None:
    found_by_name, expected_by_name = gradients(actual, model), gradients(expected, model)
    for name, gradient in expected_by_name.items():
        torch.testing.assert_close(found_by_name[name], gradient, **CLOSE, msg=lambda text, n=name: f"{n}: {text}")
    for part in ("encoder", "decoder"):  # otherwise zeros would be compared
        assert any(name.startswith(part) and gradient.any() for name, gradient in expected_by_name.items())
