"""The formulas in plain PyTorch: the reference that the kernels are tested against, and their fallback.

Every density, divergence and responsibility in the papers is defined here once. Equation numbers are
those of the MVAE supplement unless a paper is named. See `deepmix.maths.values` for the shape legend.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOG_2PI = math.log(2.0 * math.pi)


def gaussian_log_prob(z: Tensor, mean: Tensor | None, log_var: Tensor | None) -> Tensor:
    """Return log N(z; mean, exp(log_var)), summed over the last axis; None stands for N(0, I).

    log N = -1/2 sum_m [log 2 pi + log v_m + (z_m - mu_m)^2 / v_m], v_m = exp(log_var_m)
    """
    if mean is None or log_var is None:
        return -0.5 * (LOG_2PI + z.square()).sum(-1)
    return -0.5 * (LOG_2PI + log_var + (z - mean).square() * torch.exp(-log_var)).sum(-1)


def reparameterise(noise: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """Return z = mean + exp(log_var / 2) noise, which turns standard normal noise into N(mean, exp(log_var))."""
    return torch.addcmul(mean, noise, torch.exp(0.5 * log_var))


def gaussian_entropy(log_var: Tensor) -> Tensor:
    """Return the entropy of a diagonal Gaussian, summed over the last axis.

    H = 1/2 sum_m [1 + log 2 pi + log v_m], v_m = exp(log_var_m)
    """
    return 0.5 * (1.0 + LOG_2PI + log_var).sum(-1)


def component_kl(
    mean_NHM: Tensor, log_var_NHM: Tensor, prior_mean_KM: Tensor | None, prior_log_var_KM: Tensor | None
) -> Tensor:
    """Return KL(q(z|y_k,x) || p(z|y_k)), shape (N, K); a single head, H = 1, is compared with every component.

    KL = 1/2 sum_m [log(p_m / v_m) + v_m / p_m + (mu_m - nu_m)^2 / p_m - 1]

    for q = N(mu, v) and prior N(nu, p). For a mixture this is the z part of VaDE eq. 12; for N(0, I), which None stands
    for, it is k-DVAE eq. 4: 1/2 sum_m [mu_m^2 + v_m - 1 - log v_m].
    """
    if prior_mean_KM is None or prior_log_var_KM is None:
        return 0.5 * (mean_NHM.square() + log_var_NHM.exp() - 1.0 - log_var_NHM).sum(-1)
    difference = prior_log_var_KM - log_var_NHM
    scaled = (mean_NHM - prior_mean_KM).square() * torch.exp(-prior_log_var_KM)
    return 0.5 * (difference + torch.exp(-difference) + scaled - 1.0).sum(-1)


def mixture_posterior(
    z_LNHM: Tensor,
    mean_NHM: Tensor,
    log_var_NHM: Tensor,
    prior_mean_KM: Tensor | None,
    prior_log_var_KM: Tensor | None,
    log_weight_K: Tensor,
    log_likelihood_LNK: Tensor | None,
    use_posterior: bool,
    product: bool,
) -> tuple[Tensor, Tensor]:
    """Return log q(y|x), (N, K), and the log normaliser, (N,).

    q(y_k|x) is proportional to p(y_k) p(z_k|y_k), multiplied by p(x|z_k) if `log_likelihood_LNK` is not None and
    divided by q(z_k|y_k,x) if `use_posterior` is true. Eq. 5 has both factors, eq. 15 the second, eqs. 10 and 16
    neither. With `product`, the L samples are multiplied as printed; otherwise their geometric mean is taken, which is
    the solution of eq. 2.
    """
    log_prior_LNK = gaussian_log_prob(z_LNHM, prior_mean_KM, prior_log_var_KM)
    log_posterior_LNH = gaussian_log_prob(z_LNHM, mean_NHM, log_var_NHM) if use_posterior else None
    return posterior_of_terms(log_prior_LNK, log_weight_K, log_posterior_LNH, log_likelihood_LNK, product)


def posterior_of_terms(
    log_prior_LNK: Tensor,
    log_weight_K: Tensor,
    log_posterior_LNH: Tensor | None,
    log_likelihood_LNK: Tensor | None,
    product: bool,
) -> tuple[Tensor, Tensor]:
    """Return what `mixture_posterior` does from log p(z_k|y_k), log q(z_k|y_k,x) and log p(x|z_k) of the samples."""
    log_ratio_LNK = log_weight_K + log_prior_LNK
    if log_posterior_LNH is not None:
        log_ratio_LNK = log_ratio_LNK - log_posterior_LNH
    if log_likelihood_LNK is not None:
        log_ratio_LNK = log_ratio_LNK + log_likelihood_LNK
    log_ratio_NK = log_ratio_LNK.sum(0) if product else log_ratio_LNK.mean(0)
    return normalize_log(log_ratio_NK)


def sampled_mixture_posterior(
    noise_LNHM: Tensor,
    mean_NHM: Tensor,
    log_var_NHM: Tensor,
    prior_mean_KM: Tensor | None,
    prior_log_var_KM: Tensor | None,
    log_weight_K: Tensor,
    use_posterior: bool,
    product: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return z = mean + exp(log_var / 2) noise, VaDE eq. 14, and the result of `mixture_posterior` for it.

    The noise is a constant: no gradient flows into it.
    """
    z_LNHM = reparameterise(noise_LNHM.detach(), mean_NHM, log_var_NHM)
    rest = (mean_NHM, log_var_NHM, prior_mean_KM, prior_log_var_KM, log_weight_K, None, use_posterior, product)
    return z_LNHM, *mixture_posterior(z_LNHM, *rest)


def component_log_prob(
    z_NM: Tensor, mean_KM: Tensor, log_var_KM: Tensor, log_weight_K: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return log N(z; mean_k, exp(log_var_k)), log p(y_k|z), each (N, K), and log p(z), (N,).

    p(y_k|z) = w_k N(z; mu_k, v_k) / p(z), p(z) = sum_j w_j N(z; mu_j, v_j): VaDE eq. 16
    """
    log_prob_NK = gaussian_log_prob(z_NM.unsqueeze(1), mean_KM, log_var_KM)
    return log_prob_NK, *normalize_log(log_prob_NK + log_weight_K)


def component_log_prob_full(
    z_NM: Tensor, mean_KM: Tensor, precision_cholesky_KMM: Tensor, log_weight_K: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the same as `component_log_prob`, for covariances (A A^T)^-1 with A lower triangular.

    log N = log |A| - M/2 log 2 pi - |A^T (z - mean)|^2 / 2
    """
    cholesky_KMM = precision_cholesky_KMM.tril()
    y_NKM = torch.einsum("nki,kij->nkj", z_NM.unsqueeze(1) - mean_KM, cholesky_KMM)
    log_determinant_K = cholesky_KMM.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    log_prob_NK = log_determinant_K - 0.5 * (z_NM.shape[1] * LOG_2PI + y_NKM.square().sum(-1))
    return log_prob_NK, *normalize_log(log_prob_NK + log_weight_K)


def jensen_shannon(log_p_NK: Tensor, log_q_NK: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence of two distributions over y, (N,): 0 if they are equal, at most log 2.

    JS(p, q) = 1/2 KL(p || m) + 1/2 KL(q || m), m = (p + q) / 2

    This is the graph term of DGG (k-DVAE, section 2), which pulls the posteriors of neighbours together.
    """
    log_mean_NK = torch.logaddexp(log_p_NK, log_q_NK) - math.log(2.0)
    from_p_N = (log_p_NK.exp() * (log_p_NK - log_mean_NK)).sum(-1)
    from_q_N = (log_q_NK.exp() * (log_q_NK - log_mean_NK)).sum(-1)
    return 0.5 * (from_p_N + from_q_N)


def normalize_log(log_ratio_NK: Tensor) -> tuple[Tensor, Tensor]:
    """Normalise probabilities in log space: return log q, (N, K), and the log normaliser, (N,).

    log q_k = r_k - log sum_j exp(r_j)

    The sum over q is 1 even where the ratios are so large that the normaliser, rounded, is not exact.
    """
    return log_ratio_NK.log_softmax(-1), log_ratio_NK.logsumexp(-1)
