"""The formulas against torch.distributions, quadrature, and loops written from the printed equations."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from deepmix.maths import formulas
from deepmix.maths.em import weighted_responsibilities

N, K, M = 4, 3, 2


CLOSE = {"rtol": 1e-12, "atol": 1e-12}  # float64: a few hundred rounding errors of 1e-16 at most


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def normal(mean: Tensor, log_var: Tensor) -> Normal:
    return Normal(mean, torch.exp(0.5 * log_var))


def test_gaussian_log_prob_is_the_sum_of_normal_log_densities() -> None:
    z, mean, log_var = randn(5, N, K, M, seed=1), randn(N, K, M, seed=2), randn(N, K, M, seed=3)
    torch.testing.assert_close(
        formulas.gaussian_log_prob(z, mean, log_var), normal(mean, log_var).log_prob(z).sum(-1), **CLOSE
    )


def test_gaussian_log_prob_without_parameters_is_the_standard_normal() -> None:
    z = randn(5, N, K, M, seed=1)
    expected = Normal(torch.zeros_like(z), torch.ones_like(z)).log_prob(z).sum(-1)
    torch.testing.assert_close(formulas.gaussian_log_prob(z, None, None), expected, **CLOSE)


def test_gaussian_entropy_is_the_sum_of_normal_entropies() -> None:
    log_var = 2.0 * randn(N, K, M)
    expected = normal(torch.zeros_like(log_var), log_var).entropy().sum(-1)
    torch.testing.assert_close(formulas.gaussian_entropy(log_var), expected, **CLOSE)


@pytest.mark.parametrize("n_heads", [1, K])
@pytest.mark.parametrize("standard", [True, False])
def test_component_kl_is_the_sum_of_normal_divergences(n_heads: int, standard: bool) -> None:
    mean, log_var = randn(N, n_heads, M, seed=1), randn(N, n_heads, M, seed=2)
    prior_mean, prior_log_var = randn(K, M, seed=3), randn(K, M, seed=4)
    if standard:
        actual = formulas.component_kl(mean, log_var, None, None).expand(N, K)
        prior_mean, prior_log_var = torch.zeros_like(prior_mean), torch.zeros_like(prior_log_var)
    else:
        actual = formulas.component_kl(mean, log_var, prior_mean, prior_log_var)
    expected = kl_divergence(
        normal(mean.expand(N, K, M), log_var.expand(N, K, M)), normal(prior_mean, prior_log_var)
    ).sum(-1)
    torch.testing.assert_close(actual, expected, **CLOSE)


def test_component_kl_is_minus_the_latent_terms_of_vade_equation_12() -> None:
    mean, log_var = randn(N, 1, M, seed=1), randn(N, 1, M, seed=2)
    prior_mean, prior_log_var = randn(K, M, seed=3), randn(K, M, seed=4)
    expected_NK = torch.zeros(N, K, dtype=torch.float64)
    for n in range(N):
        for c in range(K):
            for j in range(M):
                prior_var = math.exp(prior_log_var[c, j])
                variance = math.exp(log_var[n, 0, j])
                expected_NK[n, c] -= 0.5 * (
                    math.log(prior_var)
                    + variance / prior_var
                    + float(mean[n, 0, j] - prior_mean[c, j]) ** 2 / prior_var
                )
                expected_NK[n, c] += 0.5 * (1.0 + math.log(variance))
    torch.testing.assert_close(-formulas.component_kl(mean, log_var, prior_mean, prior_log_var), expected_NK, **CLOSE)


ONE_DIMENSION = [(0.0, 0.0, 0.0, 0.0), (0.7, -1.5, -0.4, 0.3), (-2.0, 1.0, 1.0, -1.0)]
"""Mean and log-variance of q, then of p."""


@pytest.mark.parametrize("values", ONE_DIMENSION)
def test_component_kl_by_quadrature(values: tuple[float, float, float, float]) -> None:
    mean, log_var, prior_mean, prior_log_var = torch.tensor(values, dtype=torch.float64)
    width = 12.0 * torch.exp(0.5 * log_var)  # q has less than 1e-30 of its mass further out
    z = mean + width * torch.linspace(-1.0, 1.0, 20001, dtype=torch.float64)
    log_q, log_p = normal(mean, log_var).log_prob(z), normal(prior_mean, prior_log_var).log_prob(z)
    integral = torch.trapezoid(log_q.exp() * (log_q - log_p), z)
    actual = formulas.component_kl(
        mean.view(1, 1, 1), log_var.view(1, 1, 1), prior_mean.view(1, 1), prior_log_var.view(1, 1)
    )
    # The trapezoid rule converges geometrically on Gaussians; what is left is rounding over 20001 terms.
    torch.testing.assert_close(actual.squeeze(), integral, rtol=1e-10, atol=1e-10)


def test_component_kl_by_monte_carlo() -> None:
    mean, log_var, prior_mean, prior_log_var = torch.tensor(ONE_DIMENSION[1], dtype=torch.float64)
    z = mean + torch.exp(0.5 * log_var) * randn(200_000, seed=5)
    terms = normal(mean, log_var).log_prob(z) - normal(prior_mean, prior_log_var).log_prob(z)
    standard_error = float(terms.std() / math.sqrt(len(terms)))
    assert standard_error < 2e-3  # otherwise the comparison below would mean little
    actual = formulas.component_kl(
        mean.view(1, 1, 1), log_var.view(1, 1, 1), prior_mean.view(1, 1), prior_log_var.view(1, 1)
    )
    assert float(actual) == pytest.approx(float(terms.mean()), abs=5.0 * standard_error)


def test_expected_log_prior_is_minus_kl_minus_entropy() -> None:
    """Check the identity behind the closed-form E-step of eq. 10 by quadrature in one dimension."""
    mean, log_var, prior_mean, prior_log_var = torch.tensor(ONE_DIMENSION[2], dtype=torch.float64)
    z = mean + 12.0 * torch.exp(0.5 * log_var) * torch.linspace(-1.0, 1.0, 20001, dtype=torch.float64)
    expected = torch.trapezoid(
        normal(mean, log_var).log_prob(z).exp() * normal(prior_mean, prior_log_var).log_prob(z), z
    )
    kl = formulas.component_kl(
        mean.view(1, 1, 1), log_var.view(1, 1, 1), prior_mean.view(1, 1), prior_log_var.view(1, 1)
    ).squeeze()
    actual = -kl - formulas.gaussian_entropy(log_var.view(1))
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)  # as the quadrature above


EQUATIONS = {  # equation: (heads, p(x|z) enters, q(z|y,x) divides)
    5: (K, True, True),
    10: (K, False, False),
    15: (K, False, True),
    16: (1, False, False),
}


def density(z: Tensor, mean: Tensor, log_var: Tensor) -> float:
    value = 1.0
    for j in range(M):
        variance = math.exp(log_var[j])
        value *= math.exp(-(float(z[j] - mean[j]) ** 2) / (2.0 * variance)) / math.sqrt(2.0 * math.pi * variance)
    return value


def printed_ratios(
    equation: int,
    z: Tensor,
    mean: Tensor,
    log_var: Tensor,
    prior_mean: Tensor,
    prior_log_var: Tensor,
    weight: Tensor,
    log_likelihood: Tensor,
    product: bool,
) -> Tensor:
    """Return the numerators of the supplement's eqs. 5, 10, 15 and 16, or their L-th roots, (N, K)."""
    n_samples = len(z)
    ratios = torch.empty(N, K, dtype=torch.float64)
    for n in range(N):
        for k in range(K):
            head = 0 if equation == 16 else k
            ratio = 1.0
            for sample in range(n_samples):
                z_k = z[sample, n, head]
                factor = float(weight[k]) * density(z_k, prior_mean[k], prior_log_var[k])
                if equation == 5:
                    factor *= math.exp(log_likelihood[sample, n, k])
                if equation in (5, 15):
                    factor /= density(z_k, mean[n, head], log_var[n, head])
                ratio *= factor
            ratios[n, k] = ratio if product else ratio ** (1.0 / n_samples)
    return ratios


@pytest.mark.parametrize("standard", [False, True], ids=["mixture", "standard"])
@pytest.mark.parametrize("product", [False, True], ids=["mean", "product"])
@pytest.mark.parametrize("n_samples", [1, 3])
@pytest.mark.parametrize("equation", EQUATIONS)
def test_mixture_posterior_is_the_printed_formula(equation: int, n_samples: int, product: bool, standard: bool) -> None:
    n_heads, has_likelihood, use_posterior = EQUATIONS[equation]
    mean, log_var = randn(N, n_heads, M, seed=1), randn(N, n_heads, M, seed=2)
    z = mean + torch.exp(0.5 * log_var) * randn(n_samples, N, n_heads, M, seed=3)
    weight = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    log_likelihood = -3.0 + randn(n_samples, N, K, seed=4)
    zeros = torch.zeros(K, M, dtype=torch.float64)
    prior_mean, prior_log_var = (zeros, zeros) if standard else (randn(K, M, seed=5), randn(K, M, seed=6))
    log_q, log_normalizer = formulas.mixture_posterior(
        z,
        mean,
        log_var,
        None if standard else prior_mean,
        None if standard else prior_log_var,
        weight.log(),
        log_likelihood if has_likelihood else None,
        use_posterior,
        product,
    )
    ratios = printed_ratios(equation, z, mean, log_var, prior_mean, prior_log_var, weight, log_likelihood, product)
    torch.testing.assert_close(log_q.exp(), ratios / ratios.sum(-1, keepdim=True), **CLOSE)
    torch.testing.assert_close(log_normalizer, ratios.sum(-1).log(), **CLOSE)


def test_printed_product_and_geometric_mean_differ_for_several_samples() -> None:
    """The q of the product is the q of the mean to the power L, renormalised, and so far sharper."""
    z, mean, log_var = randn(3, N, K, M, seed=3), randn(N, K, M, seed=1), randn(N, K, M, seed=2)
    arguments = (z, mean, log_var, None, None, torch.zeros(K, dtype=torch.float64), None, True)
    *_, log_mean, _ = formulas.mixture_posterior(*arguments, False)
    *_, log_product, _ = formulas.mixture_posterior(*arguments, True)
    torch.testing.assert_close(log_product, (3.0 * log_mean).log_softmax(-1), **CLOSE)
    assert (log_product.amax(-1) > log_mean.amax(-1)).all()


@pytest.mark.parametrize("n_samples", [1, 3])
def test_exact_posteriors_give_the_evidence_whatever_the_samples(n_samples: int) -> None:
    """For x = a z + b + noise and z ~ N(m_k, v_k), with q(z|y,x) exact, eq. 5 is Bayes' p(y|x) and sums to p(x)."""
    slope, intercept, noise = 1.3, -0.2, 0.4
    x = randn(N, seed=1)
    weight = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    m, v = randn(K, seed=2), torch.exp(randn(K, seed=3))
    variance = 1.0 / (1.0 / v + slope**2 / noise)
    mean = variance * (m / v + slope * (x.unsqueeze(-1) - intercept) / noise)
    log_var = variance.log().expand(N, K)
    z = mean + variance.sqrt() * randn(n_samples, N, K, seed=4)
    log_likelihood = Normal(slope * z + intercept, math.sqrt(noise)).log_prob(x.unsqueeze(-1))
    *_, log_q, log_normalizer = formulas.mixture_posterior(
        z.unsqueeze(-1),
        mean.unsqueeze(-1),
        log_var.unsqueeze(-1),
        m.unsqueeze(-1),
        v.log().unsqueeze(-1),
        weight.log(),
        log_likelihood,
        True,
        False,
    )
    evidence = weight * Normal(slope * m + intercept, (slope**2 * v + noise).sqrt()).log_prob(x.unsqueeze(-1)).exp()
    torch.testing.assert_close(log_q.exp(), evidence / evidence.sum(-1, keepdim=True), **CLOSE)
    torch.testing.assert_close(log_normalizer, evidence.sum(-1).log(), **CLOSE)


@pytest.mark.parametrize("offset", [-1e4, 0.0, 1e4])
def test_log_ratios_of_ten_thousand_neither_overflow_nor_vanish(offset: float) -> None:
    """Differences of the logs stay exact where the densities themselves are 0 or infinite."""
    log_likelihood = (offset + torch.tensor([0.0, 1e4, -1e4], dtype=torch.float64)).view(1, 1, K)
    zeros = torch.zeros(1, K, M, dtype=torch.float64)
    log_weight = torch.full((K,), -math.log(K), dtype=torch.float64)
    *_, log_q, log_normalizer = formulas.mixture_posterior(
        zeros.unsqueeze(0), zeros, zeros, None, None, log_weight, log_likelihood, True, False
    )
    # z = 0 with q = p = N(0, I): the ratio is the weighted likelihood. Rounding at 1e4 is 2e-12.
    torch.testing.assert_close(log_q, torch.tensor([[-1e4, 0.0, -2e4]], dtype=torch.float64), rtol=0.0, atol=1e-11)
    assert float(log_normalizer) == pytest.approx(offset + 1e4 - math.log(K), abs=1e-11)


def test_components_of_weight_zero_get_nothing_and_disturb_nothing() -> None:
    mean, log_var = randn(N, K, M, seed=1), randn(N, K, M, seed=2)
    z = (mean + torch.exp(0.5 * log_var) * randn(2, N, K, M, seed=3)).requires_grad_()
    prior_mean, prior_log_var = randn(K, M, seed=5), randn(K, M, seed=6)
    log_weight = torch.tensor([0.4, 0.0, 0.6], dtype=torch.float64).log()
    *_, log_q, log_normalizer = formulas.mixture_posterior(
        z, mean, log_var, prior_mean, prior_log_var, log_weight, None, True, False
    )
    rest = [0, 2]
    *_, log_q_rest, log_normalizer_rest = formulas.mixture_posterior(
        z[:, :, rest],
        mean[:, rest],
        log_var[:, rest],
        prior_mean[rest],
        prior_log_var[rest],
        log_weight[rest],
        None,
        True,
        False,
    )
    assert (log_q[:, 1] == -math.inf).all()
    torch.testing.assert_close(log_q[:, rest], log_q_rest, **CLOSE)
    torch.testing.assert_close(log_normalizer, log_normalizer_rest, **CLOSE)
    (gradient,) = torch.autograd.grad(log_normalizer.sum(), z)
    (expected,) = torch.autograd.grad(log_normalizer_rest.sum(), z)
    torch.testing.assert_close(gradient, expected, **CLOSE)


def test_normalize_log_divides_by_the_logsumexp() -> None:
    log_ratio = 5.0 * randn(N, K)
    log_q, log_normalizer = formulas.normalize_log(log_ratio)
    expected = [math.log(sum(math.exp(value) for value in row)) for row in log_ratio.tolist()]
    torch.testing.assert_close(log_normalizer, torch.tensor(expected, dtype=torch.float64), **CLOSE)
    torch.testing.assert_close(log_q + log_normalizer.unsqueeze(-1), log_ratio, **CLOSE)
    torch.testing.assert_close(log_q.exp().sum(-1), torch.ones(N, dtype=torch.float64), **CLOSE)


def test_normalize_log_of_numbers_whose_normaliser_has_no_decimals_left() -> None:
    """Neighbouring float32 numbers around 2**23 differ by 1, so log 2 and log 3 get lost in the normaliser."""
    log_ratio = torch.full((2, 3), 2.0**23)
    log_ratio[1, 2] = -math.inf
    expected = torch.tensor([[1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0.0]])
    torch.testing.assert_close(formulas.normalize_log(log_ratio)[0].exp(), expected)
    log_prob, r = weighted_responsibilities(log_ratio, None, -math.inf)
    torch.testing.assert_close(r, expected)
    assert log_prob == 2 * (2.0**23 + 1)
