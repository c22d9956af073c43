"""Run every operator forward and backward on a GPU, on shapes that reach each kernel's branches.

`csrc/sanitize_cuda.sh` runs this under compute-sanitizer, which slows the whole test suite too much.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from deepmix import kernels
from deepmix.kernels import autograd

SHAPES = ((1, 1, 1), (130, 10, 10), (333, 3, 2), (257, 33, 7), (65, 100, 32), (300, 5, 40))


MOST_FULL_DIMENSIONS = 10


class Run:
    """Random inputs of one dtype, and the number of operators called."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.generator = torch.Generator().manual_seed(0)
        self.n_calls = 0

    def random(self, *shape: int, leaf: bool = True) -> Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=self.dtype).cuda().requires_grad_(leaf)

    def differentiate(self, name: str, *inputs: Any) -> None:
        outputs = autograd.call(name, *inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        leaves = [value for value in inputs if isinstance(value, Tensor) and value.requires_grad]
        upstream = [self.random(*output.shape, leaf=False) for output in outputs]
        for gradient in torch.autograd.grad(outputs, leaves, upstream):
            assert gradient.isfinite().all(), name
        self.n_calls += 1


def mixtures(run: Run, N: int, K: int, M: int) -> None:
    prior_mean, prior_log_var, log_weight = run.random(K, M), run.random(K, M), run.random(K)
    for H in {1, K}:
        mean, log_var = run.random(N, H, M), run.random(N, H, M)
        for L in (1, 2):
            z, noise, log_likelihood = run.random(L, N, H, M), run.random(L, N, H, M, leaf=False), run.random(L, N, K)
            posterior, prior = (mean, log_var), (prior_mean, prior_log_var)
            run.differentiate("mixture_posterior", z, *posterior, *prior, log_weight, log_likelihood, True, False)
            run.differentiate("mixture_posterior", z, *posterior, None, None, log_weight, None, True, True)
            run.differentiate("sampled_mixture_posterior", noise, *posterior, *prior, log_weight, True, False)
        run.differentiate("component_kl", mean, log_var, prior_mean, prior_log_var)


def components(run: Run, N: int, K: int, M: int) -> None:
    x, mean, log_var, log_weight = run.random(N, M), run.random(K, M), run.random(K, M), run.random(K)
    run.differentiate("component_log_prob", x, mean, log_var, log_weight)
    spreads = [log_var.detach()]
    if M <= MOST_FULL_DIMENSIONS:
        cholesky = 0.1 * run.random(K, M, M, leaf=False).tril() + torch.eye(M, dtype=run.dtype, device="cuda")
        run.differentiate("component_log_prob_full", x, mean, cholesky.requires_grad_(), log_weight)
        spreads.append(cholesky.detach())
    for spread in spreads:
        inputs = x.detach(), mean.detach(), spread, log_weight.detach(), run.random(N, leaf=False).abs()
        for log_noise in (-3.0, -math.inf):
            torch.ops.deepmix.mixture_statistics.default(*inputs, log_noise)
            run.n_calls += 1


def main(shapes: Sequence[tuple[int, int, int]] = SHAPES) -> None:
    assert "cuda" in kernels.kernel_devices(), "the CUDA kernels are not loaded; `deepmix doctor` says why"
    n_calls = 0
    for dtype in (torch.float32, torch.float64):
        run = Run(dtype)
        for shape in shapes:
            mixtures(run, *shape)
            components(run, *shape)
        n_calls += run.n_calls
    torch.cuda.synchronize()
    print(f"{n_calls} calls")


if __name__ == "__main__":
    main()
