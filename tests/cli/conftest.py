from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from deepmix.cli import main

TINY = ("--init", "kmeans", "--epochs", "2", "--pretrain-epochs", "2", "--quiet", "--no-report")
"""Options that make a run take a second; its clusters mean nothing."""


WITH_REPORT = TINY[:-1]
"""The same options for a run that ends with its report."""


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


def train(*args: object) -> None:
    result = CliRunner().invoke(main, ["train", *map(str, args), *TINY], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr


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
