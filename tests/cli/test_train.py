from __future__ import annotations

import csv
import dataclasses
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from deepmix.contracts import registry
from deepmix.metrics import clustering_accuracy
from deepmix.models import ObjectiveOptions
from tests.cli.conftest import TINY, WITH_REPORT, train

DIGITS_ROWS, DIGITS_TEST = 1797, 270


def test_main_job_leaves_the_run_folder_of_the_design(command, tmp_path):
    result = command("train", "--model", "mvae-emv2", "--prior", "standard", "--head", "gmm", *WITH_REPORT)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "runs" / "digits-mvae-emv2-1"
    assert f"Run folder: {folder.relative_to(tmp_path)}" in result.stdout
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "config.json",
        "metrics.jsonl",
        "metrics.json",
        "model.safetensors",
        "inference.safetensors",
        "report.html",
        "checkpoint",
        "assignments.csv",
    }
    metrics = json.loads((folder / "metrics.json").read_text())
    for side in ("train", "test"):
        assert {"acc", "nmi", "ari", "v_measure", "homogeneity", "completeness"} <= metrics["heads"]["gmm"][side].keys()
        assert np.isfinite(metrics["elbo"][side])
    assert metrics["n_parameters"] == 218888
    assert metrics["seconds"] > 0
    with (folder / "assignments.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["row"]) for row in rows] == list(range(1, DIGITS_ROWS + 1))
    test = [row for row in rows if row["split"] == "test"]
    assert len(test) == DIGITS_TEST
    accuracy = clustering_accuracy(
        np.array([row["label"] for row in test]), np.array([int(row["gmm"]) for row in test])
    )
    assert accuracy == pytest.approx(metrics["heads"]["gmm"]["test"]["acc"])
    config = json.loads((folder / "config.json").read_text())
    assert config["resolved"]["size"]["components"] == 10
    assert config["resolved"]["model"]["likelihood"] == "bernoulli"
    assert config["environment"]["device"] == "cpu"
    epochs = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(row["stage"], row["epoch"]) for row in epochs] == [
        ("pretrain", 1),
        ("pretrain", 2),
        ("train", 1),
        ("train", 2),
    ]


def test_csv_without_labels_gives_clusters(deepmix, blobs, tmp_path):
    rows = [line.rpartition(",")[0] for line in blobs.read_text().splitlines()]
    unlabelled = tmp_path / "rows.csv"
    unlabelled.write_text("\n".join(rows) + "\n")
    result = deepmix("train", "--dataset", unlabelled, "--components", 3, "--out", "run", *TINY)
    assert result.returncode == 0, result.stderr
    test = json.loads((tmp_path / "run" / "metrics.json").read_text())["heads"]["posterior"]["test"]
    assert "acc" not in test
    assert sum(test["sizes"]) == 18
    assert "silhouette" in result.stdout


def test_csv_with_labels_counts_their_classes_and_scores(deepmix, blobs, tmp_path):
    result = deepmix(
        "train", "--dataset", blobs, "--label-column", "kind", "--out", "run", "--epochs", 20, "--pretrain-epochs", 20
    )
    assert result.returncode == 0, result.stderr
    notes = " ".join(result.stderr.split())
    assert "102 training and 18 test rows of 6 columns" in notes
    assert "one likelihood per column, 3 clusters" in notes
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["heads"]["posterior"]["test"]["acc"] == 1.0
    assert metrics["initial_labels"]["test"]["acc"] == 1.0


GAUSSIANS = ("--dataset", "gaussians", "--set", "rows=300", "--set", "encoder.hidden=16")
"""Options of a run that takes half as long as one on Digits."""


def test_same_seed_gives_the_same_bits_and_another_seed_does_not(deepmix, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert deepmix("train", "--seed", seed, "--out", name, *GAUSSIANS, *TINY).returncode == 0
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b
    assert a != c
    assert (tmp_path / "a" / "assignments.csv").read_bytes() == (tmp_path / "b" / "assignments.csv").read_bytes()


def test_config_of_a_run_repeats_it(deepmix, tmp_path):
    options = (*GAUSSIANS, "--prior", "standard", "--beta", 0.5)
    assert deepmix("train", *options, "--out", "a", *TINY).returncode == 0
    assert deepmix("train", "--config", "a/config.json", "--out", "b", "--quiet").returncode == 0
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()


def test_configuration_written_by_hand(deepmix, tmp_path):
    (tmp_path / "run.toml").write_text(
        'head = "kmeans"\ninit = "kmeans"\nepochs = 1\n[settings]\npretrain_epochs = 1\nencoder.hidden = "32-16"\n'
    )
    result = deepmix("train", "--config", "run.toml", "--epochs", 2, "--out", "run", "--quiet")
    assert result.returncode == 0, result.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["heads"] == ["kmeans"]
    assert config["resolved"]["encoder"]["hidden"] == "32-16"
    assert config["resolved"]["training"]["epochs"] == 2


def test_seeds_summary_is_the_spread_of_the_runs(deepmix, tmp_path):
    heads = ("--head", "gmm", "--head", "kmeans")
    result = deepmix("train", "--seeds", 3, *heads, *GAUSSIANS, "--out", "runs3", *TINY)
    assert result.returncode == 0, result.stderr
    summary = json.loads((tmp_path / "runs3" / "summary.json").read_text())
    for head in ("gmm", "kmeans"):
        values = [
            json.loads((tmp_path / "runs3" / f"seed-{seed}" / "metrics.json").read_text())["heads"][head]["test"]["acc"]
            for seed in range(3)
        ]
        acc = summary["heads"][head]["acc"]
        assert acc["values"] == values
        assert acc["mean"] == pytest.approx(np.mean(values))
        assert acc["std"] == pytest.approx(np.std(values, ddof=1))
        assert acc["best"] == max(values)


STOPPED = ("--init", "kmeans", "--epochs", "14", "--pretrain-epochs", "6", "--no-report", "--no-baselines")
"""Options of a run that lasts long enough to be stopped."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Return the folder of that run where nobody stopped it."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train("--out", folder, options=(*STOPPED, "--quiet"))
    return folder


@pytest.mark.parametrize("lines_before_stop", [2, 8])
def test_interrupted_run_is_readable_and_resumes_bit_identically(deepmix, tmp_path, whole, lines_before_stop):
    """Press Ctrl-C in pretraining (2 lines) or in training (8 lines), then resume."""
    lines_file = tmp_path / "cut" / "metrics.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "deepmix", "train", *STOPPED, "--out", "cut"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells have the background ignore it
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if lines_file.exists() and len(lines_file.read_text().splitlines()) >= lines_before_stop:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "deepmix train --resume --out cut" in stderr
    assert "Traceback" not in stderr
    json.loads((tmp_path / "cut" / "config.json").read_text())
    assert not (tmp_path / "cut" / "metrics.json").exists()
    assert not list((tmp_path / "cut").rglob("*.part"))
    resumed = deepmix("train", "--resume", "--out", "cut")
    assert resumed.returncode == 0, resumed.stderr
    assert (tmp_path / "cut" / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert len(lines_file.read_text().splitlines()) == 20
    cut, whole_metrics = (json.loads((path / "metrics.json").read_text()) for path in (tmp_path / "cut", whole))
    assert cut["heads"] == whole_metrics["heads"]
    assert cut["elbo"] == whole_metrics["elbo"]


def test_help_lists_the_options_of_the_named_model(deepmix):
    plain = deepmix("train", "--help").stdout
    assert "mvae-emv2" in plain
    assert "decode_threshold" not in plain
    for args in (("--model", "k-dvae", "--help"), ("--help", "--model=k-dvae")):
        text = deepmix("train", *args, "--init", "kmeans").stdout
        assert "--set, initializer" in text
        assert "n_init=10" in text
        assert "assignment=hard" in text
        assert "decode_threshold=0.001" in text
        assert "hidden=500-100" in text
        assert "[a number]" in text


def test_a_model_of_each_kind_trains(deepmix, tmp_path):
    """Because `vae` has no mixture to read clusters from, its head does the clustering."""
    result = deepmix("train", "--model", "vae", "--head", "kmeans", "--out", "vae", *TINY)
    assert result.returncode == 0, result.stderr
    weights = load_file(tmp_path / "vae" / "model.safetensors")
    assert weights["encoder.mean.weight"].shape == (10, 256)


def test_prepared_archive_is_found_by_name_in_the_data_folder(deepmix, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    random = np.random.default_rng(1)
    x = random.integers(0, 256, size=(90, 4, 4), dtype=np.uint8)
    np.savez(folder / "tiny_images.npz", x=x, y=np.arange(90) % 3, n_train=60)
    result = deepmix("train", "--dataset", "tiny-images", "--out", "run", *TINY, env={"DEEPMIX_DATA": str(folder)})
    assert result.returncode == 0, result.stderr
    data = json.loads((Path(tmp_path) / "run" / "config.json").read_text())["data"]
    assert data["rows"] == {"train": 60, "test": 30}
    assert data["preprocessing"] == "divided by 255"


def test_a_model_that_is_not_trained_has_a_report_and_no_epochs(deepmix, tmp_path):
    result = deepmix("train", "--model", "kmeans", "--dataset", "gaussians", "--no-baselines", "--out", "run")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == b""
    assert (tmp_path / "run" / "report.html").is_file()


def test_no_options_at_all(deepmix, tmp_path, monkeypatch):
    monkeypatch.setattr("deepmix.training.schedule.MIN_EPOCHS", 1)
    monkeypatch.setattr("deepmix.training.schedule.MIN_UPDATES", 1)
    result = deepmix("train")
    assert result.returncode == 0
    (run,) = (tmp_path / "runs").iterdir()
    config = json.loads((run / "config.json").read_text())
    assert (config["dataset"], config["model"]) == ("digits", "mvae-emv2")


def test_no_report_survives_resume(deepmix, blobs, tmp_path):
    args = ("train", "--dataset", blobs, "--label-column", "kind", *WITH_REPORT)
    for name, more in (("without", ["--no-report"]), ("with", [])):
        assert deepmix(*args, "--out", name, *more).returncode == 0
        assert json.loads((tmp_path / name / "config.json").read_text())["report"] is (name == "with")
        (tmp_path / name / "metrics.json").unlink()
        (tmp_path / name / "report.html").unlink(missing_ok=True)
        result = deepmix("train", "--resume", "--out", name, "--quiet")
        assert result.returncode == 0, result.stderr
        assert (tmp_path / name / "metrics.json").exists()
        assert (tmp_path / name / "report.html").exists() is (name == "with")
    (tmp_path / "with" / "metrics.json").unlink()
    (tmp_path / "with" / "report.html").unlink()
    assert deepmix("train", "--resume", "--out", "with", "--quiet", "--no-report").returncode == 0
    assert not (tmp_path / "with" / "report.html").exists()


def test_no_report_survives_the_resume_of_several_seeds(deepmix, blobs, tmp_path):
    args = ("train", "--dataset", blobs, "--label-column", "kind", "--seeds", 2, "--out", "runs2", *TINY)
    assert deepmix(*args).returncode == 0
    assert json.loads((tmp_path / "runs2" / "summary.json").read_text())["report"] is False
    shutil.rmtree(tmp_path / "runs2" / "seed-1")
    result = deepmix("train", "--resume", "--out", "runs2", "--quiet")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "runs2" / "seed-1" / "metrics.json").exists()
    assert not list((tmp_path / "runs2").rglob("report.html"))
    assert json.loads((tmp_path / "runs2" / "summary.json").read_text())["report"] is False


def test_resume_takes_its_options_from_the_run_and_not_from_todays_defaults(deepmix, blobs, tmp_path, monkeypatch):
    args = ("train", "--dataset", blobs, "--label-column", "kind", *TINY)
    assert deepmix(*args, "--out", "whole").returncode == 0
    assert deepmix(*args, "--out", "cut").returncode == 0
    for name in ("metrics.json", "model.safetensors", "checkpoint/state.safetensors"):
        (tmp_path / "cut" / name).unlink()
    module, _, name = registry.find("models", "mvae-emv2").target.partition(":")
    recipe = getattr(importlib.import_module(module), name)
    monkeypatch.setattr(
        importlib.import_module(module),
        name,
        dataclasses.replace(recipe, prior="standard", posterior="joint", objective=ObjectiveOptions(anchor=9.0)),
    )
    result = deepmix("train", "--resume", "--out", "cut", "--quiet")
    assert result.returncode == 0, result.stderr
    for name in ("model.safetensors", "assignments.csv"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
