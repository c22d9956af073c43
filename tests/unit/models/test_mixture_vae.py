"""The class behind the whole grid, compared in float64 with ELBOs that are written out plainly."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from deepmix.contracts import Batch
from deepmix.errors import UsageError
from deepmix.models import MixtureOptions
from tests.losses import loss_of
from tests.unit.models.mixture import (
    CLOSE,
    THRESHOLD,
    Case,
    D,
    K,
    M,
    N,
    assert_same_gradients,
    build,
    grey_rows,
    log_density,
    plain_elbo,
    seeded,
)

pytestmark = pytest.mark.usefixtures("double_precision")


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
    loss = loss_of(model, x, seeded(7), beta=0.3)
    plain = plain_elbo(model, case, x, 7, 0.3)
    torch.testing.assert_close(loss.log_q_NK, plain.log_q, **CLOSE)
    torch.testing.assert_close(loss.terms["reconstruction"], plain.reconstruction, **CLOSE)
    torch.testing.assert_close(loss.terms["kl_latent"], plain.kl_latent, **CLOSE)
    torch.testing.assert_close(loss.terms["kl_assignment"], plain.kl_assignment, **CLOSE)
    torch.testing.assert_close(loss.objective_N, plain.objective, **CLOSE)
    expected = plain.reconstruction - plain.kl_latent - plain.kl_assignment
    torch.testing.assert_close(loss.elbo_N, expected, **CLOSE)
    assert torch.equal(loss.dropped_N, torch.zeros(N))


@pytest.mark.parametrize("case", GRID, ids=str)
def test_gradients_decoding_all_are_those_of_the_plain_elbo(case: Case) -> None:
    model, x = build(case), grey_rows()
    loss = loss_of(model, x, seeded(7), beta=0.3).objective_N.sum()
    assert_same_gradients(loss, plain_elbo(model, case, x, 7, 0.3).objective.sum(), model)


@pytest.mark.parametrize("equation", [10, 15, 16])
def test_hard_gradients_are_the_plain_ones_whatever_the_threshold(equation: Literal[10, 15, 16]) -> None:
    """The hard bound contains one component per row, so decoding one loses nothing."""
    case = Case(equation=equation, assignment="hard", threshold=0.2)
    model, x = build(case), grey_rows()
    loss = loss_of(model, x, seeded(7), beta=0.3).objective_N.sum()
    assert_same_gradients(loss, plain_elbo(model, case, x, 7, 0.3).objective.sum(), model)


def test_elbo_of_vade_is_its_equation_12() -> None:
    case = Case(equation=16, e_step="sampled", samples=3)
    model, x = build(case), grey_rows()
    posterior, prior = model.encoder(x), model.prior()
    mean, log_var = posterior.mean[:, 0], posterior.log_var[:, 0]
    noise = torch.randn((3, N, 1, M), generator=seeded(7))[:, :, 0]
    z = mean + torch.exp(0.5 * log_var) * noise
    mu_x = model.decoder(z.flatten(0, 1), [3 * N]).sigmoid().view(3, N, D)
    loss = loss_of(model, x, seeded(7), beta=1.0)
    gamma = loss.log_q_NK.exp()
    printed = (x * mu_x.log() + (1.0 - x) * (1.0 - mu_x).log()).sum(-1).mean(0)
    for c in range(K):
        prior_mean, prior_log_var = prior.components.mean[c], prior.components.log_var[c]
        spread = prior_log_var + torch.exp(log_var - prior_log_var)
        spread = spread + (mean - prior_mean) ** 2 / torch.exp(prior_log_var)
        printed = printed - 0.5 * gamma[:, c] * spread.sum(-1)
        printed = printed + gamma[:, c] * (prior.log_weight_K[c] - gamma[:, c].log())
    printed = printed + 0.5 * (1.0 + log_var).sum(-1)
    torch.testing.assert_close(loss.objective_N, printed, **CLOSE)


@pytest.mark.parametrize("case", [Case(equation=5), Case(equation=15), Case(equation=16, assignment="hard")], ids=str)
def test_hold_puts_the_labels_in_place_of_q(case: Case) -> None:
    model, x = build(replace(case, threshold=THRESHOLD)), grey_rows()
    labels = torch.arange(N) % K
    loss = loss_of(model, x, seeded(7), beta=0.3, labels=labels, hold=True)
    plain = plain_elbo(model, case, x, 7, 0.3, labels=labels)
    torch.testing.assert_close(loss.objective_N, plain.objective, **CLOSE)
    torch.testing.assert_close(loss.terms["kl_assignment"], -plain.log_weight[labels], **CLOSE)
    torch.testing.assert_close(loss.log_q_NK, plain.log_q, **CLOSE)  # the E-step's q is still reported
    assert torch.equal(loss.dropped_N, torch.zeros(N))
    assert (plain.log_q.argmax(-1) != labels).any()
    assert_same_gradients(loss.objective_N.sum(), plain.objective.sum(), model)


@pytest.mark.parametrize("assignment", ["soft", "hard"])
@pytest.mark.parametrize("equation", [10, 15, 16])
def test_anchor_subtracts_the_cross_entropy_from_labels_to_q(
    equation: Literal[10, 15, 16], assignment: Literal["soft", "hard"]
) -> None:
    case = Case(equation=equation, assignment=assignment)
    model, x = build(case), grey_rows()
    labels = torch.arange(N) % K
    loss = loss_of(model, x, seeded(7), beta=0.3, anchor=2.5, labels=labels)
    plain = plain_elbo(model, case, x, 7, 0.3)
    objective = plain.objective + 2.5 * plain.log_q[torch.arange(N), labels]
    torch.testing.assert_close(loss.objective_N, objective, **CLOSE)
    assert_same_gradients(loss.objective_N.sum(), objective.sum(), model)


@pytest.mark.parametrize("equation", [5, 15])
def test_the_reported_elbo_knows_neither_beta_nor_anchor(equation: Literal[5, 15]) -> None:
    model, x, labels = build(Case(equation=equation)), grey_rows(), torch.arange(N) % K
    plain = loss_of(model, x, seeded(7), beta=1.0)
    weighed = loss_of(model, x, seeded(7), beta=0.1, anchor=3.0, labels=labels)
    assert torch.equal(weighed.elbo_N, plain.elbo_N)
    torch.testing.assert_close(plain.objective_N.detach(), plain.elbo_N, **CLOSE)
    assert not torch.equal(weighed.objective_N, plain.objective_N)


@pytest.mark.parametrize(("arguments", "message"), [({"hold": True}, "hold"), ({"anchor": 1.0}, "anchor")])
def test_hold_and_anchor_need_labels(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message} needs the initial labels: set label_N of the batch$"):
        loss_of(build(Case()), grey_rows(), seeded(7), beta=1.0, **arguments)


def test_without_hold_and_anchor_labels_change_nothing() -> None:
    model, x = build(Case()), grey_rows()
    with_labels = loss_of(model, x, seeded(7), beta=1.0, labels=torch.arange(N) % K)
    assert torch.equal(with_labels.objective_N, loss_of(model, x, seeded(7), beta=1.0).objective_N)


@pytest.mark.parametrize("case", [Case(equation=5), Case(equation=15), Case(equation=16)], ids=str)
def test_the_generator_alone_decides_the_noise(case: Case) -> None:
    model, x = build(case), grey_rows()
    first = loss_of(model, x, seeded(7), beta=1.0).objective_N
    torch.rand(3)  # advance the global state
    assert torch.equal(loss_of(model, x, seeded(7), beta=1.0).objective_N, first)
    assert not torch.equal(loss_of(model, x, seeded(8), beta=1.0).objective_N, first)
    assert torch.equal(model.sample(5, 1, seeded(7)), model.sample(5, 1, seeded(7)))
    assert not torch.equal(model.sample(5, 1, seeded(7)), model.sample(5, 1, seeded(8)))


def test_under_bfloat16_the_bound_is_still_computed_in_float32() -> None:
    torch.set_default_dtype(torch.float32)
    model, x, labels = build(Case(equation=5, prior="standard")), grey_rows(), torch.arange(N) % K
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = loss_of(model, x, seeded(7), beta=1.0, labels=labels, hold=True)
        log_q, _ = model.infer(Batch(x))
        posterior = model.encoder(x)
    assert posterior.mean.dtype == torch.bfloat16
    assert {value.dtype for value in (loss.objective_N, loss.elbo_N, *loss.terms.values())} == {torch.float32}
    q = Normal(posterior.mean.double(), torch.exp(0.5 * posterior.log_var.double()))
    kl = kl_divergence(q, Normal(0.0, 1.0)).sum(-1)[torch.arange(N), labels]
    # float32 loses 1e-6 where bfloat16 would lose 4e-3
    torch.testing.assert_close(loss.terms["kl_latent"].double(), kl, rtol=1e-5, atol=1e-5)
    for tensor in (loss.log_q_NK, log_q):
        torch.testing.assert_close(tensor.exp().sum(-1), torch.ones(N), rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("network", ["mlp", "grouped-mlp"])
def test_infer_of_k_dvae_is_its_equation_8(network: Literal["mlp", "grouped-mlp"]) -> None:
    model, x = build(Case(equation=6, assignment="hard", prior="standard", network=network)), grey_rows()
    log_q, latent = model.infer(Batch(x))
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
    log_q, latent = model.infer(Batch(x))
    with torch.no_grad():
        mean = model.encoder(x).mean
    torch.testing.assert_close(log_q.exp().sum(-1), torch.ones(N), **CLOSE)
    assert torch.equal(latent, mean[torch.arange(N), log_q.argmax(-1)])
    assert torch.equal(model.infer(Batch(x))[0], log_q)


def test_infer_of_vade_gives_the_shared_latent_and_equation_16_at_it() -> None:
    model, x = build(Case(equation=16, e_step="sampled")), grey_rows()
    log_q, latent = model.infer(Batch(x))
    with torch.no_grad():
        mean, prior = model.encoder(x).mean[:, 0], model.prior()
        components = Normal(prior.components.mean, torch.exp(0.5 * prior.components.log_var))
        log_joint = prior.log_weight_K + components.log_prob(mean.unsqueeze(1)).sum(-1)
    assert torch.equal(latent, mean)
    torch.testing.assert_close(log_q, log_joint.log_softmax(-1), **CLOSE)


@pytest.mark.parametrize("samples", [0, -1])
def test_fewer_than_one_sample_is_refused(samples: int) -> None:
    with pytest.raises(UsageError, match=rf"^samples must be at least 1, got {samples}$"):
        MixtureOptions(samples=samples)


@pytest.mark.parametrize("threshold", [-0.1, 1.0, float("nan")])
def test_a_threshold_outside_zero_to_one_is_refused(threshold: float) -> None:
    with pytest.raises(UsageError, match=rf"^decode_threshold must be at least 0 and below 1, got {threshold}$"):
        MixtureOptions(decode_threshold=threshold)
