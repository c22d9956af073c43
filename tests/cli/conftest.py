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
"""The same for a run that ends with its report."""

Done = subprocess.CompletedProcess[str]


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., Done]:
    """Run the real command as a process of its own, in an empty folder, one thread, no data folder."""

    def call(*args: object, env: dict[str, str] | None = None, **options: Any) -> Done:
        outer = {key: value for key, value in os.environ.items() if key != "DEEPMIX_DATA"}
        outer |= {"OMP_NUM_THREADS": "1", "COLUMNS": "110", **(env or {})}
        words = [sys.executable, "-m", "deepmix", *map(str, args)]
        return subprocess.run(words, cwd=tmp_path, env=outer, capture_output=True, text=True, check=False, **options)

    return call


@pytest.fixture
def deepmix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Run the command inside this process: the same code without the seconds its imports take."""

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
