"""The E-step's q(y|x): its properties at the optimum, and the pure functions that use it."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from deepmix_builtins.mixture.posteriors import EStepOptions, JointPosterior
from torch import Tensor
from torch.distributions import Normal

from deepmix.kernels import ops
from deepmix.maths import (
    Dims,
    Gaussian,
    Latents,
    MixtureParameters,
    assignment_weights,
    categorical_kl,
    cluster_moments,
    drop_negligible,
)
from deepmix.maths.mixture import MIN_COMPONENT_VARIANCE
from tests.losses import loss_of
from tests.unit.models.mixture import (
    CLOSE,
    Case,
    D,
    K,
    M,
    N,
    assert_same_gradients,
    build,
    grey_rows,
    plain_elbo,
    randn,
    seeded,
)

pytestmark = pytest.mark.usefixtures("double_precision")


def random_latents(n_samples: int) -> tuple[Latents, Tensor, Tensor]:
    """Return latents, log-likelihoods (L, N, K) and eq. 5's log ratios of the samples, mean over L, (N, K)."""
    posterior = Gaussian(randn(N, K, M, seed=1), randn(N, K, M, seed=2))
    components = Gaussian(randn(K, M, seed=3), randn(K, M, seed=4))
    prior = MixtureParameters(components, randn(K, seed=5).log_softmax(0))
    noise = posterior.noise(n_samples, seeded(6))
    latents = Latents(noise, posterior, prior, ops.component_kl(posterior, prior), at_mean=False)
    z = latents.z_LNHM
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
    actual = estimator(latents, log_likelihood)
    weight = assignment_weights(actual.log_q_NK, "soft")
    torch.testing.assert_close(sampled_elbo(weight, log_ratio), log_ratio.logsumexp(-1), **CLOSE)
    torch.testing.assert_close(actual.log_normalizer_N, log_ratio.logsumexp(-1), **CLOSE)


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
    """The geometric mean is the default because it is the solution of eq. 2."""
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
    actual = loss_of(model, x, seeded(7), beta=1.0)
    torch.testing.assert_close(actual.elbo_N, expected, **CLOSE)
    torch.testing.assert_close(actual.objective_N, expected, **CLOSE)


def test_q_needs_no_gradient_at_its_optimum() -> None:
    """The model cuts the gradient through q; at eq. 5 with beta = 1 the whole gradient is the same."""
    case = Case(equation=5)
    model, x = build(case), grey_rows()
    actual = loss_of(model, x, seeded(7), beta=1.0).objective_N.sum()
    whole = plain_elbo(model, case, x, 7, 1.0, q_has_gradient=True).objective.sum()
    assert_same_gradients(actual, whole, model)


def test_soft_weights_are_q_and_hard_weights_are_one_on_its_largest() -> None:
    q = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])
    torch.testing.assert_close(assignment_weights(q.log(), "soft"), q, **CLOSE)
    assert assignment_weights(q.log(), "hard").tolist() == [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]


def test_drop_negligible_sets_small_weights_to_zero_and_renormalises() -> None:
    weight = torch.tensor([[0.05, 0.55, 0.4], [0.1, 0.2, 0.7], [0.0, 0.04, 0.96], [1.0, 0.0, 0.0]])
    kept_weight, dropped = drop_negligible(weight, 0.1)
    expected = [[0.0, 0.55 / 0.95, 0.4 / 0.95], [0.1, 0.2, 0.7], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    torch.testing.assert_close(kept_weight, torch.tensor(expected), **CLOSE)
    torch.testing.assert_close(dropped, torch.tensor([0.05, 0.0, 0.04, 0.0]), **CLOSE)


def test_drop_negligible_always_keeps_the_largest_weight() -> None:
    kept_weight, dropped = drop_negligible(torch.tensor([[0.3, 0.4, 0.3]]), 0.9)
    assert kept_weight.tolist() == [[0.0, 1.0, 0.0]]
    torch.testing.assert_close(dropped, torch.tensor([0.6]), **CLOSE)


def test_drop_negligible_keeps_all_equal_weights_below_the_threshold() -> None:
    weight = torch.full((1, 5), 0.2)
    kept_weight, dropped = drop_negligible(weight, 0.5)
    torch.testing.assert_close(kept_weight, weight, **CLOSE)
    torch.testing.assert_close(dropped, torch.zeros(1), rtol=0.0, atol=1e-15)


def test_drop_negligible_with_threshold_zero_changes_nothing() -> None:
    weight = torch.tensor([[1e-300, 1.0 - 1e-16, 0.0]])
    kept_weight, dropped = drop_negligible(weight, 0.0)
    assert torch.equal(kept_weight, weight)
    assert torch.equal(dropped, torch.zeros(1))


@pytest.mark.parametrize("threshold", [1e-3, 0.1])
def test_drop_negligible_drops_at_most_k_minus_one_thresholds(threshold: float) -> None:
    weight = (4.0 * randn(500, 8)).softmax(-1)
    kept_weight, dropped = drop_negligible(weight, threshold)
    torch.testing.assert_close(kept_weight.sum(-1), torch.ones(500), **CLOSE)
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
    actual = categorical_kl(torch.tensor([[1.0, 0.0, 0.0]]), log_weight)
    torch.testing.assert_close(actual, torch.tensor([-math.log(0.4)]), **CLOSE)
    (gradient,) = torch.autograd.grad(actual.sum(), log_weight)
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
    torch.testing.assert_close(moments.log_var[0], torch.full((M,), math.log(MIN_COMPONENT_VARIANCE)), **CLOSE)
