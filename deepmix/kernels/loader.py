"""Finds, builds and loads the compiled kernels, and says which path runs and why.

If an extension was built when deepmix was installed, it is loaded. Otherwise the sources are compiled once, on first
use, into a cache folder whose name depends on torch's version and the sources. If that is impossible too, the
reference runs. The environment variable DEEPMIX_BUILD chooses: `auto` (that order), `none` (the reference), `cpu` or
`cuda` (an error where it can't be met).

Every compilation works in a folder of its own, and the finished library is renamed into the cache, so a process that
is killed leaves nothing that another process would load or wait for. A lock of the operating system, which vanishes
with its process, keeps processes from compiling the same library at the same time. A library is loaded only if nobody
else can have written it (`trust`) and its bytes have the digest noted when it was compiled.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal, get_args

import torch

from deepmix.errors import DeepmixError, UsageError, unknown_choice
from deepmix.kernels import build
from deepmix.kernels.trust import is_own_file, why_untrusted

Choice = Literal["auto", "none", "cpu", "cuda"]


@dataclass(frozen=True)
class Kernels:
    """The kernels that were loaded, or the reference in their place."""

    path: Literal["ahead of time", "compiled on first use", "reference"]
    devices: frozenset[str]
    """Types of device that have kernels; on others the reference runs."""
    library: Path | None
    reason: str
    """Why this path was taken, in words."""


def choice() -> Choice:
    """Return what DEEPMIX_BUILD asks for."""
    value = os.environ.get("DEEPMIX_BUILD", "auto")
    for known in get_args(Choice):
        if value == known:
            return known
    raise unknown_choice("DEEPMIX_BUILD", value, get_args(Choice))


@functools.cache
def load_kernels() -> Kernels:
    """Load the operators, once per process.

    Raises:
        UsageError: this machine can't do what DEEPMIX_BUILD asks for.

    """
    request = choice()
    if request == "none":
        return Kernels("reference", frozenset(), None, "DEEPMIX_BUILD=none")
    has_cuda = why_no_cuda() is None or _built_extension("_ops", with_cuda=True) is not None
    failures = [str(why_no_cuda())] if request == "auto" and not has_cuda and torch.cuda.is_available() else []
    for with_cuda in {"cpu": [False], "cuda": [True]}.get(request, [True, False] if has_cuda else [False]):
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
    if request != "auto":
        raise UsageError(f"DEEPMIX_BUILD={request} can't be met: {reason}")
    warnings.warn(f"plain PyTorch runs in place of the kernels: {reason}", RuntimeWarning, stacklevel=2)
    return Kernels("reference", frozenset(), None, reason)


def _load(with_cuda: bool) -> Kernels:
    """Load the operators for the CPU and, if asked, for CUDA; a DeepmixError says why that is impossible."""
    devices = frozenset({"cpu", "cuda"} if with_cuda else {"cpu"})
    reason = f"no extension built from these sources for {'CUDA' if with_cuda else 'the CPU'} is installed"
    extension = _built_extension("_ops", with_cuda)
    if extension is not None:
        try:
            torch.ops.load_library(extension)
        except OSError as error:
            reason = f"the extension built when deepmix was installed doesn't load: {_first_line(error)}"
        else:
            return Kernels("ahead of time", devices, extension, "built when deepmix was installed")
    level = build.own_level()
    name = "_".join(["_ops", *(["cuda", *gpu_architectures()] if with_cuda else []), *([level] if level else [])])
    try:
        if with_cuda and (missing := why_no_cuda()) is not None:
            raise DeepmixError(missing)
        cached = cache_folder() / f"{name}.so"
        sources = build.operator_sources(with_cuda, level, with_nodes=build.takes_nodes(torch.__version__))
        _load_or_compile(cached, torch.ops.load_library, sources, with_cuda)
    except (RuntimeError, OSError, ImportError, subprocess.SubprocessError, DeepmixError) as error:
        raise DeepmixError(_first_line(error) if extension is None else f"{reason}; {_first_line(error)}") from error
    return Kernels("compiled on first use", devices, cached, reason)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


@functools.cache
def build_facts() -> dict[str, str]:
    """Return the instruction set in use, the compiler, and the sources of the loaded library; empty without one.

    Raises:
        DeepmixError: the library was built for another Python.

    """
    library = load_kernels().library
    if library is None:
        return {}
    spec = importlib.util.spec_from_file_location("_ops", library)
    assert spec is not None
    assert spec.loader is not None
    try:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except ImportError as error:
        raise DeepmixError(_first_line(error)) from error
    facts: dict[str, str] = module.build_facts()
    return facts


def _built_extension(name: str, with_cuda: bool) -> Path | None:
    """Return the extension that setup.py built from the sources as they are now, if there is one."""
    mark = build.built_from(with_cuda)
    for library in sorted(Path(__file__).parents[1].glob(f"{name}.*so")):
        if mark in library.read_bytes():
            return library
    return None


def _load_or_compile(library: Path, load: Callable[[Path], Any], sources: list[Path], with_cuda: bool) -> Any:
    """Load a library from the cache; compile it if the cache has none that is whole and loads here.

    Args:
        library: where the cache keeps it.
        load: loads it; raises OSError where it can't.
        sources: the files it is compiled from.
        with_cuda: whether nvcc compiles some of them.

    Returns:
        What `load` or torch's builder returns.

    """
    if (fault := why_untrusted(library.parent)) is not None:
        raise DeepmixError(fault)
    with contextlib.suppress(OSError):
        if _is_whole(library):
            return load(library)
    if (missing := why_no_compiler()) is not None:
        raise DeepmixError(missing)
    library.parent.parent.mkdir(parents=True, exist_ok=True)
    library.parent.mkdir(mode=0o700, exist_ok=True)
    with _compiling_alone(library.parent):
        with contextlib.suppress(OSError):
            if _is_whole(library):  # another process has compiled it meanwhile
                return load(library)
        return _compile(library, sources, with_cuda)


def _is_whole(library: Path) -> bool:
    """Whether the mark beside a library says that it is finished, and holds the digest of the bytes that it has."""
    try:
        return is_own_file(library) and _digest(library) == _mark(library).read_text("ascii").strip()
    except (OSError, ValueError):
        return False


def _digest(library: Path) -> str:
    with library.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _mark(library: Path) -> Path:
    return library.with_suffix(".ready")


@contextlib.contextmanager
def _compiling_alone(folder: Path) -> Iterator[None]:
    """Hold the cache folder's lock, waiting for the process that has it; the system frees it when its holder ends."""
    with (folder / "compiling.lock").open("w") as file:
        if _lock(file):
            for abandoned in folder.parent.glob(_build_folders(folder) + "*"):
                shutil.rmtree(abandoned, ignore_errors=True)
        yield


def _lock(file: IO[str]) -> bool:
    """Lock a file until it is closed, waiting if need be; return whether this system and disk can lock files."""
    try:
        import fcntl  # POSIX only
    except ImportError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("deepmix: another process is compiling the kernels; waiting for it ...", file=sys.stderr, flush=True)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:  # some network disks have no locks; processes then compile side by side
        return False
    return True


def _build_folders(folder: Path) -> str:
    """Return how the names of the folders begin in which the libraries of a cache folder are compiled."""
    return f"{folder.name}.build-"


def _compile(library: Path, sources: list[Path], with_cuda: bool) -> Any:
    """Compile a library in a new folder, load it and rename it into the cache."""
    from torch.utils import cpp_extension  # slow to import, and rarely needed

    name, cache = library.stem, library.parent
    print(f"deepmix: compiling {name} once, about a minute ...", file=sys.stderr, flush=True)
    with (
        tempfile.TemporaryDirectory(
            prefix=_build_folders(cache), dir=cache.parent, ignore_cleanup_errors=True
        ) as folder,
        _ninja_on_path(),
        build.compiler_as_one_program(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        loaded = cpp_extension.load(
            name=name,
            sources=[str(path) for path in sources],
            extra_cflags=build.cpp_flags(with_cuda=with_cuda, level=build.own_level()),
            extra_cuda_cflags=build.cuda_flags(gpu_architectures()),
            build_directory=folder,
            with_cuda=with_cuda,
            is_python_module=False,
        )
        with (Path(folder) / f"{name}.so").open("rb+") as built:
            os.fsync(built.fileno())  # the mark must not reach the disk before the library
        digest = _digest(Path(built.name))
        os.chmod(built.name, 0o700)
        os.replace(built.name, library)
        _mark(library).write_text(f"{digest}\n")
    return loaded


@contextlib.contextmanager
def _ninja_on_path() -> Iterator[None]:
    """Let torch find ninja in an environment that has not been activated."""
    path = os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join([path, sysconfig.get_path("scripts")])
    try:
        yield
    finally:
        os.environ["PATH"] = path


def cache_folder() -> Path:
    """Return where kernels compiled on first use are kept: one folder per torch version, Python and sources."""
    root = os.environ.get("TORCH_EXTENSIONS_DIR")
    try:
        base = Path(root) if root else Path.home() / ".cache" / "torch_extensions"
    except RuntimeError as error:  # the user has no home folder
        raise DeepmixError(
            "you have no home folder to store kernels in; name a folder in TORCH_EXTENSIONS_DIR"
        ) from error
    key = f"{torch.__version__} {sys.implementation.cache_tag} {build.source_hash()}"
    return base / f"deepmix-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def gpu_architectures() -> tuple[str, ...]:
    """Return the architectures of the GPUs that are visible here, or all that are supported if there are none.

    Compiling for one takes a fraction of the time that compiling for all does.
    """
    devices = range(torch.cuda.device_count())
    capabilities = sorted({torch.cuda.get_device_capability(device) for device in devices})
    return tuple(f"{major}{minor}" for major, minor in capabilities) or build.CUDA_ARCHITECTURES


def why_no_compiler() -> str | None:
    """Return what is missing to compile on first use, with the cure; None if nothing is."""
    if not build.folder().is_dir():
        return "the kernels' sources are missing; install deepmix again"
    with _ninja_on_path():
        ninja = shutil.which("ninja")
    if ninja is None:
        return "ninja was not found; install it with 'pip install ninja'"
    try:
        compiler = build.compiler_words()[0]
    except (ValueError, IndexError):
        return f"CXX='{os.environ['CXX']}' is not a command; name the C++ compiler in CXX"
    if shutil.which(compiler) is None:
        return f"the C++ compiler '{compiler}' was not found; install one, or name it in CXX"
    return None


def why_no_cuda() -> str | None:
    """Return what is missing for the kernels on CUDA, with the cure; None if nothing is."""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA; install a CUDA build of it"
    if shutil.which("nvcc") is None and "CUDA_HOME" not in os.environ:
        return "nvcc was not found; install the CUDA toolkit and put it on the PATH, or set CUDA_HOME"
    return None
