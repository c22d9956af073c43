"""Fixtures that load the kernels and choose the device for the tests in this folder."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
import torch

from deepmix import kernels
from deepmix.kernels import build, loader
from tests.ops import oracle

CUDA_ON_CPU = Path(__file__).parent / "cuda_on_cpu"


@pytest.fixture(scope="session", autouse=True)
def session_kernels() -> loader.Kernels:
    """Return the loaded kernels; skip the tests only if none can be built.

    If DEEPMIX_TEST_CUDA_ON_CPU is set, these are the CUDA kernels, compiled for the CPU (csrc/cuda_on_cpu.sh).
    """
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        if "DEEPMIX_TEST_CUDA_ON_CPU" in os.environ:
            files, flags = [build.folder() / "ops.cpp", *sorted(CUDA_ON_CPU.glob("*.cpp"))], build.cpp_flags
            patch.setattr(build, "operator_sources", lambda with_cuda, level, with_nodes: files)
            patch.setattr(
                build, "cpp_flags", lambda **options: [*flags(**options), f"-I{CUDA_ON_CPU}", "-Wno-unknown-pragmas"]
            )
        result = loader.load_kernels()
        kernels.kernel_devices()
    if result.path == "reference":
        pytest.skip(f"there are no kernels to test: {result.reason}")
    return result


@pytest.fixture(params=["cpu", "cuda"] if torch.cuda.is_available() else None)
def device(request: pytest.FixtureRequest, session_kernels: loader.Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the operators on the CPU and, if there is one, on the GPU too."""
    name = getattr(request, "param", "cpu")
    if name not in session_kernels.devices:
        pytest.skip(f"there are no kernels for {name}: {session_kernels.reason}")
    monkeypatch.setattr(oracle, "device", name)
