"""The path the kernels take with each choice of DEEPMIX_BUILD, and on machines where something is missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from deepmix.errors import DeepmixError, UsageError
from deepmix.kernels import build, loader


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
    listed = {path.name for path in (*build.operator_sources(with_cuda=True), *build.native_sources())}
    on_disk = {path.name for path in build.folder().rglob("*") if path.suffix in {".cpp", ".cu"}}
    assert listed == on_disk
    with_cuda = build.operator_sources(with_cuda=True)
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
    assert compiled == ["_ops"]
    assert loaded.path == "compiled on first use"
    assert loaded.reason.startswith("the extension built when deepmix was installed doesn't load")
    assert library.exists()  # whoever installed deepmix may delete it, we may not


def test_a_cached_library_that_does_not_load_is_compiled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    library = broken(loader.cache_folder() / "_ops.so")
    library.with_suffix(".ready").write_text("4")
    compiled = []
    monkeypatch.setattr(loader, "_compile", lambda library, *a, **k: compiled.append(library))
    monkeypatch.setenv("DEEPMIX_BUILD", "cpu")
    assert loader.load_kernels().path == "compiled on first use"
    assert compiled == [library]


def test_without_kernels_for_cuda_those_for_the_cpu_still_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_cpu_only(library: Path, sources: list[Path], with_cuda: bool, *, is_python_module: bool) -> None:
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


def test_a_module_for_numpy_that_does_not_load_is_compiled_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    library = broken(tmp_path / "_native.so")
    monkeypatch.setattr(loader, "_built_extension", lambda name, with_cuda: library)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(DeepmixError, match=r"can't be built: the C\+\+ compiler 'no-such-compiler' was not found"):
        loader.native.__wrapped__()
