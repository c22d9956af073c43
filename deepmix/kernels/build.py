"""The kernels' sources and how they are compiled, for setup.py and for compiling on first use.

Imports neither torch nor the rest of deepmix: setup.py runs it where torch may be missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

STABLE_ABI = "0x020a000000000000"
"""LibTorch's stable ABI as of torch 2.10, the first that has what the kernels use; later versions load it too."""


TORCH_OF_NODES = "2.13."
"""Version of torch with which csrc/nodes.cpp has been tried."""


CUDA_ARCHITECTURES = ("80", "86", "89", "90", "100")
"""Ampere to Blackwell. Code for 80 also runs on later minor versions; the last one's PTX runs on later GPUs."""


LEVEL_FLAGS = {"avx512": {"avx512f", "avx512dq", "avx512bw", "avx512vl"}, "avx2": {"avx2", "fma"}}
"""SIMD levels above the baseline, best first, and the processor's features that each needs."""


PROCESSOR = Path("/proc/cpuinfo")


def compiler_words() -> list[str]:
    """Return the words of the C++ compiler's command: CXX may be a program's path, or a command such as 'ccache c++'.

    Raises:
        ValueError: CXX has a quote that is not closed.

    """
    command = os.environ.get("CXX") or "c++"
    return [command] if shutil.which(command) else shlex.split(command)


@contextlib.contextmanager
def compiler_as_one_program() -> Iterator[None]:
    """Put a script in the place of a compiler of several words, as torch takes CXX as the name of one program."""
    words = compiler_words()
    if len(words) == 1:
        yield
        return
    names = ("CXX", "TORCH_NO_COMPILER_WRAPPER")  # the second keeps torch from calling ccache once more
    before = {name: os.environ.get(name) for name in names}
    with tempfile.TemporaryDirectory(prefix="deepmix-compiler-") as directory:
        script = Path(directory) / "c++"
        script.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        script.chmod(0o700)
        os.environ.update(dict(zip(names, (str(script), "1"), strict=True)))
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value


def folder() -> Path:
    """Return the folder of the sources: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "csrc"
    return installed if installed.is_dir() else package.parent / "csrc"


def own_level() -> str | None:
    """Return the SIMD level that the kernels use on this machine; None where the system doesn't say what it has.

    This is the choice that csrc/cpu/run.cpp makes in a library that holds all levels.
    """
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return "baseline"
    try:
        lines = PROCESSOR.read_text().splitlines()
    except OSError:
        return None
    features = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    only = os.environ.get("DEEPMIX_SIMD")
    usable = (level for level, flags in LEVEL_FLAGS.items() if only in (None, level) and flags <= features)
    return next(usable, "baseline")


def takes_nodes(torch_version: str) -> bool:
    """Whether csrc/nodes.cpp is known to compile with this version of torch, whose classes for nodes change."""
    return torch_version.startswith(TORCH_OF_NODES)


def operator_sources(with_cuda: bool, level: str | None = None, with_nodes: bool = False) -> list[Path]:
    """Return the files of the library, which holds the operators and is a Python module.

    Args:
        with_cuda: whether it holds the CUDA kernels too.
        level: the only SIMD level; None: all, of which the library chooses one when it is used.
        with_nodes: whether it holds autograd nodes too, which tie it to one version of torch.

    """
    cpu = folder() / "cpu"
    files = [folder() / "ops.cpp", folder() / "module.cpp", cpu / "register.cpp", cpu / "run.cpp"]
    files += sorted(cpu.glob(f"level_{level or '*'}.cpp"))
    if with_nodes:
        files.append(folder() / "nodes.cpp")
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


def cpp_flags(*, with_cuda: bool = False, digest: bool = True, level: str | None = None) -> list[str]:
    """Return the C++ compiler's flags, for a library of one SIMD level or (None) of all."""
    flags = ["-O3", "-std=c++20", "-fvisibility=hidden", "-fno-math-errno", "-Wall", "-Wextra"]
    flags += [f"-DTORCH_TARGET_VERSION={STABLE_ABI}"]
    if with_cuda:
        flags += ["-DUSE_CUDA"]
    if level is not None:
        flags += [f"-DDEEPMIX_ONLY_LEVEL={level.upper()}"]
    if digest:
        flags += [f"-DDEEPMIX_SOURCE_HASH={source_hash()}", f"-DDEEPMIX_DEVICE={'cuda' if with_cuda else 'cpu'}"]
    return flags


def cuda_flags(architectures: Sequence[str] = CUDA_ARCHITECTURES) -> list[str]:
    """Return nvcc's flags for the GPUs of some architectures, and of later ones through the last one's PTX."""
    flags = ["-O3", "-std=c++20", "--extended-lambda", "--expt-relaxed-constexpr", "-Xcompiler=-fvisibility=hidden"]
    flags += [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in architectures]
    last = architectures[-1]
    return [*flags, f"-gencode=arch=compute_{last},code=compute_{last}", "-DUSE_CUDA"]
