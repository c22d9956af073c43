"""Finds, builds and loads the compiled kernels, and says which path runs and why.

An extension built when deepmix was installed is taken where there is one; otherwise the sources are
compiled once, on first use, into a cache keyed by torch's version and the sources; where neither can be,
the reference runs. The environment variable DEEPMIX_BUILD chooses: `auto` (that order), `none` (the
reference), `cpu` or `cuda` (an error where it can't be met).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import shutil
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Literal, get_args

import torch

from deepmix.errors import DeepmixError, UsageError, unknown_choice
from deepmix.kernels import build

Choice = Literal["auto", "none", "cpu", "cuda"]


@dataclass(frozen=True)
class Kernels:
    """What was loaded."""

    path: Literal["ahead of time", "compiled on first use", "reference"]
    devices: frozenset[str]
    """Device types with kernels; on others the reference runs."""
    library: Path | None
    reason: str
    """Why this path, in words."""


def choice() -> Choice:
    """Return what DEEPMIX_BUILD asks for."""
    wanted = os.environ.get("DEEPMIX_BUILD", "auto")
    for known in get_args(Choice):
        if wanted == known:
            return known
    raise unknown_choice("DEEPMIX_BUILD", wanted, get_args(Choice))


@functools.cache
def load_kernels() -> Kernels:
    """Load the operators, once in this process.

    Raises:
        UsageError: DEEPMIX_BUILD asks for what this machine can't do.

    """
    wanted = choice()
    if wanted == "none":
        return Kernels("reference", frozenset(), None, "DEEPMIX_BUILD=none")
    has_cuda = why_no_cuda() is None or _built_extension("_ops", with_cuda=True) is not None
    failures: list[str] = []
    for with_cuda in {"cpu": [False], "cuda": [True]}.get(wanted, [True, False] if has_cuda else [False]):
        try:
            loaded = _load(with_cuda)
        except DeepmixError as error:
            failures.append(str(error))
            continue
        if failures:
            message = f"plain PyTorch runs in place of the kernels on the GPU: {failures[0]}"
            warnings.warn(message, RuntimeWarning, stacklevel=2)
            loaded = replace(loaded, reason=failures[0])
        return loaded
    reason = "; ".join(dict.fromkeys(failures))
    if wanted != "auto":
        raise UsageError(f"DEEPMIX_BUILD={wanted} can't be met: {reason}")
    warnings.warn(f"plain PyTorch runs in place of the kernels: {reason}", RuntimeWarning, stacklevel=2)
    return Kernels("reference", frozenset(), None, reason)


def _load(with_cuda: bool) -> Kernels:
    """Load the operators for the CPU, and for CUDA too; a DeepmixError says why that can't be done."""
    devices = frozenset({"cpu", "cuda"} if with_cuda else {"cpu"})
    reason = f"no extension built from these sources for {'CUDA' if with_cuda else 'the CPU'} is installed"
    built = _built_extension("_ops", with_cuda)
    if built is not None:
        try:
            torch.ops.load_library(built)
        except OSError as error:
            reason = f"the extension built when deepmix was installed doesn't load: {_first_line(error)}"
        else:
            return Kernels("ahead of time", devices, built, "built when deepmix was installed")
    name = "_ops_cuda" if with_cuda else "_ops"
    try:
        if with_cuda and (missing := why_no_cuda()) is not None:
            raise DeepmixError(missing)
        cached = cache_folder() / f"{name}.so"
        if not _load_cached(cached):
            _compile(name, build.operator_sources(with_cuda), with_cuda, is_python_module=False)
    except (RuntimeError, OSError, ImportError, DeepmixError) as error:
        raise DeepmixError(_first_line(error) if built is None else f"{reason}; {_first_line(error)}") from error
    return Kernels("compiled on first use", devices, cached, reason)


def _load_cached(library: Path) -> bool:
    """Load a library from the cache, if it is whole; one that doesn't load is deleted, to be compiled again."""
    if not _is_ready(library):
        return False
    try:
        torch.ops.load_library(library)
    except OSError:
        library.with_suffix(".ready").unlink(missing_ok=True)
        library.unlink(missing_ok=True)
        return False
    return True


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


@functools.cache
def native() -> ModuleType:
    """Return the module for NumPy callers and build facts, building it if need be.

    Raises:
        DeepmixError: it can't be built here.

    """
    for library in (_built_extension("_native", with_cuda=False), cache_folder() / "_native.so"):
        if library is not None and (library.parent != cache_folder() or _is_ready(library)):
            with contextlib.suppress(ImportError):  # of another Python, or damaged
                return _import(library)
    try:
        return _compile("_native", build.native_sources(), with_cuda=False, is_python_module=True)
    except (RuntimeError, OSError, ImportError, DeepmixError) as error:
        raise DeepmixError(f"the module for NumPy can't be built: {_first_line(error)}") from error


def _import(library: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("_native", library)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _built_extension(name: str, with_cuda: bool) -> Path | None:
    """Return the extension that setup.py built from these very sources, if any."""
    mark = build.built_from(with_cuda)
    for library in sorted(Path(__file__).parents[1].glob(f"{name}.*so")):
        if mark in library.read_bytes():
            return library
    return None


def _is_ready(library: Path) -> bool:
    return library.with_suffix(".ready").exists()


def _compile(name: str, files: list[Path], with_cuda: bool, *, is_python_module: bool) -> ModuleType:
    """Compile a library into the cache and load it; processes wait for each other."""
    if (missing := why_no_compiler()) is not None:
        raise DeepmixError(missing)
    from torch.utils import cpp_extension  # slow to import, and rarely needed

    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    print(f"deepmix: compiling {name} once, about a minute ...", file=sys.stderr, flush=True)
    with _ninja_on_path(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = cpp_extension.load(
            name=name,
            sources=[str(path) for path in files],
            extra_cflags=build.cpp_flags(with_cuda=with_cuda),
            extra_cuda_cflags=build.cuda_flags(),
            build_directory=str(folder),
            with_cuda=with_cuda,
            is_python_module=is_python_module,
        )
    (folder / f"{name}.ready").touch()
    return module


@contextlib.contextmanager
def _ninja_on_path() -> Iterator[None]:
    """Let torch find the ninja of an environment that is used without being activated."""
    path = os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join([path, sysconfig.get_path("scripts")])
    try:
        yield
    finally:
        os.environ["PATH"] = path


def cache_folder() -> Path:
    """Return where kernels compiled on first use are kept: one folder a torch version, Python and source."""
    root = os.environ.get("TORCH_EXTENSIONS_DIR")
    base = Path(root) if root else Path.home() / ".cache" / "torch_extensions"
    key = f"{torch.__version__} {sys.implementation.cache_tag} {build.source_hash()}"
    return base / f"deepmix-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def why_no_compiler() -> str | None:
    """Return what compiling on first use lacks, with the cure, or None."""
    if not build.folder().is_dir():
        return "the kernels' sources are missing; install deepmix again"
    with _ninja_on_path():
        ninja = shutil.which("ninja")
    if ninja is None:
        return "ninja was not found; install it with 'pip install ninja'"
    compiler = os.environ.get("CXX", "c++")
    if shutil.which(compiler) is None:
        return f"the C++ compiler '{compiler}' was not found; install one, or name it in CXX"
    return None


def why_no_cuda() -> str | None:
    """Return what kernels for CUDA lack, with the cure, or None."""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA; install a CUDA build of it"
    if shutil.which("nvcc") is None and "CUDA_HOME" not in os.environ:
        return "nvcc was not found; install the CUDA toolkit and put it on the PATH, or set CUDA_HOME"
    return None
