"""The grid's one class against ELBOs written out plainly, in float64."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Literal, final

import pytest
import torch
from deepmix_builtins.decoders import GroupedMlpDecoder, MlpDecoder
from deepmix_builtins.encoders import GroupedMlpEncoder, GroupedMlpOptions, MlpEncoder, MlpOptions
from deepmix_builtins.posteriors import EStepOptions, JointPosterior, KDvaePosterior, PriorPosterior, RatioPosterior
from deepmix_builtins.priors import MixturePrior, StandardPrior
from torch import Tensor
from torch.distributions import Bernoulli, Normal, kl_divergence
from torch.nn import functional

from deepmix import ops
from deepmix.errors import UsageError
from deepmix.interfaces import Decoder, NoOptions
from deepmix.likelihoods import Likelihood
from deepmix.mixture_vae import (
    INITIAL_LOG_VAR,
    MIN_SCALE,
    MixtureOptions,
    MixtureVAE,
    assignment_weights,
    categorical_kl,
    cluster_moments,
    drop_negligible,
)
from deepmix.types import Dims, Gaussian, Latents, MixtureParameters

N, D, K, M, L = 9, 6, 4, 2, 2
CLOSE = {"rtol": 1e-10, "atol": 1e-10}  # float64 through two small networks: errors of 1e-13, and a margin
THRESHOLD = MixtureOptions().decode_threshold
ENCODER_GAIN, DECODER_GAIN = 4.0, 2.0
"""Times the networks' initial weights (not biases), so that rows differ in their codes and components."""

pytestmark = pytest.mark.usefixtures("double_precision")


@pytest.fixture
def double_precision() -> Iterator[None]:
    """Run in float64: new tensors are double."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


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
    """Of the supplement; 6 is k-DVAE's."""
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


ESTIMATORS = {5: JointPosterior, 10: PriorPosterior, 15: RatioPosterior, 16: PriorPosterior}


def build(case: Case, seed: int = 0) -> MixtureVAE:
    likelihood = Likelihood(case.likelihood, D)
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
    if model.likelihood.name == "bernoulli":
        return (x * functional.logsigmoid(outputs) + (1.0 - x) * functional.logsigmoid(-outputs)).sum(-1)
    if model.likelihood.name == "gaussian":
        return Normal(outputs, torch.exp(0.5 * model.likelihood.log_var)).log_prob(x).sum(-1)
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
    found = torch.autograd.grad(value, parameters, allow_unused=True)
    return {
        name: torch.zeros_like(parameter) if gradient is None else gradient
        for name, parameter, gradient in zip(names, parameters, found, strict=True)
    }


def assert_same_gradients(found: Tensor, expected: Tensor, model: MixtureVAE) -> None:
    found_by_name, expected_by_name = gradients(found, model), gradients(expected, model)
    for name, gradient in expected_by_name.items():
        torch.testing.assert_close(found_by_name[name], gradient, **CLOSE, msg=lambda text, n=name: f"{n}: {text}")
    for part in ("encoder", "decoder"):  # else the comparison would be of zeros
        assert any(name.startswith(part) and gradient.any() for name, gradient in expected_by_name.items())


GRID = [
    *(
        Case(equation=equation, e_step=e_step, assignment=assignment)
        for equation in (5, 10, 15, 16)
        for e_step in ("sampled", "closed-form")
        for assignment in ("soft", "hard")
    ),
    Case(equation=6, assignment="hard", prior="standard"),
    Case(equation=6, assignment="soft", prior="standard", network="grouped-mlp"),
    Case(equation=6, assignment="hard", prior="standard", network="grouped-mlp"),
    Case(equation=15, network="grouped-mlp"),
    Case(equation=15, prior="standard"),
    Case(equation=15, e_step="sampled", product=True),
    Case(equation=15, e_step="closed-form", product=True),
    Case(equation=5, e_step="closed-form", product=True),
    Case(equation=10, e_step="closed-form", product=True),
    Case(equation=5, likelihood="gaussian"),
    Case(equation=15, likelihood="gaussian-learned"),
    Case(equation=15, samples=1),
]


@pytest.mark.parametrize("case", GRID, ids=str)
def test_elbo_and_its_parts_are_the_plain_ones(case: Case) -> None:
    model, x = build(case), grey_rows()
    found = model.elbo(x, seeded(7), beta=0.3)
    plain = plain_elbo(model, case, x, 7, 0.3)
    torch.testing.assert_close(found.log_q_NK, plain.log_q, **CLOSE)
    torch.testing.assert_close(found.reconstruction_N, plain.reconstruction, **CLOSE)
    torch.testing.assert_close(found.kl_latent_N, plain.kl_latent, **CLOSE)
    torch.testing.assert_close(found.kl_assignment_N, plain.kl_assignment, **CLOSE)
    torch.testing.assert_close(found.objective_N, plain.objective, **CLOSE)
    expected = plain.reconstruction - plain.kl_latent - plain.kl_assignment
    torch.testing.assert_close(found.elbo_N, expected, **CLOSE)
    assert torch.equal(found.dropped_N, torch.zeros(N))


@pytest.mark.parametrize("case", GRID, ids=str)
def test_gradients_decoding_all_are_those_of_the_plain_elbo(case: Case) -> None:
    model, x = build(case), grey_rows()
    found = model.elbo(x, seeded(7), beta=0.3).objective_N.sum()
    assert_same_gradients(found, plain_elbo(model, case, x, 7, 0.3).objective.sum(), model)


@pytest.mark.parametrize("equation", [10, 15, 16])
def test_hard_gradients_are_the_plain_ones_whatever_the_threshold(equation: Literal[10, 15, 16]) -> None:
    """One component a row is all the hard bound holds, so decoding one loses nothing."""
    case = Case(equation=equation, assignment="hard", threshold=0.2)
    model, x = build(case), grey_rows()
    found = model.elbo(x, seeded(7), beta=0.3).objective_N.sum()
    assert_same_gradients(found, plain_elbo(model, case, x, 7, 0.3).objective.sum(), model)


def test_elbo_of_vade_is_its_equation_12() -> None:
    case = Case(equation=16, e_step="sampled", samples=3)
    model, x = build(case), grey_rows()
    posterior, prior = model.encoder(x), model.prior()
    mean, log_var = posterior.mean[:, 0], posterior.log_var[:, 0]
    noise = torch.randn((3, N, 1, M), generator=seeded(7))[:, :, 0]
    z = mean + torch.exp(0.5 * log_var) * noise
    mu_x = model.decoder(z.flatten(0, 1), [3 * N]).sigmoid().view(3, N, D)
    found = model.elbo(x, seeded(7), beta=1.0)
    gamma = found.log_q_NK.exp()
    printed = (x * mu_x.log() + (1.0 - x) * (1.0 - mu_x).log()).sum(-1).mean(0)
    for c in range(K):
        prior_mean, prior_log_var = prior.components.mean[c], prior.components.log_var[c]
        spread = prior_log_var + torch.exp(log_var - prior_log_var)
        spread = spread + (mean - prior_mean) ** 2 / torch.exp(prior_log_var)
        printed = printed - 0.5 * gamma[:, c] * spread.sum(-1)
        printed = printed + gamma[:, c] * (prior.log_weight_K[c] - gamma[:, c].log())
    printed = printed + 0.5 * (1.0 + log_var).sum(-1)
    torch.testing.assert_close(found.objective_N, printed, **CLOSE)


# q(y|x) at its optimum


def random_latents(n_samples: int) -> tuple[Latents, Tensor, Tensor]:
    """Return latents, log-likelihoods (L, N, K) and eq. 5's log ratios of the samples, mean over L, (N, K)."""
    posterior = Gaussian(randn(N, K, M, seed=1), randn(N, K, M, seed=2))
    components = Gaussian(randn(K, M, seed=3), randn(K, M, seed=4))
    prior = MixtureParameters(components, randn(K, seed=5).log_softmax(0))
    z = posterior.sample(n_samples, seeded(6))
    latents = Latents(z, posterior, prior, ops.component_kl(posterior, prior), at_mean=False)
    log_likelihood = 2.0 * randn(n_samples, N, K, seed=8)
    log_prior = Normal(components.mean, torch.exp(0.5 * components.log_var)).log_prob(z).sum(-1)
    log_posterior = Normal(posterior.mean, torch.exp(0.5 * posterior.log_var)).log_prob(z).sum(-1)
    log_ratio = (log_likelihood + prior.log_weight_K + log_prior - log_posterior).mean(0)
    return latents, log_likelihood, log_ratio


def sampled_elbo(weight: Tensor, log_ratio: Tensor) -> Tensor:
    """Return eq. 1 of the supplement without its multiplier, (N,)."""
    return (weight * log_ratio - torch.special.xlogy(weight, weight)).sum(-1)


@pytest.mark.parametrize("n_samples", [1, 3])
def test_at_equation_5_the_sampled_soft_elbo_is_the_logsumexp_of_the_ratios(n_samples: int) -> None:
    latents, log_likelihood, log_ratio = random_latents(n_samples)
    estimator = JointPosterior(Dims(D, D, K, K, M), EStepOptions("sampled"))
    found = estimator(latents, log_likelihood)
    weight = assignment_weights(found.log_q_NK, "soft")
    torch.testing.assert_close(sampled_elbo(weight, log_ratio), log_ratio.logsumexp(-1), **CLOSE)
    torch.testing.assert_close(found.log_normalizer_N, log_ratio.logsumexp(-1), **CLOSE)


@pytest.mark.parametrize("n_samples", [1, 3])
def test_at_equation_5_the_sampled_hard_elbo_is_the_largest_ratio(n_samples: int) -> None:
    latents, log_likelihood, log_ratio = random_latents(n_samples)
    estimator = JointPosterior(Dims(D, D, K, K, M), EStepOptions("sampled"))
    weight = assignment_weights(estimator(latents, log_likelihood).log_q_NK, "hard")
    torch.testing.assert_close(sampled_elbo(weight, log_ratio), log_ratio.amax(-1), **CLOSE)


def test_at_equation_5_the_elbo_is_flat_in_q_and_lower_elsewhere() -> None:
    latents, log_likelihood, log_ratio = random_latents(3)
    estimator = JointPosterior(Dims(D, D, K, K, M), EStepOptions("sampled"))
    logits = estimator(latents, log_likelihood).log_q_NK.clone().requires_grad_()
    best = sampled_elbo(logits.softmax(-1), log_ratio)
    (gradient,) = torch.autograd.grad(best.sum(), logits)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0.0, atol=1e-12)
    for seed in range(5):
        other = (logits.detach() + 0.1 * randn(N, K, seed=seed)).softmax(-1)
        assert (sampled_elbo(other, log_ratio) < best).all()


def test_the_printed_product_is_not_the_optimum_for_several_samples() -> None:
    """Why the geometric mean is the default: it is what eq. 2 gives when solved."""
    latents, log_likelihood, log_ratio = random_latents(3)
    dims = Dims(D, D, K, K, M)
    mean = JointPosterior(dims, EStepOptions("sampled", "mean"))(latents, log_likelihood)
    product = JointPosterior(dims, EStepOptions("sampled", "product"))(latents, log_likelihood)
    gap = sampled_elbo(mean.log_q_NK.exp(), log_ratio) - sampled_elbo(product.log_q_NK.exp(), log_ratio)
    assert (gap > 0.0).all()


@pytest.mark.parametrize("assignment", ["soft", "hard"])
def test_the_model_itself_collapses_with_the_closed_form_joint_e_step(assignment: Literal["soft", "hard"]) -> None:
    case = Case(equation=5, assignment=assignment)
    model, x = build(case), grey_rows()
    plain = plain_elbo(model, case, x, 7, 1.0)
    log_ratio = plain.log_likelihood - plain.kl + plain.log_weight
    expected = log_ratio.logsumexp(-1) if assignment == "soft" else log_ratio.amax(-1)
    found = model.elbo(x, seeded(7), beta=1.0)
    torch.testing.assert_close(found.elbo_N, expected, **CLOSE)
    torch.testing.assert_close(found.objective_N, expected, **CLOSE)


def test_q_needs_no_gradient_at_its_optimum() -> None:
    """The model cuts the gradient through q; at eq. 5 with beta = 1 the whole gradient is the same."""
    case = Case(equation=5)
    model, x = build(case), grey_rows()
    found = model.elbo(x, seeded(7), beta=1.0).objective_N.sum()
    whole = plain_elbo(model, case, x, 7, 1.0, q_has_gradient=True).objective.sum()
    assert_same_gradients(found, whole, model)


# Decoding only what counts


SHARP = [
    Case(equation=5, threshold=THRESHOLD),
    Case(equation=10, threshold=THRESHOLD),
    Case(equation=15, threshold=THRESHOLD),
]


@pytest.mark.parametrize("case", SHARP, ids=str)
def test_dropped_mass_is_what_lies_below_the_threshold(case: Case) -> None:
    found = build(case).elbo(grey_rows(), seeded(7), beta=1.0)
    q = found.log_q_NK.exp()
    torch.testing.assert_close(found.dropped_N, q.where(q < THRESHOLD, 0.0).sum(-1), **CLOSE)
    assert (found.dropped_N <= (K - 1) * THRESHOLD).all()
    assert (found.dropped_N > 0.0).any()  # else nothing was tested


@pytest.mark.parametrize("case", SHARP, ids=str)
def test_dropping_changes_the_elbo_by_no_more_than_its_bound(case: Case) -> None:
    """With a_k = log p(x|z_k) - KL_k + log p(y_k) - log q_k, renormalising over what is kept, 1 - delta of q,
    changes sum_k q_k a_k by at most delta times the range of a, and adds log(1 - delta)."""
    model, x = build(case), grey_rows()
    found = model.elbo(x, seeded(7), beta=1.0)
    plain = plain_elbo(model, case, x, 7, 1.0)
    a = plain.log_likelihood - plain.kl + plain.log_weight - plain.log_q
    bound = found.dropped_N * (a.amax(-1) - a.amin(-1)) - torch.log1p(-found.dropped_N)
    difference = (found.elbo_N - plain.objective).abs()
    assert (difference <= bound + 1e-10).all()  # rounding
    assert difference.max() > 1e-7  # else nothing was tested


def test_dropping_costs_the_joint_elbo_exactly_the_log_of_what_is_kept() -> None:
    """At eq. 5 all a_k above are equal, so only the log is left: the bound falls, and never rises."""
    case = SHARP[0]
    model, x = build(case), grey_rows()
    found = model.elbo(x, seeded(7), beta=1.0)
    expected = plain_elbo(model, case, x, 7, 1.0).objective + torch.log1p(-found.dropped_N)
    torch.testing.assert_close(found.elbo_N, expected, **CLOSE)


def decoded_counts(model: MixtureVAE, x: Tensor) -> list[list[int]]:
    calls: list[list[int]] = []
    hook = model.decoder.register_forward_pre_hook(lambda module, arguments: calls.append(list(arguments[1])))
    model.elbo(x, seeded(7), beta=1.0)
    hook.remove()
    return calls


@pytest.mark.parametrize("equation", [10, 15])
def test_hard_assignment_decodes_one_component_a_row(equation: Literal[10, 15]) -> None:
    case = Case(equation=equation, assignment="hard", threshold=THRESHOLD)
    model, x = build(case), grey_rows()
    chosen = plain_elbo(model, case, x, 7, 1.0).log_q.argmax(-1)
    assert decoded_counts(model, x) == [(L * torch.bincount(chosen, minlength=K)).tolist()]


@pytest.mark.parametrize("case", SHARP[1:], ids=str)
def test_soft_assignment_decodes_what_reaches_the_threshold_in_one_call(case: Case) -> None:
    model, x = build(case), grey_rows()
    kept = plain_elbo(model, case, x, 7, 1.0).log_q.exp() >= THRESHOLD
    assert decoded_counts(model, x) == [(L * kept.sum(0)).tolist()]
    assert kept.sum() < N * K


def test_threshold_zero_decodes_everything_in_one_call() -> None:
    assert decoded_counts(build(Case(equation=15)), grey_rows()) == [[L * N] * K]


def test_a_shared_latent_is_decoded_once_whatever_the_number_of_components() -> None:
    assert decoded_counts(build(Case(equation=16)), grey_rows()) == [[L * N]]


# Pure functions of q(y|x)


def test_soft_weights_are_q_and_hard_weights_are_one_on_its_largest() -> None:
    q = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])
    torch.testing.assert_close(assignment_weights(q.log(), "soft"), q, **CLOSE)
    assert assignment_weights(q.log(), "hard").tolist() == [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]


def test_drop_negligible_sets_small_weights_to_zero_and_renormalises() -> None:
    weight = torch.tensor([[0.05, 0.55, 0.4], [0.1, 0.2, 0.7], [0.0, 0.04, 0.96], [1.0, 0.0, 0.0]])
    kept, dropped = drop_negligible(weight, 0.1)
    expected = [[0.0, 0.55 / 0.95, 0.4 / 0.95], [0.1, 0.2, 0.7], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    torch.testing.assert_close(kept, torch.tensor(expected), **CLOSE)
    torch.testing.assert_close(dropped, torch.tensor([0.05, 0.0, 0.04, 0.0]), **CLOSE)


def test_drop_negligible_always_keeps_the_largest_weight() -> None:
    kept, dropped = drop_negligible(torch.tensor([[0.3, 0.4, 0.3]]), 0.9)
    assert kept.tolist() == [[0.0, 1.0, 0.0]]
    torch.testing.assert_close(dropped, torch.tensor([0.6]), **CLOSE)


def test_drop_negligible_keeps_all_equal_weights_below_the_threshold() -> None:
    weight = torch.full((1, 5), 0.2)
    kept, dropped = drop_negligible(weight, 0.5)
    torch.testing.assert_close(kept, weight, **CLOSE)
    torch.testing.assert_close(dropped, torch.zeros(1), rtol=0.0, atol=1e-15)


def test_drop_negligible_with_threshold_zero_changes_nothing() -> None:
    weight = torch.tensor([[1e-300, 1.0 - 1e-16, 0.0]])
    kept, dropped = drop_negligible(weight, 0.0)
    assert torch.equal(kept, weight)
    assert torch.equal(dropped, torch.zeros(1))


@pytest.mark.parametrize("threshold", [1e-3, 0.1])
def test_drop_negligible_drops_at_most_k_minus_one_thresholds(threshold: float) -> None:
    weight = (4.0 * randn(500, 8)).softmax(-1)
    kept, dropped = drop_negligible(weight, threshold)
    torch.testing.assert_close(kept.sum(-1), torch.ones(500), **CLOSE)
    assert (dropped <= 7 * threshold).all()
    assert (dropped > 0.0).sum() > 400


def test_categorical_kl_by_closed_form() -> None:
    weight, prior = torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.3, 0.5]]), torch.tensor([0.2, 0.3, 0.5])
    expected = 0.5 * math.log(0.5 / 0.2) + 0.25 * math.log(0.25 / 0.3) + 0.25 * math.log(0.25 / 0.5)
    torch.testing.assert_close(categorical_kl(weight, prior.log()), torch.tensor([expected, 0.0]), **CLOSE)


def test_categorical_kl_of_a_hard_assignment_is_minus_the_log_weight() -> None:
    prior = torch.tensor([0.2, 0.3, 0.5])
    torch.testing.assert_close(categorical_kl(torch.eye(3), prior.log()), -prior.log(), **CLOSE)


def test_categorical_kl_counts_nothing_where_both_weights_are_zero() -> None:
    log_weight = torch.tensor([0.4, 0.0, 0.6]).log().requires_grad_()
    found = categorical_kl(torch.tensor([[1.0, 0.0, 0.0]]), log_weight)
    torch.testing.assert_close(found, torch.tensor([-math.log(0.4)]), **CLOSE)
    (gradient,) = torch.autograd.grad(found.sum(), log_weight)
    assert gradient.tolist() == [-1.0, 0.0, 0.0]


def test_cluster_moments_are_those_of_each_clusters_rows() -> None:
    z, labels = 2.0 + randn(12, M), torch.tensor([0, 0, 1, 1, 1, 1, 3, 3, 3, 3, 3, 3])
    moments, weight = cluster_moments(z, labels, K)
    for k, n_rows in ((0, 2), (1, 4), (3, 6)):
        rows = z[labels == k]
        torch.testing.assert_close(moments.mean[k], rows.mean(0), **CLOSE)
        torch.testing.assert_close(moments.log_var[k], rows.var(0, correction=0).log(), **CLOSE)
        assert float(weight[k]) == pytest.approx((n_rows + 1) / (12 + K), rel=1e-12)


def test_an_empty_cluster_gets_the_moments_of_all_rows_and_a_weight() -> None:
    z, labels = 2.0 + randn(12, M), torch.tensor([0, 0, 1, 1, 1, 1, 3, 3, 3, 3, 3, 3])
    moments, weight = cluster_moments(z, labels, K)
    torch.testing.assert_close(moments.mean[2], z.mean(0), **CLOSE)
    torch.testing.assert_close(moments.log_var[2], z.var(0, correction=0).log(), **CLOSE)
    assert float(weight[2]) == pytest.approx(1 / (12 + K), rel=1e-12)
    assert float(weight.sum()) == pytest.approx(1.0, rel=1e-12)


def test_a_cluster_of_one_row_keeps_a_spread() -> None:
    moments, _ = cluster_moments(randn(3, M), torch.tensor([0, 1, 1]), 2)
    torch.testing.assert_close(moments.log_var[0], torch.full((M,), math.log(MIN_SCALE)), **CLOSE)


# Placing a pretrained autoencoder


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

    found_code, squared_error = model.pretrained(x)
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


def test_place_takes_the_residual_variance_and_the_moments_of_the_rescaled_codes() -> None:
    model = build(Case(likelihood="gaussian"))
    code, squared_error, labels = 5.0 + 3.0 * randn(N, M, seed=1), torch.linspace(0.1, 0.3, N), torch.arange(N) % K
    model.place(code, squared_error, labels)
    assert math.exp(float(model.likelihood.log_var)) == pytest.approx(0.2, rel=1e-12)
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
    found = model.elbo(x, seeded(7), beta=1.0)
    assert found.objective_N.isfinite().all()


def test_pretraining_loss_is_minus_the_log_likelihood_of_rows_given_their_codes() -> None:
    model, x = build(Case()), grey_rows()
    logits = model.decoder(model.encoder(x).mean[:, 0], [N, 0, 0, 0])
    expected = functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
    torch.testing.assert_close(model.pretraining_loss(x), expected, **CLOSE)


# Groups of whole networks


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
    found = decoder(z, counts)
    assert found.shape == (sum(counts), D)
    torch.testing.assert_close(found, expected, **CLOSE)


def test_grouped_encoder_is_each_network_run_alone() -> None:
    encoder, x = build(Case(network="grouped-mlp")).encoder, grey_rows()
    found = encoder(x)
    for k in range(K):
        features = x
        for layer in encoder.trunk:
            features = torch.relu(features @ layer.weight_KIO[k] + layer.bias_KO[k])
        for head, tensor in ((encoder.mean, found.mean), (encoder.log_var, found.log_var)):
            torch.testing.assert_close(tensor[:, k], features @ head.weight_KIO[k] + head.bias_KO[k], **CLOSE)
    torch.testing.assert_close(encoder.code(x), found.mean[:, 0], **CLOSE)


# Priors


def test_weights_of_a_mixture_prior_are_the_softmax_of_its_logits() -> None:
    prior = MixturePrior(Dims(D, D, 3, 3, M), NoOptions())
    with torch.no_grad():
        prior.logit_K.copy_(torch.tensor([2.0, 3.0, 5.0]).log() + 7.0)
    torch.testing.assert_close(prior().log_weight_K.exp(), torch.tensor([0.2, 0.3, 0.5]), **CLOSE)


# Generating rows


@final
class PassThrough(Decoder):
    """Gives back its latents, and remembers which head they were said to come from."""

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


# The initial labels: hold and anchor


@pytest.mark.parametrize("case", [Case(equation=5), Case(equation=15), Case(equation=16, assignment="hard")], ids=str)
def test_hold_puts_the_labels_in_place_of_q(case: Case) -> None:
    model, x = build(replace(case, threshold=THRESHOLD)), grey_rows()
    labels = torch.arange(N) % K
    found = model.elbo(x, seeded(7), beta=0.3, labels_N=labels, hold=True)
    plain = plain_elbo(model, case, x, 7, 0.3, labels=labels)
    torch.testing.assert_close(found.objective_N, plain.objective, **CLOSE)
    torch.testing.assert_close(found.kl_assignment_N, -plain.log_weight[labels], **CLOSE)
    torch.testing.assert_close(found.log_q_NK, plain.log_q, **CLOSE)  # what the E-step says is still reported
    assert torch.equal(found.dropped_N, torch.zeros(N))
    assert (plain.log_q.argmax(-1) != labels).any()
    assert_same_gradients(found.objective_N.sum(), plain.objective.sum(), model)


@pytest.mark.parametrize("assignment", ["soft", "hard"])
@pytest.mark.parametrize("equation", [10, 15, 16])
def test_anchor_subtracts_the_cross_entropy_from_labels_to_q(
    equation: Literal[10, 15, 16], assignment: Literal["soft", "hard"]
) -> None:
    case = Case(equation=equation, assignment=assignment)
    model, x = build(case), grey_rows()
    labels = torch.arange(N) % K
    found = model.elbo(x, seeded(7), beta=0.3, anchor=2.5, labels_N=labels)
    plain = plain_elbo(model, case, x, 7, 0.3)
    objective = plain.objective + 2.5 * plain.log_q[torch.arange(N), labels]
    torch.testing.assert_close(found.objective_N, objective, **CLOSE)
    assert_same_gradients(found.objective_N.sum(), objective.sum(), model)


@pytest.mark.parametrize("equation", [5, 15])
def test_the_reported_elbo_knows_neither_beta_nor_anchor(equation: Literal[5, 15]) -> None:
    model, x, labels = build(Case(equation=equation)), grey_rows(), torch.arange(N) % K
    plain = model.elbo(x, seeded(7), beta=1.0)
    weighed = model.elbo(x, seeded(7), beta=0.1, anchor=3.0, labels_N=labels)
    assert torch.equal(weighed.elbo_N, plain.elbo_N)
    torch.testing.assert_close(plain.objective_N.detach(), plain.elbo_N, **CLOSE)
    assert not torch.equal(weighed.objective_N, plain.objective_N)


@pytest.mark.parametrize(("arguments", "message"), [({"hold": True}, "hold"), ({"anchor": 1.0}, "anchor")])
def test_hold_and_anchor_need_labels(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message} needs the initial labels: pass labels_N$"):
        build(Case()).elbo(grey_rows(), seeded(7), beta=1.0, **arguments)


def test_without_hold_and_anchor_labels_change_nothing() -> None:
    model, x = build(Case()), grey_rows()
    with_labels = model.elbo(x, seeded(7), beta=1.0, labels_N=torch.arange(N) % K)
    assert torch.equal(with_labels.objective_N, model.elbo(x, seeded(7), beta=1.0).objective_N)


# Randomness


@pytest.mark.parametrize("case", [Case(equation=5), Case(equation=15), Case(equation=16)], ids=str)
def test_the_generator_alone_decides_the_noise(case: Case) -> None:
    model, x = build(case), grey_rows()
    first = model.elbo(x, seeded(7), beta=1.0).objective_N
    torch.rand(3)  # the global state moves on
    assert torch.equal(model.elbo(x, seeded(7), beta=1.0).objective_N, first)
    assert not torch.equal(model.elbo(x, seeded(8), beta=1.0).objective_N, first)
    assert torch.equal(model.sample(5, 1, seeded(7)), model.sample(5, 1, seeded(7)))
    assert not torch.equal(model.sample(5, 1, seeded(7)), model.sample(5, 1, seeded(8)))


def test_under_bfloat16_the_bound_is_still_computed_in_float32() -> None:
    torch.set_default_dtype(torch.float32)
    model, x, labels = build(Case(equation=5, prior="standard")), grey_rows(), torch.arange(N) % K
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model.elbo(x, seeded(7), beta=1.0, labels_N=labels, hold=True)
        log_q, _ = model.infer(x)
        posterior = model.encoder(x)
    assert posterior.mean.dtype == torch.bfloat16
    assert {getattr(found, field.name).dtype for field in fields(found)} == {torch.float32}
    q = Normal(posterior.mean.double(), torch.exp(0.5 * posterior.log_var.double()))
    kl = kl_divergence(q, Normal(0.0, 1.0)).sum(-1)[torch.arange(N), labels]
    # float32 loses 1e-6 where bfloat16 would lose 4e-3
    torch.testing.assert_close(found.kl_latent_N.double(), kl, rtol=1e-5, atol=1e-5)
    for tensor in (found.log_q_NK, log_q):
        torch.testing.assert_close(tensor.exp().sum(-1), torch.ones(N), rtol=0.0, atol=1e-5)


# What a trained model says


@pytest.mark.parametrize("network", ["mlp", "grouped-mlp"])
def test_infer_of_k_dvae_is_its_equation_8(network: Literal["mlp", "grouped-mlp"]) -> None:
    model, x = build(Case(equation=6, assignment="hard", prior="standard", network=network)), grey_rows()
    log_q, latent = model.infer(x)
    with torch.no_grad():
        posterior = model.encoder(x)
        score = torch.empty(N, K)
        for k in range(K):
            counts = [0] * K
            counts[k] = N
            mean, log_sigma = posterior.mean[:, k], 0.5 * posterior.log_var[:, k]
            log_p_x = log_density(model, model.decoder(mean, counts), x)
            score[:, k] = log_p_x - 0.5 * mean.square().sum(-1) + log_sigma.sum(-1)
    torch.testing.assert_close(log_q, score.log_softmax(-1), **CLOSE)
    torch.testing.assert_close(latent, posterior.mean[torch.arange(N), score.argmax(-1)], **CLOSE)


@pytest.mark.parametrize("equation", [5, 10, 15])
def test_infer_gives_the_mean_of_the_map_components_head(equation: Literal[5, 10, 15]) -> None:
    model, x = build(Case(equation=equation)), grey_rows()
    log_q, latent = model.infer(x)
    with torch.no_grad():
        mean = model.encoder(x).mean
    torch.testing.assert_close(log_q.exp().sum(-1), torch.ones(N), **CLOSE)
    assert torch.equal(latent, mean[torch.arange(N), log_q.argmax(-1)])
    assert torch.equal(model.infer(x)[0], log_q)


def test_infer_of_vade_gives_the_shared_latent_and_equation_16_at_it() -> None:
    model, x = build(Case(equation=16, e_step="sampled")), grey_rows()
    log_q, latent = model.infer(x)
    with torch.no_grad():
        mean, prior = model.encoder(x).mean[:, 0], model.prior()
        components = Normal(prior.components.mean, torch.exp(0.5 * prior.components.log_var))
        log_joint = prior.log_weight_K + components.log_prob(mean.unsqueeze(1)).sum(-1)
    assert torch.equal(latent, mean)
    torch.testing.assert_close(log_q, log_joint.log_softmax(-1), **CLOSE)


# Options


@pytest.mark.parametrize("samples", [0, -1])
def test_fewer_than_one_sample_is_refused(samples: int) -> None:
    with pytest.raises(UsageError, match=rf"^samples must be at least 1, got {samples}$"):
        MixtureOptions(samples=samples)


@pytest.mark.parametrize("threshold", [-0.1, 1.0, float("nan")])
def test_a_threshold_outside_zero_to_one_is_refused(threshold: float) -> None:
    with pytest.raises(UsageError, match=rf"^decode_threshold must be at least 0 and below 1, got {threshold}$"):
        MixtureOptions(decode_threshold=threshold)
