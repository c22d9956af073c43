"""The time that a GPU itself takes for each operator, beside plain PyTorch and a copy of a gigabyte.

    python benchmarks/gpu_kernels.py OUT.json

`deepmix bench --device cuda` times whole calls, which small shapes spend on the CPU. Here the GPU is kept busy until a
call's launches are queued, and CUDA events time them; a call that launches more slowly than it runs still shows gaps.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from deepmix import kernels
from deepmix.bench import component_forms, kl_forms, machine, mixture_forms, sampled_forms

SHAPES: dict[str, tuple[Callable[..., Any], list[tuple[int, int, int]]]] = {
    "mixture_posterior": (mixture_forms, [(128, 10, 10), (8192, 10, 10), (65536, 10, 10), (8192, 100, 32)]),
    "sampled_mixture_posterior": (sampled_forms, [(128, 10, 10), (65536, 10, 10), (8192, 100, 32)]),
    "component_kl": (kl_forms, [(128, 10, 10), (65536, 10, 10)]),
    "component_log_prob": (component_forms(full=False), [(128, 10, 10), (100000, 10, 10), (100000, 100, 32)]),
    "component_log_prob_full": (component_forms(full=True), [(128, 10, 10), (100000, 10, 10)]),
}


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
            us = gpu_microseconds(lambda inputs=inputs: torch.ops.deepmix.mixture_statistics.default(*inputs), 7)
            row = {"op": "mixture_statistics", "covariance": covariance, "shape": (N, K, M), "kernel_us": us}
            rows.append(row)
            print(row, flush=True)
    return rows


def main(out: Path) -> None:
    """Time everything and write the figures."""
    device = torch.device("cuda")
    assert "cuda" in kernels.kernel_devices(), "the CUDA kernels are not loaded; `deepmix doctor` says why"
    copy_gbs = copy_gigabytes_per_second(device)
    rows = [*operator_rows(device, copy_gbs), *statistics_rows(device)]
    out.write_text(json.dumps({"machine": machine(device), "copy_gbs": copy_gbs, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
