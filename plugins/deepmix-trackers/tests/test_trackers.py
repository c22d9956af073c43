from __future__ import annotations

import importlib.util
import json
import sys
import types
from dataclasses import dataclass, field
from typing import Any

import pytest
from deepmix_trackers import MlflowTracker, TensorBoardTracker
from deepmix_trackers.figures import final_numbers, numbers, options

from deepmix.errors import DeepmixError, UsageError

CONFIG = {"dataset": "digits", "seed": 3, "resolved": {"model": {"latent_dim": 5, "likelihood": "gaussian"}}}
METRICS = {
    "heads": {"gmm": {"test": {"acc": 0.75, "silhouette": None, "sizes": [1, 2]}}},
    "elbo": {"test": -10.5},
    "seconds": 4.0,
    "warnings": ["none"],
}


def record(epoch: int, elbo: float) -> dict[str, Any]:
    return {"stage": "train", "epoch": epoch, "elbo": elbo, "lr": 0.01, "terms": {"kl": 2.0}, "objective": None}


def test_records_become_flat_numbers():
    assert numbers({"a": {"b": 1, "c": float("nan")}, "d": True, "e": [1], "f": 2.5}) == {"a.b": 1.0, "f": 2.5}
    assert final_numbers(METRICS) == {"heads.gmm.test.acc": 0.75, "elbo.test": -10.5, "seconds": 4.0}
    assert options(CONFIG) == {"dataset": "digits", "seed": 3, "model.latent_dim": 5, "model.likelihood": "gaussian"}


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_reads_the_epochs_of_an_interrupted_run_once(tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.summary.writer import event_file_writer

    # Files of one second and process are read in the order of their numbers as text, where 10 comes before 9.
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(100))
    first = TensorBoardTracker(TensorBoardTracker.Options())
    first.run_started(CONFIG, tmp_path)
    for epoch in (1, 2, 3):
        first.epoch("train", record(epoch, -100.0 + epoch))
    first.stopped("stopped by the user")
    resumed = TensorBoardTracker(TensorBoardTracker.Options())
    resumed.run_started(CONFIG, tmp_path)
    for epoch in (3, 4):
        resumed.epoch("train", record(epoch, -50.0 + epoch))
    resumed.finished(METRICS, tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard" / "train")).Reload()
    assert sorted(events.Tags()["scalars"]) == ["elbo", "lr", "terms.kl"]
    assert [(event.step, event.value) for event in events.Scalars("elbo")] == [(1, -99), (2, -98), (3, -47), (4, -46)]
    final = EventAccumulator(str(tmp_path / "tensorboard" / "final")).Reload()
    assert [event.value for event in final.Scalars("heads.gmm.test.acc")] == [0.75]


def test_tensorboard_needs_a_folder(monkeypatch):
    monkeypatch.setattr("deepmix_trackers.tensor_board.require_client", lambda *words: None)
    with pytest.raises(
        UsageError, match=r"a run in memory has no folder for event files; set tracker\.tensorboard\.folder"
    ):
        TensorBoardTracker(TensorBoardTracker.Options()).run_started(CONFIG, None)


@dataclass
class StandInServer:
    """Stands for an MLflow server: it remembers what its client logs."""

    params: dict[str, str] = field(default_factory=dict)
    values: list[tuple[str, float, int]] = field(default_factory=list)
    artifacts: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    experiments: list[str] = field(default_factory=list)


class StandInClient:
    """Stands for mlflow.MlflowClient, with the methods that the tracker calls."""

    server = StandInServer()

    def __init__(self, uri: str | None) -> None:
        assert uri == "http://server"

    def get_experiment_by_name(self, name: str) -> None:
        return None

    def create_experiment(self, name: str) -> str:
        self.server.experiments.append(name)
        return "7"

    def create_run(self, experiment_id: str, run_name: str | None) -> Any:
        assert experiment_id == "7"
        self.server.runs.append(str(run_name))
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id="run-1"))

    def update_run(self, run_id: str, status: str) -> None:
        self.server.statuses.append(status)

    def log_param(self, run_id: str, key: str, value: str) -> None:
        self.server.params[key] = value

    def log_metric(self, run_id: str, key: str, value: float, step: int = 0) -> None:
        assert run_id == "run-1"
        self.server.values.append((key, value, step))

    def log_artifact(self, run_id: str, path: str) -> None:
        self.server.artifacts.append(path)

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        self.server.params[key] = value

    def set_terminated(self, run_id: str, status: str) -> None:
        self.server.statuses.append(status)


@pytest.fixture
def server(monkeypatch) -> StandInServer:
    module = types.ModuleType("mlflow")
    module.MlflowClient = StandInClient  # type: ignore[attr-defined]
    module.__spec__ = importlib.util.spec_from_loader("mlflow", None)
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setattr(StandInClient, "server", StandInServer())
    return StandInClient.server


def test_mlflow_has_the_options_epochs_and_metrics_and_a_resumed_run_goes_on(server, tmp_path):
    settings = MlflowTracker.Options(uri="http://server")
    tracker = MlflowTracker(settings)
    tracker.run_started(CONFIG, tmp_path)
    tracker.epoch("train", record(1, -99.0))
    tracker.stopped("no space left")
    resumed = MlflowTracker(settings)
    resumed.run_started(CONFIG, tmp_path)
    (tmp_path / "metrics.json").write_text(json.dumps(METRICS))
    resumed.finished(METRICS, tmp_path)
    assert server.experiments == ["deepmix"]
    assert server.runs == [tmp_path.name], "a resumed run is the same run"
    assert server.params["model.latent_dim"] == "5"
    assert server.params["stopped"] == "no space left"
    assert ("train.elbo", -99.0, 1) in server.values
    assert ("final.heads.gmm.test.acc", 0.75, 0) in server.values
    assert server.artifacts == [str(tmp_path / "metrics.json")]
    assert server.statuses == ["FAILED", "RUNNING", "FINISHED"]


@pytest.mark.parametrize(("part", "module"), [(MlflowTracker, "mlflow"), (TensorBoardTracker, "tensorboard")])
def test_a_missing_client_is_named(monkeypatch, part, module):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DeepmixError, match=f"tracker '{module}' needs a package that is not installed; pip install"):
        part(part.Options())
