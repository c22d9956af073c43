"""Kernels for the tests of this folder, and random arguments for them."""

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
def compiled() -> loader.Kernels:
    """The loaded kernels; tests are skipped only where none can be built.

    With DEEPMIX_TEST_CUDA_ON_CPU set they are those for CUDA, run on the CPU (csrc/cuda_on_cpu.sh).
    """
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        if "DEEPMIX_TEST_CUDA_ON_CPU" in os.environ:
            files, flags = [build.folder() / "ops.cpp", *sorted(CUDA_ON_CPU.glob("*.cpp"))], build.cpp_flags
            patch.setattr(build, "operator_sources", lambda with_cuda: files)
            patch.setattr(build, "cpp_flags", lambda **options: [*flags(**options), f"-I{CUDA_ON_CPU}"])
        loaded = loader.load_kernels()
        kernels.kernel_devices()
    if loaded.path == "reference":
        pytest.skip(f"no kernels to test: {loaded.reason}")
    return loaded


@pytest.fixture(params=["cpu", "cuda"] if torch.cuda.is_available() else None)
def device(request: pytest.FixtureRequest, compiled: loader.Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the operators are called: on the GPU too where there is one."""
    name = getattr(request, "param", "cpu")
    if name not in compiled.devices:
        pytest.skip(f"no kernels for {name}: {compiled.reason}")
    monkeypatch.setattr(oracle, "device", name)
