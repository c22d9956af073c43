"""Odd surroundings: no home folder, a compiler that fails, closed streams, options of DEEPMIX_BUILD, signals."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest

from deepmix.cli.errors import Group
from deepmix.cli.stopping import exit_status
from deepmix.kernels import loader
from tests.cli.conftest import TINY, refuses
from tests.faults.kills import CONTEXT, call, contents, differences, work

QUICK = (*TINY, "--no-baselines", "--set", "encoder.hidden=16")
LONG_SEED = "12345678901234567890123"


@pytest.fixture
def fresh_loader():
    """Let the kernels be looked for again, and afterwards once more."""
    loader.load_kernels.cache_clear()
    yield loader
    loader.load_kernels.cache_clear()


def test_without_a_home_folder_the_reference_runs_and_doctor_says_why(deepmix, monkeypatch, fresh_loader):
    def fail() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
    monkeypatch.delenv("DEEPMIX_BUILD", raising=False)
    monkeypatch.setattr(loader, "_built_extension", lambda name, with_cuda: None)
    monkeypatch.setattr(Path, "home", fail)
    with pytest.warns(RuntimeWarning, match="you have no home folder to store kernels in; name a folder in TORCH"):
        assert loader.load_kernels().path == "reference"
    assert "cache          none: you have no home folder to store kernels in" in deepmix("doctor").stdout


def test_with_a_compiler_that_fails_the_reference_runs(monkeypatch, tmp_path, fresh_loader):
    from torch.utils import cpp_extension

    def fail(**options: Any) -> None:
        raise subprocess.CalledProcessError(1, ["/bin/false", "--version"])

    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    monkeypatch.delenv("DEEPMIX_BUILD", raising=False)
    monkeypatch.setattr(loader, "_built_extension", lambda name, with_cuda: None)
    monkeypatch.setattr(loader, "why_no_compiler", lambda: None)
    monkeypatch.setattr(cpp_extension, "load", fail)
    with pytest.warns(RuntimeWarning, match="plain PyTorch runs in place of the kernels: Command .*/bin/false"):
        assert loader.load_kernels().path == "reference"


def test_a_compiler_may_be_a_command_of_several_words(monkeypatch, tmp_path):
    """As 'ccache c++' is; torch gets a script that calls it, with the arguments that torch adds."""
    wrapper = tmp_path / "my ccache"
    wrapper.write_text('#!/bin/sh\necho "$@"\n')
    wrapper.chmod(0o700)
    monkeypatch.setenv("CXX", f"'{wrapper}' c++ -pipe")
    monkeypatch.setattr(loader.build.shutil, "which", lambda name: name if name in ("ninja", str(wrapper)) else None)
    assert loader.why_no_compiler() is None
    with loader.build.compiler_as_one_program():
        words = [os.environ["CXX"], "-c", "a b.cpp"]
        assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "c++ -pipe -c a b.cpp\n"
        assert os.environ["TORCH_NO_COMPILER_WRAPPER"] == "1"
    assert os.environ["CXX"] == f"'{wrapper}' c++ -pipe"
    assert "TORCH_NO_COMPILER_WRAPPER" not in os.environ
    assert not Path(words[0]).exists()


@pytest.mark.parametrize(
    ("command", "words"), [("no-such-ccache c++", "'no-such-ccache' was not found"), ("'c++", "CXX=''c++' is not a")]
)
def test_a_compiler_that_is_not_there(monkeypatch, command, words):
    monkeypatch.setenv("CXX", command)
    monkeypatch.setattr(loader.build.shutil, "which", lambda name: name if name == "ninja" else None)
    reason = loader.why_no_compiler()
    assert reason is not None
    assert words in reason


@pytest.mark.parametrize("model", ["mvae-emv2", "kmeans"])
@pytest.mark.parametrize(("wanted", "words"), [("gpu", "choose one of: auto, cpu"), ("cuda", "can't be met: torch")])
def test_a_build_that_cannot_be_met_is_noticed_before_a_folder_is_made(
    deepmix, monkeypatch, tmp_path, fresh_loader, model, wanted, words
):
    monkeypatch.setattr(loader.torch.version, "cuda", None)
    monkeypatch.setattr(loader, "_built_extension", lambda name, with_cuda: None)
    process = deepmix("train", "--model", model, "--out", "run", *TINY, env={"DEEPMIX_BUILD": wanted})
    refuses(process, 2, words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", [("train", "--out", "run"), ("sample", "run"), ("impute", "run", "rows.csv")])
def test_a_seed_of_23_digits_is_refused(deepmix, words):
    refuses(deepmix(*words, "--seed", LONG_SEED), 2, LONG_SEED)


def test_closed_streams_cost_nothing(tmp_path):
    """Files that are opened must not take the numbers of the closed streams."""
    words = [sys.executable, "-m", "deepmix", "train", "--out", str(tmp_path / "run"), *QUICK]
    words = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *words]
    assert subprocess.run(words, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["model"] == "mvae-emv2"
    assert (tmp_path / "run" / "metrics.json").is_file()


def work_with_small_files(words: list[str], log: str, n_bytes: int) -> None:
    """Be a process that runs `deepmix WORDS` and can't write larger files, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))
    work(words, log, 0, "")


def test_a_file_that_does_not_fit_is_a_sentence_and_the_run_resumes(tmp_path):
    """The checkpoint is the first file that is too large."""
    out, log = tmp_path / "run", tmp_path / "log.txt"
    words = ["train", "--out", str(out), *QUICK]
    process = CONTEXT.Process(target=work_with_small_files, args=(words, str(log), 50_000))
    process.start()
    process.join()
    assert process.exitcode == 1
    assert f"'{out}/checkpoint/state.safetensors': File too large; raise the file-size limit" in log.read_text()
    assert not list(out.rglob("*.part"))
    assert call(["train", "--resume", "--out", str(out), "--quiet"], log) == 0, log.read_text()
    assert call([*words[:2], str(tmp_path / "whole"), *words[3:]], log) == 0, log.read_text()
    assert differences(contents(out), contents(tmp_path / "whole")) == []


def test_a_place_without_room_for_a_folder_is_a_sentence(deepmix):
    refuses(deepmix("train", "--out", "/proc/run", *QUICK), 1, "can't write or read '/proc/run'", "check the path")


def compute(ready: Any, in_python: bool) -> None:
    """Be a command that computes in Python, which signals interrupt, or in a library, which they do not."""

    def busy() -> None:
        ready.set()
        if in_python:
            time.sleep(600)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # where the tests run in the background, it is ignored
    Group("main", commands={"busy": click.Command("busy", callback=busy)}).main(["busy"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("in_python", [True, False])
def test_a_signal_ends_a_command_also_inside_a_library(number, in_python):
    ready = CONTEXT.Event()
    process = CONTEXT.Process(target=compute, args=(ready, in_python))
    process.start()
    assert ready.wait(120)
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == exit_status(number)


def test_sigterm_leaves_a_run_that_resumes(tmp_path):
    log = tmp_path / "log.txt"
    words = ["train", "--out", str(tmp_path / "run"), *QUICK[:-2], "--epochs", "100000"]
    process = CONTEXT.Process(target=work, args=(words, str(log), 0, ""))
    process.start()
    while not (tmp_path / "run" / "checkpoint" / "state.safetensors").is_file():
        assert process.is_alive(), log.read_text()
        process.join(0.1)
    process.terminate()
    process.join()
    assert process.exitcode == exit_status(signal.SIGTERM)
    assert "Stopped; resume with: deepmix train --resume" in log.read_text()
    assert "Terminated." in log.read_text()
    assert json.loads((tmp_path / "run" / "config.json").read_text())["seed"] == 0
