"""Tests of mixture_statistics, diagonal and full, against the float64 reference and scikit-learn."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

from deepmix.kernels import ops
from deepmix.maths import MixtureStatistics, em, formulas
from tests.ops import oracle
from tests.ops.oracle import EPSILON, draws_for, in_double, magnitudes, operator
from tests.ops.test_op_component_log_prob import diagonal_arguments, full_arguments

pytestmark = pytest.mark.usefixtures("device")


statistics = operator("mixture_statistics")


WEIGHTED, NOISY = "weights", "noise"


def arguments(
    full: bool, N: int, K: int, M: int, *extras: str, dtype: torch.dtype = torch.float32, seed: int = 0
) -> list[Any]:
    """Return random arguments in the operator's order; `extras` adds weights of the rows or a noise component."""
    inputs = (full_arguments if full else diagonal_arguments)(N, K, M, dtype, seed)
    weight_N = torch.rand(N, generator=torch.Generator().manual_seed(7), dtype=dtype) if WEIGHTED in extras else None
    return [*inputs, weight_N, -2.0 - M if NOISY in extras else -math.inf]


def by_broadcasting(
    z_NM: Tensor, mean_KM: Tensor, spread: Tensor, log_weight_K: Tensor, weight_N: Tensor | None, log_noise: float
) -> tuple[Tensor, ...]:
    """Return the statistics by their definition, with (N, K, M) arrays in the inputs' dtype and sums in float64."""
    density = formulas.component_log_prob_full if spread.dim() == 3 else formulas.component_log_prob
    log_joint_NK = density(z_NM, mean_KM, spread, log_weight_K)[0] + log_weight_K
    log_prob_N = torch.logaddexp(log_joint_NK.logsumexp(1), torch.tensor(log_noise, dtype=z_NM.dtype))
    weight_N = torch.ones_like(log_prob_N) if weight_N is None else weight_N
    r_NK = (log_joint_NK - log_prob_N.unsqueeze(1)).exp() * weight_N.unsqueeze(1)
    d_NKM = z_NM.unsqueeze(1) - mean_KM
    second = "nk,nki,nkj->kij" if spread.dim() == 3 else "nk,nki,nki->ki"
    return (
        (weight_N.double() * log_prob_N.double()).sum(),
        r_NK.double().sum(0),
        torch.einsum("nk,nki->ki", r_NK.double(), d_NKM.double()),
        torch.einsum(second, r_NK.double(), d_NKM.double(), d_NKM.double()),
    )


SIZES = [
    *((N, K, M) for N in (0, 1, 7) for K in (1, 10) for M in (1, 10, 33)),
    (65536, 10, 10),
    (30001, 1, 64),
    (4097, 20, 3),
    (70, 20000, 2),
]


FULL_SIZES = [(N, K, M) for N, K, M in SIZES if N * K * M * M < 20_000_000]


@pytest.mark.parametrize("extras", [(), (WEIGHTED, NOISY)], ids=["plain", "weights-noise"])
@pytest.mark.parametrize(
    ("full", "N", "K", "M"), [*((False, *size) for size in SIZES), *((True, *size) for size in FULL_SIZES)]
)
def test_float32_is_as_exact_as_float32_responsibilities_allow(
    full: bool, N: int, K: int, M: int, extras: tuple[str, ...]
) -> None:
    """Its error, root mean square and largest, may be 2 and 4 times that of exact sums of float32 responsibilities.

    The latter counts as 8 units of float32's precision at least: a responsibility is the exponential of a difference of
    logarithms, and those of small responsibilities are rounded in tens of nats.
    """
    tables = []
    for seed in range(draws_for((N, K, M))):
        inputs = arguments(full, N, K, M, *extras, seed=seed)
        exact, actual, plain = em.mixture_statistics(*in_double(inputs)), statistics(*inputs), by_broadcasting(*inputs)
        assert [(one.shape, one.dtype) for one in actual] == [(one.shape, torch.float64) for one in exact]
        errors = [[one - true for one, true in zip(form, exact, strict=True)] for form in (actual, plain)]
        tables.append(torch.stack([magnitudes(values) for values in (*errors, exact)]))
    error, reference_error, scale = torch.stack(tables).square().mean(0).sqrt()
    limit = torch.tensor([2.0, 4.0]) * torch.maximum(reference_error, 8.0 * EPSILON * scale)
    for number in range(len(error)):
        message = f"output {number}: error {error[number].tolist()}, limit {limit[number].tolist()}"
        assert (error[number] <= limit[number]).all(), message


@pytest.mark.parametrize("extras", [(), (WEIGHTED,), (NOISY,)], ids=str)
@pytest.mark.parametrize("full", [False, True], ids=["diag", "full"])
@pytest.mark.parametrize(("N", "K", "M"), [(0, 2, 3), (1, 1, 1), (7, 5, 3), (300, 10, 10), (65, 300, 8), (70, 3, 19)])
def test_float64_equals_both_plain_forms(full: bool, N: int, K: int, M: int, extras: tuple[str, ...]) -> None:
    inputs = arguments(full, N, K, M, *extras, dtype=torch.float64)
    actual = statistics(*inputs)
    for plain in (by_broadcasting(*inputs), em.mixture_statistics(*inputs)):
        for one, other in zip(actual, plain, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10 * max(1.0, float(N)))


@pytest.mark.parametrize("full", [False, True], ids=["diag", "full"])
def test_blocks_of_the_plain_form_cover_all_rows(full: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = arguments(full, 301, 3, 4, WEIGHTED, NOISY, dtype=torch.float64)
    whole = em.mixture_statistics(*inputs)
    monkeypatch.setattr(em, "BLOCK_ELEMENTS", 100)
    for one, other in zip(em.mixture_statistics(*inputs), whole, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("full", [False, True], ids=["diag", "full"])
def test_data_far_from_zero_loses_nothing(full: bool) -> None:
    """The moments are about the means, so a shift of all data by 2^12 leaves them as they are, up to its rounding."""
    inputs = arguments(full, 500, 4, 5)
    inputs[:2] = [(value * 256).round() / 256 for value in inputs[:2]]
    shifted = [inputs[0] + 4096.0, inputs[1] + 4096.0, *inputs[2:]]
    for one, other in zip(statistics(*shifted), statistics(*inputs), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("full", [False, True], ids=["diag", "full"])
def test_the_number_of_threads_changes_no_bit(full: bool) -> None:
    inputs = arguments(full, 2100, 7, 6, WEIGHTED)
    threads = torch.get_num_threads()
    results = []
    try:
        for n_threads in (1, 2, 5):
            torch.set_num_threads(n_threads)
            results.append(statistics(*inputs))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("full", [False, True], ids=["diag", "full"])
def test_nan_shows_in_every_sum(full: bool) -> None:
    inputs = arguments(full, 100, 3, 4)
    inputs[0][41, 2] = torch.nan
    assert all(torch.isnan(output).any() for output in statistics(*inputs))


def test_noise_takes_the_rows_that_no_component_explains() -> None:
    inputs = arguments(False, 50, 3, 2, NOISY, dtype=torch.float64)
    inputs[0][0] = 1e6
    log_likelihood, responsibility_K, first_KM, _ = statistics(*inputs)
    others = statistics(inputs[0][1:], *inputs[1:])
    assert float(log_likelihood) == pytest.approx(float(others[0]) - 4.0, rel=1e-12)
    torch.testing.assert_close(responsibility_K, others[1])
    torch.testing.assert_close(first_KM, others[2])


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
@pytest.mark.parametrize("covariance", ["diag", "full"])
def test_they_give_scikit_learns_m_step(covariance: str) -> None:
    rows = np.random.default_rng(0).normal(size=(500, 4)) * [1.0, 2.0, 0.5, 1.0]
    start = GaussianMixture(3, covariance_type=covariance, random_state=0, max_iter=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # some versions warn where no step or one was asked for
        start.fit(rows)
    z, mean, log_weight = (torch.from_numpy(array) for array in (rows, start.means_, np.log(start.weights_)))
    if covariance == "diag":
        spread = torch.from_numpy(start.covariances_).log()
    else:
        spread = torch.linalg.cholesky(torch.from_numpy(start.precisions_))
    result = ops.mixture_statistics(z, mean, spread, log_weight)
    step = result.first_KM / result.responsibility_K.unsqueeze(1)
    moments = result.about(step)
    n_rows = moments.responsibility_K.view(-1, *(1,) * (moments.second.dim() - 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        start.set_params(max_iter=1, warm_start=True, reg_covar=0.0, tol=10.0).fit(rows)
    np.testing.assert_allclose(result.log_likelihood / 500, start.lower_bound_, rtol=1e-12)
    np.testing.assert_allclose(result.responsibility_K / 500, start.weights_, rtol=1e-10)
    np.testing.assert_allclose(mean + step, start.means_, rtol=1e-10)
    np.testing.assert_allclose(moments.second / n_rows, start.covariances_, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(moments.first_KM, torch.zeros_like(step), rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("full", [False, True], ids=["diag", "full"])
def test_moments_about_other_means_are_those_of_shifted_means(full: bool) -> None:
    inputs = arguments(full, 40, 3, 4, dtype=torch.float64)
    moments = MixtureStatistics(*statistics(*inputs))
    step_KM = torch.full((3, 4), 0.25, dtype=torch.float64)
    moved = moments.about(step_KM).about(-step_KM)
    torch.testing.assert_close(moved.second, moments.second)
    one = MixtureStatistics(*statistics(*(a[:1] if i in (1, 2, 3) else a for i, a in enumerate(inputs))))
    d_NM = inputs[0] - inputs[1][0] - step_KM[0]
    expected = torch.einsum("ni,nj->ij", d_NM, d_NM) if full else d_NM.square().sum(0)
    torch.testing.assert_close(one.about(step_KM[:1]).second[0], expected)


@pytest.mark.parametrize("full", [False, True], ids=["diag", "full"])
def test_matrix_products_compute_shapes_that_are_too_large_for_the_kernel(
    full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = [a.to(oracle.device) if isinstance(a, Tensor) else a for a in arguments(full, 200, 3, 4, WEIGHTED)]
    n_seconds = 3 * 4 * 4 if full else 3 * 4
    kernel = torch.ops.deepmix.mixture_statistics.default
    for most, function in ((n_seconds, kernel), (n_seconds - 1, em.mixture_statistics)):
        monkeypatch.setattr(ops, "MOST_SUMS", {oracle.device: (most, most)})
        assert torch.equal(ops.mixture_statistics(*inputs).second, function(*inputs)[3])


@pytest.mark.parametrize("full", [False, True], ids=["diag", "full"])
def test_opcheck(full: bool) -> None:
    inputs = arguments(full, 5, 3, 2, WEIGHTED, NOISY)
    torch.library.opcheck(torch.ops.deepmix.mixture_statistics.default, inputs)


def test_wrong_shapes_are_named() -> None:
    z, mean, log_var, log_weight, *_ = arguments(False, 4, 5, 3)
    with pytest.raises(ValueError, match="log-variance must be"):
        ops.mixture_statistics(z, mean, log_var[:4], log_weight)
    with pytest.raises(ValueError, match="Cholesky factor must be"):
        ops.mixture_statistics(z, mean, torch.eye(3).expand(4, 3, 3), log_weight)
    with pytest.raises(ValueError, match=r"the rows' weights must be \(N,\) = \(4,\), got \(3,\)"):
        ops.mixture_statistics(z, mean, log_var, log_weight, torch.ones(3))
