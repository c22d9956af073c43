"""The kernels' sources and how they are compiled, for setup.py and for compiling on first use.

Imports neither torch nor the rest of deepmix: setup.py runs it where torch may be missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

STABLE_ABI = "0x020a000000000000"
"""LibTorch's stable ABI as of torch 2.10, the first that has what the kernels use; later versions load it too."""


CUDA_ARCHITECTURES = ("80", "86", "89", "90", "100")
"""Ampere to Blackwell. Code for 80 also runs on later minor versions; the last one's PTX runs on later GPUs."""


def folder() -> Path:
    """Return the folder of the sources: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "csrc"
    return installed if installed.is_dir() else package.parent / "csrc"


def operator_sources(with_cuda: bool) -> list[Path]:
    """Return the files of the library, which holds the operators and is a Python module."""
    cpu = folder() / "cpu"
    files = [folder() / "ops.cpp", folder() / "module.cpp", cpu / "register.cpp", cpu / "run.cpp"]
    files += sorted(cpu.glob("level_*.cpp"))
    if with_cuda:
        files += sorted((folder() / "cuda").glob("*.cpp")) + sorted((folder() / "cuda").glob("*.cu"))
    return files


def source_hash() -> str:
    """Return a hash of all sources and flags."""
    digest = hashlib.sha256(" ".join(cpp_flags(digest=False) + cuda_flags()).encode())
    for path in sorted(folder().rglob("*")):
        if path.suffix in {".h", ".cpp", ".cu"}:
            digest.update(path.relative_to(folder()).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def built_from(with_cuda: bool) -> bytes:
    """Return the text that every library contains, so that one built from other sources is recognised."""
    return f"deepmix sources {source_hash()} for {'cuda' if with_cuda else 'cpu'}".encode()


def cpp_flags(*, with_cuda: bool = False, digest: bool = True) -> list[str]:
    """Return the C++ compiler's flags."""
    flags = ["-O3", "-std=c++20", "-fvisibility=hidden", "-fno-math-errno", "-Wall", "-Wextra"]
    flags += [f"-DTORCH_TARGET_VERSION={STABLE_ABI}"]
    if with_cuda:
        flags += ["-DUSE_CUDA"]
    if digest:
        flags += [f"-DDEEPMIX_SOURCE_HASH={source_hash()}", f"-DDEEPMIX_DEVICE={'cuda' if with_cuda else 'cpu'}"]
    return flags


def cuda_flags(architectures: Sequence[str] = CUDA_ARCHITECTURES) -> list[str]:
    """Return nvcc's flags for the GPUs of some architectures, and of later ones through the last one's PTX."""
    flags = ["-O3", "-std=c++20", "--extended-lambda", "--expt-relaxed-constexpr", "-Xcompiler=-fvisibility=hidden"]
    flags += [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in architectures]
    last = architectures[-1]
    return [*flags, f"-gencode=arch=compute_{last},code=compute_{last}", "-DUSE_CUDA"]
