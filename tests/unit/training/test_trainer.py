from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from deepmix.contracts import Model
from deepmix.data import Split
from deepmix.errors import DeepmixError, UsageError
from deepmix.experiment import (
    Experiment,
    ExperimentConfig,
    build_model,
    prepare_experiment,
    requested_of,
    resolve,
    run_experiment,
)
from deepmix.maths import Inference
from deepmix.runs import EpochRecord, RunConfig, RunFolder, summarize
from deepmix.training import SilentReporter, TrainingOptions, diagnose, start_lr, trainer
from deepmix.training.diagnosis import components_in_use
from deepmix.training.schedule import epoch_seed

N_ROWS, N_TRAIN = 60, 48


class PowerCutError(Exception):
    """An exception that stands for a power cut."""


class Listener(SilentReporter):
    """A reporter that keeps what a run reports, and stops it after a number of epochs."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.epochs: list[EpochRecord] = []
        self.notes: list[str] = []
        self.steps: list[tuple[str, str]] = []
        self.stop_after = stop_after

    def epoch(self, stage: str, row: EpochRecord) -> None:
        self.epochs.append(row)
        if len(self.epochs) == self.stop_after:
            raise PowerCutError

    def start(self, stage: str, n_epochs: int) -> None:
        self.stage = stage

    def step(self, name: str, fraction: float) -> None:
        self.steps.append((self.stage, name))

    def note(self, text: str) -> None:
        self.notes.append(text)


def small_experiment(scale: float = 1.0, **settings: str) -> Experiment:
    """Return a trainer on three groups in four columns; by default it pretrains for two epochs and trains for four."""
    settings = {"pretrain_epochs": "2", "epochs": "4", "batch_size": "16", "latent_dim": "2", **settings}
    config = ExperimentConfig(init="kmeans", seed=5, settings=settings)
    random = np.random.default_rng(0)
    labels = np.arange(N_ROWS) % 3
    x = (scale * (np.eye(3, 4)[labels] * 6.0 + random.normal(size=(N_ROWS, 4)))).astype(np.float32)
    split = Split(x, np.arange(N_TRAIN), np.arange(N_TRAIN, N_ROWS), labels, "gaussian", "made up")
    return Experiment(config, resolve(config), split, 3, torch.device("cpu"))


def small_model() -> Model:
    of = small_experiment()
    return build_model(of.parts, of.split, 3, seed=0)


def run(folder: Path, of: Experiment, *, resume: bool = False, stop_after: int | None = None) -> Listener:
    listener = Listener(stop_after)
    place = RunFolder(folder) if resume else RunFolder.create(folder, overwrite=False)
    run_experiment(of, place, listener, resume=resume)
    return listener


def test_the_steps_of_an_initial_clustering_are_steps_of_its_stage(tmp_path):
    of = small_experiment()
    of = dataclasses.replace(of, config=(config := dataclasses.replace(of.config, init="auto")), parts=resolve(config))
    steps = run(tmp_path / "run", of).steps
    assert steps[0] == ("initial clustering", "kmeans")
    assert ("initial clustering", "criteria") in steps
    assert {stage for stage, _ in steps} == {"initial clustering"}


GROWING = {"hold": "0", "anchor": "0.01"}
"""Options with which rows leave their initial clusters, so that the anchor grows."""

PLATEAU = {"pretrain_epochs": "auto", "plateau": "0.02", "lr": "1e-9"}
"""Options with which pretraining has 167 epochs, and stops after the four that follow the first."""


@pytest.mark.parametrize(
    "settings", [{}, {"patience": "2"}, GROWING, PLATEAU], ids=["plain", "patience", "growing anchor", "plateau"]
)
@pytest.mark.parametrize("stops", [(1,), (2,), (3,), (5,), (1, 3)], ids=str)
@pytest.mark.parametrize("seconds", [-1.0, 60.0], ids=["checkpoint each epoch", "checkpoint each stage"])
def test_resumed_run_has_the_bits_of_the_whole_one(tmp_path, monkeypatch, stops, settings, seconds):
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", seconds)
    of = small_experiment(**settings)
    run(tmp_path / "whole", of)
    for index, stop in enumerate(stops):
        with pytest.raises(PowerCutError):
            run(tmp_path / "cut", of, resume=index > 0, stop_after=stop)
    run(tmp_path / "cut", of, resume=True)
    for name in ("model.safetensors", "assignments.csv"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    rows = [
        [
            {key: value for key, value in json.loads(line).items() if key not in ("seconds", "checksum")}
            for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        ]
        for name in ("whole", "cut")
    ]
    assert rows[0] == rows[1]


def test_finished_run_is_resumed_without_training_and_keeps_its_seconds(tmp_path):
    of = small_experiment(epochs="30")
    run(tmp_path / "run", of)
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    trained = sum(json.loads(line)["seconds"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert run(tmp_path / "run", of, resume=True).epochs == []
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["seconds"] > trained


def test_resume_refuses_other_data(tmp_path):
    run(tmp_path / "run", small_experiment())
    with pytest.raises(UsageError, match="the data are not those"):
        run(tmp_path / "run", small_experiment(scale=1.5), resume=True)


def test_checkpoint_of_another_model_is_refused(tmp_path):
    run(tmp_path / "run", small_experiment())
    with pytest.raises(DeepmixError, match=r"does not fit its config\.json"):
        run(tmp_path / "run", small_experiment(latent_dim="3"), resume=True)


def test_training_raises_the_bound_and_finds_the_groups(tmp_path):
    listener = run(tmp_path / "run", small_experiment(epochs="40", pretrain_epochs="40"))
    elbo = [row.elbo for row in listener.epochs if row.stage == "train"]
    assert elbo[-1] > elbo[0] + 1.0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["heads"]["posterior"]["test"]["acc"] == 1.0
    assert metrics["warnings"] == []
    parts = metrics["elbo_parts"]["test"]
    assert parts["elbo"] == pytest.approx(
        parts["reconstruction"] - parts["kl_latent"] - parts["kl_assignment"], abs=1e-4
    )


def test_learning_rate_falls_to_its_last_part(tmp_path):
    listener = run(tmp_path / "run", small_experiment(lr="0.01", lr_decay="0.25"))
    rates = [row.lr for row in listener.epochs if row.stage == "train"]
    np.testing.assert_allclose(rates, [0.01 * 0.25 ** (epoch / 4) for epoch in range(4)])


@pytest.mark.parametrize(("settings", "rate"), [({}, 0.006), ({"encoder.hidden": "256-256"}, 0.002)])
def test_the_automatic_learning_rate_is_larger_for_narrow_networks(tmp_path, settings, rate):
    listener = run(tmp_path / "run", small_experiment(epochs="1", pretrain_epochs="1", **settings))
    assert [row.lr for row in listener.epochs] == pytest.approx([rate, rate])
    assert RunFolder(tmp_path / "run").read(RunConfig).resolved["training"]["lr"] == pytest.approx(rate)


def test_divergence_names_the_epoch_and_keeps_the_last_good_checkpoint(tmp_path):
    of = small_experiment(scale=1e18)
    with pytest.raises(DeepmixError, match=r"training diverged in epoch 1 \(pretrain\).*smaller lr,"):
        run(tmp_path / "run", of)
    assert not (tmp_path / "run" / "checkpoint").exists()


def test_patience_stops_early_and_says_so(tmp_path):
    listener = run(tmp_path / "run", small_experiment(epochs="400", patience="2", lr="1e-9"))
    assert any("stopped early" in note for note in listener.notes)
    assert len(listener.epochs) < 100


def test_pretraining_stops_where_it_gains_nothing(tmp_path):
    listener = run(tmp_path / "run", small_experiment(**PLATEAU))
    assert [row.stage for row in listener.epochs] == ["pretrain"] * 5 + ["train"] * 4
    assert TrainingOptions(pretrain_epochs=9).most_stale_epochs("pretrain", 9) is None


def test_bf16_trains(tmp_path):
    listener = run(tmp_path / "run", small_experiment(precision="bf16"))
    assert np.isfinite(listener.epochs[-1].elbo)


@pytest.mark.parametrize(
    ("n_rows", "epochs"), [(1527, 42), (128, 500), (60000, 30)], ids=["Digits", "one batch", "MNIST"]
)
def test_automatic_epochs_give_enough_of_both(n_rows, epochs):
    assert TrainingOptions().n_epochs("train", n_rows) == epochs
    assert TrainingOptions(pretrain_epochs=0).n_epochs("pretrain", n_rows) == 0


@pytest.mark.parametrize(
    ("n_rows", "batch", "growth"),
    [
        (1, 128, 1.0),
        (65536, 128, 1.0),
        (65537, 256, math.sqrt(2)),
        (131073, 512, 2.0),
        (10**7, 1024, math.sqrt(8)),
    ],
)
def test_automatic_batches_grow_with_the_rows_and_the_rate_with_the_batches(n_rows, batch, growth):
    model = small_model()
    assert TrainingOptions().rows_per_update(n_rows) == batch
    assert start_lr(model, TrainingOptions(), n_rows) == pytest.approx(growth * start_lr(model, TrainingOptions(), 1))


def test_the_users_batch_and_rate_are_used_as_they_are():
    model = small_model()
    assert TrainingOptions(batch_size=7).rows_per_update(10**7) == 7
    assert start_lr(model, TrainingOptions(batch_size=1024), 10**7) == start_lr(model, TrainingOptions(), 1)
    assert start_lr(model, TrainingOptions(lr=0.3), 10**7) == 0.3


@pytest.mark.parametrize(
    "bad",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"lr": float("nan")},
        {"lr": 0.0},
        {"lr_decay": 0.0},
        {"patience": 0},
        {"plateau": 2.0},
    ],
)
def test_bad_options(bad):
    with pytest.raises(UsageError, match=next(iter(bad))):
        TrainingOptions(**bad)


def test_epoch_seeds_differ_by_seed_stage_and_epoch():
    seeds = {epoch_seed(s, stage, e) for s in range(3) for stage in ("pretrain", "train", "evaluate") for e in range(9)}
    assert len(seeds) == 81


def test_components_in_use_have_a_tenth_of_an_equal_share():
    assert components_in_use(torch.tensor([50, 50])) == 2
    assert components_in_use(torch.tensor([95, 5])) == 2
    assert components_in_use(torch.tensor([96, 4])) == 1
    assert components_in_use(torch.tensor([3, 0, 0])) == 1


def certain(labels: np.ndarray, n_components: int, probability: float) -> np.ndarray:
    q = np.full((len(labels), n_components), (1.0 - probability) / (n_components - 1))
    q[np.arange(len(labels)), labels] = probability
    return np.log(q)


def test_diagnosis_names_each_illness():
    random = np.random.default_rng(0)
    labels = np.arange(90) % 3
    latent_NM = random.normal(size=(90, 2))
    assert diagnose(Inference(certain(labels, 3, 0.98), latent_NM)) == []
    (collapsed,) = diagnose(Inference(certain(labels % 2, 3, 0.98), latent_NM))
    assert "only 2 of 3" in collapsed
    (diffuse,) = diagnose(Inference(certain(labels, 3, 0.4), latent_NM))
    assert "0.40 on average" in diffuse
    (inactive,) = diagnose(Inference(certain(labels, 3, 0.98), latent_NM * [1.0, 0.01]))
    assert "1 of 2 latent dimensions" in inactive
    (centres,) = diagnose(Inference(certain(labels, 3, 0.98), np.eye(3, 2)[labels] * 9.0))
    assert "2 of 2 latent dimensions" in centres


@pytest.mark.parametrize("prior", ["standard", "mixture"])
def test_digits_with_defaults_are_clustered_well(tmp_path, prior):
    """Seed 0, measured 0.93 to 0.95; 0.90 leaves three points for another processor's rounding."""
    config = ExperimentConfig(prior=prior, heads=("posterior", "gmm"))
    listener = Listener()
    results = run_experiment(prepare_experiment(config), RunFolder.create(tmp_path / "run", overwrite=False), listener)
    assert results.metrics.score("posterior", "acc") >= 0.90
    assert results.metrics.score("gmm", "acc") >= 0.80
    assert results.metrics.baseline["acc"] >= 0.90
    assert [text for text in results.metrics.warnings if not text.startswith("worse than the start")] == []


def test_summary_counts_seeds(tmp_path):
    of = small_experiment()
    results = {
        seed: run_experiment(
            dataclasses.replace(of, config=dataclasses.replace(of.config, seed=seed)),
            RunFolder.create(tmp_path / str(seed), overwrite=False),
            Listener(),
        ).metrics
        for seed in (0, 1)
    }
    summary = summarize(results, requested_of(of.config), report=False)
    values = [results[seed].score("posterior", "acc") for seed in (0, 1)]
    assert summary.heads["posterior"]["acc"].values == values
    assert summary.elbo.mean == pytest.approx(np.mean([results[seed].elbo["test"] for seed in (0, 1)]))
    assert summary.report is False
