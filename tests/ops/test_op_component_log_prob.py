"""Tests of component_log_prob, diagonal and full, against the float64 reference and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from deepmix.kernels import ops
from deepmix.maths import Gaussian, MixtureParameters, formulas
from tests.ops.oracle import assert_as_exact_as_reference, draws_for, operator

pytestmark = pytest.mark.usefixtures("device")


diagonal = operator("component_log_prob")


full = operator("component_log_prob_full")


SIZES = [
    *((N, K, M) for N in (0, 1, 7) for K in (1, 10, 1000) for M in (1, 10, 64)),
    (65536, 10, 10),
    (65536, 1, 64),
    (4097, 20, 3),
    (70, 20000, 2),
]


FULL_SIZES = [(N, K, M) for N, K, M in SIZES if K * M * M <= 100_000 and N * K * M <= 7_000_000]


def diagonal_arguments(N: int, K: int, M: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((N, M), (K, M), (K, M), (K,))
    z, mean, log_var, logit = (torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes)
    return [z, mean, 0.5 * log_var, logit.log_softmax(0)]


def full_arguments(N: int, K: int, M: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> list[Tensor]:
    z, mean, _, log_weight = diagonal_arguments(N, K, M, dtype, seed)
    generator = torch.Generator().manual_seed(seed + 100)
    cholesky = 0.3 * torch.randn(K, M, M, generator=generator, dtype=dtype)
    cholesky = cholesky.tril(-1) + torch.diag_embed(cholesky.diagonal(dim1=-2, dim2=-1).exp())
    return [z, mean, cholesky, log_weight]


@pytest.mark.parametrize(("N", "K", "M"), SIZES)
def test_diagonal_error_is_at_most_twice_the_references(N: int, K: int, M: int) -> None:
    assert_as_exact_as_reference(
        diagonal,
        formulas.component_log_prob,
        lambda seed: diagonal_arguments(N, K, M, seed=seed),
        draws_for((N, K, M)),
    )


@pytest.mark.parametrize(("N", "K", "M"), FULL_SIZES)
def test_full_error_is_at_most_twice_the_references(N: int, K: int, M: int) -> None:
    assert_as_exact_as_reference(
        full, formulas.component_log_prob_full, lambda seed: full_arguments(N, K, M, seed=seed), draws_for((N, K, M))
    )


def test_nan_stays_in_its_row() -> None:
    for kernel, arguments in ((diagonal, diagonal_arguments(100, 10, 10)), (full, full_arguments(100, 10, 10))):
        clean = kernel(*arguments)
        arguments[0][41, 3] = torch.nan
        others = torch.arange(100) != 41
        for actual, expected in zip(kernel(*arguments), clean, strict=True):
            assert torch.isnan(actual[41]).all()
            assert torch.equal(actual[others], expected[others])


@pytest.mark.parametrize("covariance", ["diag", "full"])
def test_public_function_equals_scikit_learns_e_step(covariance: str) -> None:
    rows = np.random.default_rng(0).normal(size=(500, 4)) * [1.0, 2.0, 0.5, 1.0]
    mixture = GaussianMixture(3, covariance_type=covariance, random_state=0).fit(rows)
    z, mean = torch.from_numpy(rows), torch.from_numpy(mixture.means_)
    log_weight = torch.from_numpy(mixture.weights_).log()
    if covariance == "diag":
        prior = MixtureParameters(Gaussian(mean, torch.from_numpy(mixture.covariances_).log()), log_weight)
        _, e_step = ops.component_log_prob(z, prior)
    else:
        cholesky = torch.linalg.cholesky(torch.from_numpy(mixture.precisions_))
        _, e_step = ops.component_log_prob_full(z, mean, cholesky, log_weight)
    np.testing.assert_allclose(e_step.log_q_NK.exp().numpy(), mixture.predict_proba(rows), atol=1e-9)
    np.testing.assert_allclose(e_step.log_normalizer_N.numpy(), mixture.score_samples(rows), rtol=1e-9)


def test_wrong_shapes_are_named() -> None:
    z, mean, log_var, log_weight = diagonal_arguments(4, 5, 3)
    with pytest.raises(ValueError, match="log-variance must be"):
        ops.component_log_prob(z, MixtureParameters(Gaussian(mean, log_var[:4]), log_weight))
    with pytest.raises(ValueError, match="got none"):
        ops.component_log_prob(z, MixtureParameters(None, log_weight))
    with pytest.raises(ValueError, match=r"z must be \(N, M\)"):
        ops.component_log_prob_full(z[0], mean, torch.eye(3).expand(5, 3, 3), log_weight)
