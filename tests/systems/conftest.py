from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepmix.contracts import Model
from deepmix.data import Split
from deepmix.experiment import ExperimentConfig, build_model, prepare_experiment, resolve, run_experiment
from deepmix.runs import RunFolder
from deepmix.training import SilentReporter

N_COLUMNS, N_COMPONENTS = 6, 4


class NoteKeeper(SilentReporter):
    """A reporter that keeps the notes of a run."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run a whole experiment, by default on Digits, and return the contents of metrics.json."""

    def call(model: str, *, settings: dict[str, str] | None = None, **config: Any) -> dict[str, Any]:
        prepared = prepare_experiment(ExperimentConfig(model=model, settings=settings or {}, **config))
        folder = RunFolder.create(tmp_path / f"run-{len(list(tmp_path.iterdir()))}", overwrite=False)
        return run_experiment(prepared, folder, NoteKeeper()).metrics.to_json()

    return call


@pytest.fixture
def small_model() -> Callable[..., Model]:
    """Build a model for six columns and four components."""

    def call(model: str, *, n_columns: int = N_COLUMNS, likelihood: str = "bernoulli", **settings: str) -> Model:
        parts = resolve(ExperimentConfig(model=model, settings={"latent_dim": "2", **settings}))
        x = np.zeros((8, n_columns), np.float32)
        split = Split(x, np.arange(6), np.arange(6, 8), None, likelihood, "")
        return build_model(parts, split, N_COMPONENTS, seed=0)

    return call
