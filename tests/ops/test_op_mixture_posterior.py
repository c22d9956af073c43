"""Tests of mixture_posterior against the float64 reference: a grid of shapes, every switch and difficult inputs."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from deepmix.kernels import ops
from deepmix.maths import Gaussian, Latents, MixtureParameters, formulas
from tests.ops.oracle import (
    EQ_5,
    EQ_10,
    EQ_15,
    MIXTURE,
    PRODUCT,
    STANDARD,
    Sizes,
    Switches,
    assert_as_exact_as_reference,
    mixture_arguments,
    operator,
    sampled_arguments,
)

pytestmark = pytest.mark.usefixtures("device")


kernel = operator("mixture_posterior")


GRID = [
    *(Sizes(N, K, M) for N in (0, 1, 7) for K in (1, 10, 1000) for M in (1, 10, 64)),
    *(Sizes(N, K, M, shared=True) for N in (0, 1, 7) for K in (10, 1000) for M in (1, 10, 64)),
    Sizes(65536, 1, 1),
    Sizes(65536, 1, 64),
    Sizes(65536, 10, 1),
    Sizes(65536, 10, 10),
    Sizes(65536, 10, 10, shared=True),
    Sizes(65536, 10, 64, shared=True),
    Sizes(333, 3, 5, L=3),
    Sizes(333, 3, 5, L=3, shared=True),
    Sizes(100, 7, 33, L=2),
    Sizes(3, 2, 1100),
    Sizes(70, 20000, 2, shared=True),
]


@pytest.mark.parametrize("sizes", GRID, ids=str)
def test_error_is_at_most_twice_the_references(sizes: Sizes) -> None:
    assert_as_exact_as_reference(kernel, MIXTURE, lambda seed: mixture_arguments(sizes, EQ_15, seed=seed), sizes.draws)


@pytest.mark.parametrize("switches", [EQ_5, EQ_10, EQ_15, STANDARD, PRODUCT], ids=str)
@pytest.mark.parametrize("sizes", [Sizes(50, 6, 10, L=2), Sizes(50, 6, 10, L=2, shared=True)], ids=str)
def test_every_switch(sizes: Sizes, switches: Switches) -> None:
    assert_as_exact_as_reference(
        kernel,
        MIXTURE,
        lambda seed: mixture_arguments(sizes, switches, seed=seed),
        sizes.draws,
    )


@pytest.mark.parametrize("shared", [False, True], ids=["heads", "shared"])
def test_float64(shared: bool) -> None:
    arguments = mixture_arguments(Sizes(33, 5, 9, L=2, shared=shared), EQ_5, torch.float64)
    for actual, expected in zip(kernel(*arguments), MIXTURE(*arguments), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("shared", [False, True], ids=["heads", "shared"])
def test_any_strides(shared: bool) -> None:
    arguments = mixture_arguments(Sizes(17, 4, 10, L=2, shared=shared), EQ_5)
    strided = [
        a.transpose(0, -1).contiguous().transpose(0, -1) if isinstance(a, Tensor) and a.dim() > 1 else a
        for a in arguments
    ]
    for actual, expected in zip(kernel(*strided), kernel(*arguments), strict=True):
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("shared", [False, True], ids=["heads", "shared"])
def test_log_ratios_of_ten_thousand(shared: bool) -> None:
    arguments = mixture_arguments(Sizes(40, 10, 10, shared=shared), EQ_5)
    arguments[6] = arguments[6].sign() * 1e4
    assert_as_exact_as_reference(kernel, MIXTURE, lambda _: arguments)
    log_q_NK, _ = kernel(*arguments)
    assert torch.isfinite(log_q_NK).all()
    torch.testing.assert_close(log_q_NK.exp().sum(-1), torch.ones(40))


@pytest.mark.parametrize("shared", [False, True], ids=["heads", "shared"])
def test_component_of_weight_zero(shared: bool) -> None:
    arguments = mixture_arguments(Sizes(21, 10, 10, shared=shared), EQ_15)
    arguments[5][3] = -torch.inf
    leaves = [a.requires_grad_() if isinstance(a, Tensor) else a for a in arguments]
    log_q_NK, log_normalizer_N = kernel(*leaves)
    assert (log_q_NK[:, 3] == -torch.inf).all()
    log_normalizer_N.sum().backward()
    others = [k for k in range(10) if k != 3]
    assert torch.isfinite(log_q_NK[:, others]).all()
    assert torch.isfinite(leaves[0].grad).all()
    assert (leaves[3].grad[3] == 0).all()


@pytest.mark.parametrize("shared", [False, True], ids=["heads", "shared"])
@pytest.mark.parametrize("rows", [21, 1000])
def test_nan_stays_in_its_row(rows: int, shared: bool) -> None:
    arguments = mixture_arguments(Sizes(rows, 10, 10, shared=shared), EQ_15)
    clean = kernel(*arguments)
    arguments[0][0, 5, 0, 2] = torch.nan
    others = torch.arange(rows) != 5
    for actual, expected in zip(kernel(*arguments), clean, strict=True):
        assert torch.isnan(actual[5]).all()
        assert torch.equal(actual[others], expected[others])


@pytest.mark.parametrize("shared", [False, True], ids=["heads", "shared"])
def test_results_do_not_depend_on_threads(shared: bool) -> None:
    arguments = mixture_arguments(Sizes(5000, 10, 10, shared=shared), EQ_15)
    leaves = [a.requires_grad_() if isinstance(a, Tensor) else a for a in arguments]
    threads = torch.get_num_threads()
    gradients = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            log_q_NK, _ = kernel(*leaves)
            gradients.append(torch.autograd.grad(log_q_NK.square().sum(), leaves[:6]))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, two) for one, two in zip(*gradients, strict=True))


def test_public_function_equals_the_reference() -> None:
    noise, mean, log_var, prior_mean, prior_log_var, log_weight, *_ = sampled_arguments(Sizes(9, 4, 3, L=2), EQ_15)
    prior = MixtureParameters(Gaussian(prior_mean, prior_log_var), log_weight)
    latents = Latents(noise, Gaussian(mean, log_var), prior, torch.zeros(9, 4), at_mean=False)
    responsibilities = ops.mixture_posterior(latents, torch.zeros(2, 9, 1), use_posterior=True)
    assert responsibilities.z_LNHM is None
    log_q_NK, log_normalizer_N = formulas.mixture_posterior(
        latents.z_LNHM, mean, log_var, prior_mean, prior_log_var, log_weight, None, True, False
    )
    torch.testing.assert_close(responsibilities.log_q_NK, log_q_NK)
    torch.testing.assert_close(responsibilities.log_normalizer_N, log_normalizer_N)


def test_wrong_shapes_are_named() -> None:
    z, mean, log_var, *_, log_weight, _, _, _ = mixture_arguments(Sizes(9, 4, 3), STANDARD)
    latents = Latents(z[:, :8], Gaussian(mean, log_var), MixtureParameters(None, log_weight), mean[..., 0], False)
    for log_likelihood_LNK in (None, torch.zeros(1, 9, 4)):
        with pytest.raises(ValueError, match=r"the noise must be \(L, N, H, M\)"):
            ops.mixture_posterior(latents, log_likelihood_LNK, use_posterior=True)
    with pytest.raises(RuntimeError, match="mean has the wrong shape"):
        kernel(z, mean[:8], log_var, None, None, log_weight, None, True, False)
    with pytest.raises(RuntimeError, match="float32 and float64"):
        kernel(
            *(a.half() if isinstance(a, Tensor) else a for a in (z, mean, log_var, None, None, log_weight, None)),
            True,
            False,
        )


PEAK_MEMORY = """
import sys
import torch
from deepmix.kernels import autograd, kernel_devices

def peak():  # ru_maxrss would start at the peak of the parent process
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

def forward_and_backward(N, K, M):
    is_drawn = sys.argv[1] == "sampled_mixture_posterior"  # if so, z is an output and the noise has no gradient
    shapes = [(1, N, K, M), (N, K, M), (N, K, M), (K, M), (K, M), (K,)]
    inputs = [torch.ones(shape).requires_grad_() for shape in shapes]
    upstream = [torch.ones(shape) for shape in (*[shapes[0]] * is_drawn, (N, K), (N,))]
    before = peak()
    outputs = autograd.call(sys.argv[1], *inputs, *([] if is_drawn else [None]), True, False)
    gradients = torch.autograd.grad(outputs, inputs[is_drawn:], upstream)
    tensors = [*inputs, *outputs, *gradients]
    return peak() - before, sum(t.nbytes for t in inputs), sum(t.nbytes for t in tensors)

kernel_devices()
forward_and_backward(64, 10, 10)
print(*forward_and_backward(100_000, 10, 10))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the test reads a process's peak memory from Linux's /proc")
@pytest.mark.parametrize("name", ["mixture_posterior", "sampled_mixture_posterior"])
def test_peak_memory_is_inputs_outputs_and_gradients(name: str) -> None:
    process = subprocess.run([sys.executable, "-c", PEAK_MEMORY, name], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    growth, inputs, total = (int(word) for word in process.stdout.split())
    assert growth > 0.5 * (total - inputs)  # otherwise the measurement would miss the allocations
    assert inputs + growth <= 1.3 * total
