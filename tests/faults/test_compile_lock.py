"""A process killed while it compiles the kernels stops no other, and half a library is never loaded."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepmix.errors import DeepmixError
from deepmix.kernels import loader

CONTENT = b"a library"
COMPILING = """
import sys, time
from pathlib import Path
from deepmix.kernels import loader

loader.why_no_compiler = lambda: None

def load(name, build_directory, **others):
    Path(build_directory, "lock").touch()  # as torch's does
    Path(build_directory, f"{name}.so").write_bytes(b"a lib")
    print(build_directory, flush=True)
    time.sleep(600)

import torch.utils.cpp_extension
torch.utils.cpp_extension.load = load
loader._load_or_compile(loader.cache_folder() / "_ops.so", Path.read_bytes, [], False)
"""
"""A process in the middle of a compilation; prints where it compiles."""

Load = Callable[[], bytes]


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "kernels"))
    return loader.cache_folder() / "_ops.so"


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, library: Path) -> list[str]:
    """Replace torch's compiler with one that writes a library at once; return the folders it was called for."""
    from torch.utils import cpp_extension

    folders = []

    def compile_at_once(name: str, build_directory: str, **others: Any) -> bytes:
        folders.append(build_directory)
        Path(build_directory, f"{name}.so").write_bytes(CONTENT)
        return CONTENT

    monkeypatch.setattr(cpp_extension, "load", compile_at_once)
    monkeypatch.setattr(loader, "why_no_compiler", lambda: None)
    return folders


def load(library: Path) -> bytes:
    content: bytes = loader._load_or_compile(library, Path.read_bytes, [], with_cuda=False)
    return content


def start_compiling(library: Path) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen([sys.executable, "-c", COMPILING], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as output:
        folder = Path(output.readline().strip())
    assert (folder / "lock").is_file()
    return process, folder


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_after_a_kill_the_next_process_compiles_again(library, compiled, capfd, sent):
    process, abandoned = start_compiling(library)
    process.send_signal(sent)
    assert process.wait() == -sent
    assert abandoned.is_dir()
    assert load(library) == CONTENT
    assert len(compiled) == 1
    assert {path.name for path in library.parent.iterdir()} == {"_ops.so", "_ops.ready", "compiling.lock"}
    assert list(library.parent.parent.iterdir()) == [library.parent]  # the remains of the killed process are gone
    assert "another process" not in capfd.readouterr().err
    assert load(library) == CONTENT
    assert len(compiled) == 1


def test_another_process_waits_and_says_so_once(library, compiled, capfd):
    process, abandoned = start_compiling(library)
    results: list[bytes] = []
    waiting = threading.Thread(target=lambda: results.append(load(library)), daemon=True)
    waiting.start()
    waiting.join(timeout=1)
    assert waiting.is_alive()
    assert abandoned.is_dir()
    process.kill()
    process.wait()
    waiting.join(timeout=60)
    assert results == [CONTENT]
    assert capfd.readouterr().err.count("another process is compiling the kernels; waiting for it ...") == 1


def test_a_process_that_waited_takes_what_was_compiled_meanwhile(library, compiled):
    results: list[bytes] = []
    waiting = threading.Thread(target=lambda: results.append(load(library)), daemon=True)
    library.parent.mkdir(parents=True)
    with loader._compiling_alone(library.parent):
        waiting.start()
        waiting.join(timeout=1)
        assert waiting.is_alive()
        library.write_bytes(b"theirs")
        library.with_suffix(".ready").write_text(hashlib.sha256(b"theirs").hexdigest())
    waiting.join(timeout=60)
    assert results == [b"theirs"]
    assert compiled == []


def test_a_lock_file_of_torch_is_not_waited_for(library, compiled):
    """Versions of deepmix that compiled in the cache folder itself left this behind."""
    library.parent.mkdir(parents=True)
    (library.parent / "lock").touch()
    assert load(library) == CONTENT


@pytest.mark.parametrize("mark", [None, "", "9", "nine", hashlib.sha256(CONTENT + b"1").hexdigest()])
def test_half_a_library_is_compiled_again(library, compiled, mark):
    library.parent.mkdir(parents=True)
    library.write_bytes(CONTENT)
    if mark is not None:
        library.with_suffix(".ready").write_text(mark)
    loaded = []
    assert loader._load_or_compile(library, loaded.append, [], with_cuda=False) == CONTENT
    assert loaded == []
    assert len(compiled) == 1
    assert library.with_suffix(".ready").read_text() == f"{hashlib.sha256(CONTENT).hexdigest()}\n"


def test_a_library_that_does_not_load_is_not_put_in_the_cache(library, compiled, monkeypatch):
    from torch.utils import cpp_extension

    def fail(name: str, build_directory: str, **others: Any) -> None:
        Path(build_directory, f"{name}.so").write_bytes(CONTENT)
        raise ImportError("undefined symbol")

    monkeypatch.setattr(cpp_extension, "load", fail)
    with pytest.raises(ImportError, match="undefined symbol"):
        load(library)
    assert {path.name for path in library.parent.iterdir()} == {"compiling.lock"}
    assert list(library.parent.parent.iterdir()) == [library.parent]


@pytest.mark.parametrize("missing", ["module", "locks"])
def test_where_files_cannot_be_locked_the_kernels_are_compiled_all_the_same(library, compiled, monkeypatch, missing):
    if missing == "module":
        monkeypatch.setitem(sys.modules, "fcntl", None)
    else:
        import fcntl

        def refuse(file: Any, how: int) -> None:
            raise OSError(37, os.strerror(37))

        monkeypatch.setattr(fcntl, "flock", refuse)
    another = library.parent.with_name(f"{library.parent.name}.build-another")
    another.mkdir(parents=True)
    assert load(library) == CONTENT
    assert another.is_dir()  # a process may be compiling there


def test_without_a_compiler_nothing_is_locked_or_written(library, monkeypatch):
    monkeypatch.setattr(loader, "why_no_compiler", lambda: "no compiler")
    with pytest.raises(DeepmixError, match="no compiler"):
        load(library)
    assert not library.parent.exists()
