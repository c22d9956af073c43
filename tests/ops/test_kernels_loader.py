"""The path the kernels take with each choice of DEEPMIX_BUILD, and on machines where something is missing."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from deepmix.errors import DeepmixError, UsageError
from deepmix.kernels import build, loader

LIBRARY = "_".join(filter(None, ["_ops", build.own_level()]))
"""Name of the library that is compiled on first use for the CPU."""


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Load as a new process with an empty cache does; operators that are loaded already stay loaded."""
    loader.load_kernels.cache_clear()
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    monkeypatch.setattr(loader, "_built_extension", lambda name, with_cuda: None)
    yield
    monkeypatch.undo()
    loader.load_kernels.cache_clear()


def test_none_runs_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPMIX_BUILD", "none")
    assert loader.load_kernels().path == "reference"
    assert loader.load_kernels().devices == frozenset()


def test_unknown_choice_lists_the_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPMIX_BUILD", "gpu")
    with pytest.raises(UsageError, match="choose one of: auto, cpu, cuda, none"):
        loader.load_kernels()


def test_without_a_compiler_the_reference_runs_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEEPMIX_BUILD", raising=False)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.warns(RuntimeWarning, match="'no-such-compiler' was not found; install one"):
        loaded = loader.load_kernels()
    assert loaded.path == "reference"
    loader.load_kernels()  # warns only once


def test_a_choice_that_cannot_be_met_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPMIX_BUILD", "cpu")
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UsageError, match="DEEPMIX_BUILD=cpu can't be met"):
        loader.load_kernels()
    monkeypatch.setenv("DEEPMIX_BUILD", "cuda")
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(UsageError, match="install a CUDA build"):
        loader.load_kernels()


def test_the_cache_is_keyed_by_torch_and_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    now = loader.cache_folder()
    monkeypatch.setattr(torch, "__version__", "9.9.9")
    assert loader.cache_folder() != now
    monkeypatch.undo()
    monkeypatch.setattr(build, "source_hash", lambda: "another")
    assert loader.cache_folder().name != now.name


def test_every_source_is_listed() -> None:
    listed = {path.name for path in build.operator_sources(with_cuda=True, with_nodes=True)}
    on_disk = {path.name for path in build.folder().rglob("*") if path.suffix in {".cpp", ".cu"}}
    assert listed == on_disk
    with_cuda = build.operator_sources(with_cuda=True, with_nodes=True)
    assert len({path.name for path in with_cuda}) == len(with_cuda)  # all objects are put in one folder
    suffixes = {path.suffix for path in build.folder().rglob("*") if path.is_file()}
    assert suffixes <= {".cpp", ".cu", ".h", ".sh"}  # any other file would be neither hashed nor installed


def broken(library: Path) -> Path:
    """Write a file that fails to load, as a library of another torch does, whose symbols are missing."""
    library.parent.mkdir(parents=True, exist_ok=True)
    library.write_bytes(b"\x7fELF")
    return library


def test_a_built_extension_that_does_not_load_is_compiled_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    library = broken(tmp_path / "_ops.abi3.so")
    compiled = []
    monkeypatch.setattr(loader, "_built_extension", lambda name, with_cuda: library)
    monkeypatch.setattr(loader, "_compile", lambda library, *a, **k: compiled.append(library.stem))
    monkeypatch.setenv("DEEPMIX_BUILD", "cpu")
    loaded = loader.load_kernels()
    assert compiled == [LIBRARY]
    assert loaded.path == "compiled on first use"
    assert loaded.reason.startswith("the extension built when deepmix was installed doesn't load")
    assert library.exists()  # whoever installed deepmix may delete it, we may not


def test_a_cached_library_that_does_not_load_is_compiled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    library = broken(loader.cache_folder() / f"{LIBRARY}.so")
    library.with_suffix(".ready").write_text(hashlib.sha256(library.read_bytes()).hexdigest())
    compiled = []
    monkeypatch.setattr(loader, "_compile", lambda library, *a, **k: compiled.append(library))
    monkeypatch.setenv("DEEPMIX_BUILD", "cpu")
    assert loader.load_kernels().path == "compiled on first use"
    assert compiled == [library]


def test_without_kernels_for_cuda_those_for_the_cpu_still_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_cpu_only(library: Path, sources: list[Path], with_cuda: bool) -> None:
        if with_cuda:
            raise RuntimeError("no cuda_runtime.h\nand more")

    monkeypatch.setattr(loader, "why_no_cuda", lambda: None)
    monkeypatch.setattr(loader, "_compile", compile_cpu_only)
    monkeypatch.delenv("DEEPMIX_BUILD", raising=False)
    with pytest.warns(RuntimeWarning, match=r"on the GPU: no cuda_runtime\.h$"):
        loaded = loader.load_kernels()
    assert (loaded.path, loaded.devices) == ("compiled on first use", frozenset({"cpu"}))
    assert loaded.reason == "no cuda_runtime.h"


def test_an_extension_built_with_cuda_needs_no_toolkit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    library = tmp_path / "_ops.abi3.so"
    monkeypatch.setattr(loader, "_built_extension", lambda name, with_cuda: library if with_cuda else None)
    monkeypatch.setattr(torch.ops, "load_library", lambda path: None)
    monkeypatch.setattr(loader, "why_no_cuda", lambda: "nvcc was not found")
    for choice in ("auto", "cuda"):
        monkeypatch.setenv("DEEPMIX_BUILD", choice)
        loader.load_kernels.cache_clear()
        assert loader.load_kernels().devices == frozenset({"cpu", "cuda"})
        assert loader.load_kernels().path == "ahead of time"


def test_a_built_extension_that_cannot_be_replaced_gives_way_to_the_reference(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    library = broken(tmp_path / "_ops.abi3.so")
    monkeypatch.setattr(loader, "_built_extension", lambda name, with_cuda: None if with_cuda else library)
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.delenv("DEEPMIX_BUILD", raising=False)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.warns(RuntimeWarning, match=r"doesn't load: .*; the C\+\+ compiler 'no-such-compiler' was not found"):
        assert loader.load_kernels().path == "reference"


def test_a_gpu_without_a_toolkit_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(loader, "why_no_cuda", lambda: "nvcc was not found")
    monkeypatch.setattr(loader, "_compile", lambda *a: None)
    monkeypatch.delenv("DEEPMIX_BUILD", raising=False)
    with pytest.warns(
        RuntimeWarning, match="plain PyTorch runs in place of the kernels on the GPU: nvcc was not found"
    ):
        assert loader.load_kernels().devices == frozenset({"cpu"})


def test_only_the_architectures_at_hand_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loader.gpu_architectures() == build.CUDA_ARCHITECTURES or torch.cuda.is_available()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: [(9, 0), (8, 6), (9, 0)][device])
    assert loader.gpu_architectures() == ("86", "90")
    flags = " ".join(build.cuda_flags(loader.gpu_architectures()))
    assert [part.split()[0] for part in flags.split(",code=")[1:]] == ["sm_86", "sm_90", "compute_90"]


def test_only_the_level_of_this_processor_is_compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DEEPMIX_SIMD", raising=False)
    monkeypatch.setattr(build, "PROCESSOR", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert build.own_level() is None  # unknown: all are compiled
    for flags, level in (("sse2", "baseline"), ("fma avx2", "avx2"), ("fma avx2 avx512f", "avx2")):
        build.PROCESSOR.write_text(f"processor : 0\nflags : {flags}\n")
        assert build.own_level() == level
        assert {path.stem for path in build.operator_sources(False, level) if "level" in path.stem} == {
            f"level_{level}"
        }
        assert f"-DDEEPMIX_ONLY_LEVEL={level.upper()}" in build.cpp_flags(level=level)
    monkeypatch.setenv("DEEPMIX_SIMD", "baseline")
    assert build.own_level() == "baseline"
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert build.own_level() == "baseline"


def test_the_library_tells_how_it_was_built(session_kernels: loader.Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "load_kernels", lambda: session_kernels)
    facts = loader.build_facts.__wrapped__()
    assert facts["simd"] in {"avx512", "avx2", "baseline"}
    assert facts["built_from"].encode() == build.built_from(with_cuda="cuda" in session_kernels.devices)


def test_a_library_of_another_python_tells_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kernels = loader.Kernels("ahead of time", frozenset({"cpu"}), broken(tmp_path / "_ops.so"), "")
    monkeypatch.setattr(loader, "load_kernels", lambda: kernels)
    with pytest.raises(DeepmixError, match=r"_ops\.so"):
        loader.build_facts.__wrapped__()
