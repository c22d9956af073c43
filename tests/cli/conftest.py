from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from deepmix.cli import main
from deepmix.contracts import descriptions, registry
from deepmix.experiment import declare_installed

WITH_REPORT = ("--init", "kmeans", "--epochs", "2", "--pretrain-epochs", "2", "--quiet")
"""Options that make a run take a second or two; its clusters mean nothing."""


TINY = (*WITH_REPORT, "--no-report", "--no-baselines")
"""The same options for a run without a report and without the plain methods beside it."""


COLUMNS = ["a", "b", "c", "d", "e", "f"]


HEADS = ("--head", "posterior", "--head", "gmm")


Done = subprocess.CompletedProcess[str]


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., Done]:
    """Run the real command as a separate process, in an empty folder, with one thread and no data folder."""

    def call(*args: object, env: dict[str, str] | None = None, **options: Any) -> Done:
        outer = {key: value for key, value in os.environ.items() if key != "DEEPMIX_DATA"}
        outer |= {"OMP_NUM_THREADS": "1", "COLUMNS": "110", **(env or {})}
        words = [sys.executable, "-m", "deepmix", *map(str, args)]
        return subprocess.run(words, cwd=tmp_path, env=outer, capture_output=True, text=True, check=False, **options)

    return call


@pytest.fixture
def deepmix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Run the command inside this process: the same code, without the seconds that its imports take."""

    def call(*args: object, env: dict[str, str] | None = None) -> Done:
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("DEEPMIX_DATA", raising=False)
        result = CliRunner(env={"COLUMNS": "110", **(env or {})}).invoke(main, [*map(str, args)], prog_name="deepmix")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return subprocess.CompletedProcess(args, result.exit_code, result.stdout, result.stderr)

    return call


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return a folder for other people's distributions."""
    return tmp_path / "site"


@pytest.fixture
def stranger(
    deepmix: Callable[..., Done], site: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Done]]:
    """Return the command where the distributions of `site` are installed; each call reads and imports them anew."""
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # whose age is only known to the second

    def call(*words: object, **env: str) -> Done:
        forget(site)
        return deepmix(*words, env=env)

    yield call
    forget(site)


def forget(site: Path) -> None:
    """Leave nothing in this process of what was read or imported from the distributions of a folder."""
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(site)):
            del sys.modules[name]
    importlib.invalidate_caches()
    for cached in (registry.read_entry_points, declare_installed, descriptions._read_file):
        cached.cache_clear()


@pytest.fixture
def blobs(tmp_path: Path) -> Path:
    """A CSV of three well-separated groups in six columns, with a column of label names."""
    random = np.random.default_rng(0)
    centres = np.repeat(np.eye(3, 6) * 12.0, 40, axis=0)
    rows = centres + random.normal(size=centres.shape)
    names = np.repeat(["ant", "bee", "cat"], 40)
    order = random.permutation(len(rows))
    lines = ["a,b,c,d,e,f,kind"]
    lines += [",".join([*(f"{value:.4f}" for value in rows[i]), names[i]]) for i in order]
    path = tmp_path / "blobs.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def refuses(process, status: int, *words: str) -> None:
    """Assert that a command failed with one sentence that contains the words."""
    assert process.returncode == status, process.stdout + process.stderr
    assert "Traceback" not in process.stderr
    for word in words:
        assert word in " ".join(process.stderr.split())


def train(*args: object, options: Sequence[str] = TINY) -> None:
    """Train inside this process."""
    result = CliRunner().invoke(main, ["train", *map(str, args), *options], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr


@pytest.fixture(autouse=True)
def _unjudged(monkeypatch):
    """Leave out the totals by `auto`'s criteria, which take a second per run; a test that wants them asks for them."""
    monkeypatch.setattr("deepmix.experiment.run.standard_judge", lambda: None)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Return a folder with three groups of rows, with names and labels, an array and bare, and a run on the first."""
    folder = tmp_path_factory.mktemp("after")
    random = np.random.default_rng(0)
    rows = np.eye(3, 6)[np.arange(120) % 3] * 12.0 + random.normal(size=(120, 6))
    lines = [",".join([*map(repr, row), ["ant", "bee", "cat"][i % 3]]) for i, row in enumerate(rows.tolist())]
    (folder / "rows.csv").write_text("\n".join([",".join([*COLUMNS, "kind"]), *lines]) + "\n")
    np.save(folder / "rows.npy", rows)
    np.savetxt(folder / "bare.csv", rows, delimiter=",")
    train("--dataset", folder / "rows.csv", "--label-column", "kind", *HEADS, "--out", folder / "run")
    return folder


@pytest.fixture(scope="module")
def array_run(place) -> Path:
    """Return a run on the same rows as an array, whose columns have no names and no kinds."""
    train("--dataset", place / "rows.npy", "--components", 3, "--out", place / "array-run")
    return place / "array-run"


@pytest.fixture(scope="module")
def seeds(place) -> tuple[Path, Path]:
    """Return two folders of three seeds each, on Digits."""
    for model in ("vade", "k-dvae-shared"):
        train("--model", model, "--seeds", 3, "--set", "encoder.hidden=16", "--out", place / model)
    return place / "vade", place / "k-dvae-shared"
