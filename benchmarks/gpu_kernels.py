"""Times on a GPU: of operators, whole calls, training steps, EM statistics and rows in bfloat16, beside other forms.

    python benchmarks/gpu_kernels.py OUT.json

Whole calls, as `deepmix bench --device cuda` times them too, spend small shapes on the CPU. For the operators, the GPU
is kept busy until a call's launches are queued, and CUDA events time them; a call that launches more slowly than it
runs still shows gaps. The figures are written after every part, so that a run that is ended early keeps some.
"""

from __future__ import annotations

import functools
import json
import math
import statistics
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bfloat16
import torch
from torch import Tensor

from deepmix import GaussianMixture, kernels
from deepmix.bench import (
    component_forms,
    gradients_of,
    kl_forms,
    machine,
    mixture_forms,
    sampled_forms,
    time_in_turn,
    training_row,
)
from deepmix.experiment import ExperimentConfig
from deepmix.maths import em

SHAPES: dict[str, tuple[Callable[..., Any], list[tuple[int, int, int]]]] = {
    "mixture_posterior": (mixture_forms, [(128, 10, 10), (8192, 10, 10), (65536, 10, 10), (8192, 100, 32)]),
    "sampled_mixture_posterior": (sampled_forms, [(128, 10, 10), (65536, 10, 10), (8192, 100, 32)]),
    "component_kl": (kl_forms, [(128, 10, 10), (65536, 10, 10)]),
    "component_log_prob": (component_forms(full=False), [(128, 10, 10), (100000, 10, 10), (100000, 100, 32)]),
    "component_log_prob_full": (component_forms(full=True), [(128, 10, 10), (100000, 10, 10)]),
}


CALL_SHAPES = {
    "mixture_posterior": (mixture_forms, [(128, 10, 10), (65536, 10, 10)]),
    "sampled_mixture_posterior": (sampled_forms, [(128, 10, 10), (65536, 10, 10)]),
    "component_kl": (kl_forms, [(128, 10, 10), (65536, 10, 10)]),
}
"""Those of which whole calls are timed."""


STEPS = [
    ExperimentConfig(),
    ExperimentConfig(prior="mixture"),
    ExperimentConfig(settings={"decode_all": "true"}),
]
"""Models of which training steps are timed: DeepMixture's, with a prior per component, and decoding all pairs."""


STEP_COMPONENTS = (10, 100)


SECONDS = 1.0
"""Time spent on each whole call and training step."""


EM_ITERATIONS = 10


STATISTICS_SHAPES = [(1_000_000, 10, 10), (10_000_000, 10, 10), (100_000, 100, 32)]


BUSY_CYCLES = 200_000


COPY_ELEMENTS = 1 << 28


def gpu_microseconds(call: Callable[[], object], repetitions: int = 30) -> float:
    """Return the median time of a call on the GPU."""
    for _ in range(5):
        call()
    times = []
    for _ in range(repetitions):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(BUSY_CYCLES)  # nothing public keeps a GPU busy
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) * 1e3)
    return statistics.median(times)


def copy_gigabytes_per_second(device: torch.device) -> float:
    """Return the bytes that a copy reads and writes per second."""
    source = torch.randn(COPY_ELEMENTS, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / gpu_microseconds(lambda: target.copy_(source), 10) / 1e3


def operator_rows(device: torch.device, copy_gbs: float) -> list[dict[str, Any]]:
    """Time each operator's forms, forward and forward with backward."""
    rows = []
    for op, (make, shapes) in SHAPES.items():
        for shape in shapes:
            form = make(shape, device, compiled=False)
            for backward in (False, True):
                row: dict[str, Any] = {"op": op, "shape": shape, "pass": "forward+backward" if backward else "forward"}
                for name, function in form.functions.items():
                    inputs = form.inputs_of(name)

                    def call(function: Any = function, inputs: Any = inputs, form: Any = form) -> None:
                        outputs = function(*inputs)
                        if torch.is_grad_enabled():
                            torch.autograd.grad(outputs, inputs, form.upstream)

                    with torch.set_grad_enabled(backward):
                        row[f"{name}_us"] = gpu_microseconds(call)
                row["gbs"] = form.bytes_moved(backward) / row["kernel_us"] / 1e3
                row["fraction_of_copy"] = row["gbs"] / copy_gbs
                rows.append(row)
                print(row, flush=True)
    return rows


def statistics_rows(device: torch.device) -> list[dict[str, Any]]:
    """Time the EM statistics of one step."""
    rows = []
    for N, K, M in STATISTICS_SHAPES:
        x, mean = torch.randn(N, M, device=device), torch.randn(K, M, device=device)
        log_weight = torch.full((K,), -math.log(K), device=device)
        spreads = {"diag": torch.zeros(K, M, device=device), "full": torch.eye(M, device=device).repeat(K, 1, 1)}
        for covariance, spread in spreads.items():
            inputs = x, mean, spread, log_weight, None, -math.inf
            calls = {
                "kernel": lambda inputs=inputs: torch.ops.deepmix.mixture_statistics.default(*inputs),
                "plain": lambda inputs=inputs: em.mixture_statistics(*inputs),
                "gemm": lambda inputs=inputs: gemm_statistics(*inputs[:4]),
            }
            if covariance == "full":
                del calls["gemm"]
            row: dict[str, Any] = {"op": "mixture_statistics", "covariance": covariance, "shape": (N, K, M)}
            row |= {f"{name}_us": gpu_microseconds(call, 5) for name, call in calls.items()}
            rows.append(row)
            print(row, flush=True)
    return rows


def gemm_statistics(x: Tensor, mean: Tensor, log_var: Tensor, log_weight: Tensor) -> tuple[Tensor, ...]:
    """Return the statistics as a loop in plain PyTorch computes them: by matrix products in float32, not centred."""
    precision = torch.exp(-log_var)
    constant_K = log_weight - 0.5 * ((log_var + mean.square() * precision).sum(-1) + x.shape[1] * math.log(2 * math.pi))
    log_prob_NK = torch.addmm(torch.addmm(constant_K, x.square(), precision.T, alpha=-0.5), x, (mean * precision).T)
    log_normalizer_N = log_prob_NK.logsumexp(1)
    responsibility_NK = (log_prob_NK - log_normalizer_N.unsqueeze(1)).exp_()
    moments = responsibility_NK.T @ x, responsibility_NK.T @ x.square()
    return log_normalizer_N.sum(), responsibility_NK.sum(0), *moments


def mixture_row(device: torch.device) -> dict[str, Any]:
    """Time EM of GaussianMixture, which holds its rows on the GPU, beside a loop in plain PyTorch."""
    N, K, M = STATISTICS_SHAPES[0]
    x, mean = torch.randn(N, M), torch.randn(K, M)
    options = {"means_init": mean.numpy(), "precisions_init": torch.ones(K, M).numpy(), "max_iter": EM_ITERATIONS}
    mixture = GaussianMixture(
        K, covariance_type="diag", tol=0.0, weights_init=[1 / K] * K, device=device.type, **options
    )

    def fit() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # EM does not converge, on purpose
            mixture.fit(x.numpy())

    def loop() -> None:
        rows, means = x.to(device), mean.to(device)
        log_var, log_weight = torch.zeros_like(means), torch.full((K,), -math.log(K), device=device)
        for _ in range(EM_ITERATIONS):
            _, sums_K, first, second = gemm_statistics(rows, means, log_var, log_weight)
            means = first / sums_K.unsqueeze(1)
            log_var = (second / sums_K.unsqueeze(1) - means.square() + 1e-6).log()
            log_weight = (sums_K / N).log()

    times = time_in_turn({"kernel": fit, "gemm": loop}, device, SECONDS)
    row = {"op": "GaussianMixture.fit", "iterations": EM_ITERATIONS, "shape": (N, K, M)}
    return row | {f"{name}_us": timing.median for name, timing in times.items()}


def call_rows(device: torch.device) -> list[dict[str, Any]]:
    """Time whole calls, forward and backward, without torch.compile."""
    rows = []
    for op, (make, shapes) in CALL_SHAPES.items():
        for shape in shapes:
            form = make(shape, device, compiled=False)
            calls = {}
            for name in ("kernel", "eager"):
                function, inputs = form.functions[name], tuple(form.inputs_of(name))
                calls[name] = lambda function=function, inputs=inputs, form=form: gradients_of(
                    function(*inputs), inputs, tuple(form.upstream)
                )
            times = time_in_turn(calls, device, SECONDS)
            row = {"op": op, "shape": shape, "pass": "forward+backward", "whole_call": True}
            rows.append(row | {f"{name}_us": timing.median for name, timing in times.items()})
            print(rows[-1], flush=True)
    return rows


def step_rows(device: torch.device) -> list[dict[str, Any]]:
    """Time training steps with and without the kernels."""
    rows = []
    for config in STEPS:
        for n_components in STEP_COMPONENTS:
            row = training_row(config, n_components, device, 2 * SECONDS)
            assert row is not None
            setting = {"prior": config.prior or "the model's own", "settings": config.settings}
            rows.append({**row, **setting, "n_components": n_components})
            print(rows[-1], flush=True)
    return rows


def bfloat16_rows(device: torch.device) -> list[dict[str, Any]]:
    """Time operators on rows in bfloat16 beside the same rows converted to float32 first, on the GPU itself."""
    rows = []
    for op in bfloat16.OPERATORS:
        arguments = bfloat16.arguments_of(op)
        inputs = arguments.to(torch.bfloat16, torch.float32, device)
        for compute in (bfloat16.forward, bfloat16.both):
            row: dict[str, Any] = {"op": op, "shape": bfloat16.SHAPE, "rows": "bfloat16", "pass": compute.__name__}
            for name, function in zip(("kernel", "converted"), bfloat16.calls_of(op, len(arguments.rows)), strict=True):
                with torch.set_grad_enabled(compute is bfloat16.both):
                    row[f"{name}_us"] = gpu_microseconds(functools.partial(compute, function, inputs))
            rows.append(row)
            print(row, flush=True)
    return rows


def main(out: Path) -> None:
    """Time everything and write the figures."""
    device = torch.device("cuda")
    assert "cuda" in kernels.kernel_devices(), "the CUDA kernels are not loaded; `deepmix doctor` says why"
    copy_gbs = copy_gigabytes_per_second(device)
    rows: list[dict[str, Any]] = []
    parts: list[Callable[[], list[dict[str, Any]]]] = [
        lambda: call_rows(device),
        lambda: step_rows(device),
        lambda: statistics_rows(device),
        lambda: [mixture_row(device)],
        lambda: bfloat16_rows(device),
        lambda: operator_rows(device, copy_gbs),
    ]
    for part in parts:
        rows += part()
        out.write_text(json.dumps({"machine": machine(device), "copy_gbs": copy_gbs, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
