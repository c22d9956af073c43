"""Two processes train as one does, even if one of them is killed, and seeds side by side are those one by one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deepmix.runs import EpochRecord, RunFolder
from deepmix.training import passes
from tests.faults.kills import contents, differences
from tests.faults.stops import children_of

pytestmark = pytest.mark.usefixtures("all_refits")  # as other processes do


RUN = ("--label-column", "kind", "--init", "kmeans", "--epochs", "6", "--pretrain-epochs", "4", "--batch-size", "25",
       "--set", "encoder.hidden=16", "--set", "hide=0.3", "--no-report", "--no-baselines")  # fmt: skip
"""Options of a run whose last batch has an odd number of rows: 102 training rows, 25 per update."""


WORKER = """
import os, signal
from deepmix.cli import main
from deepmix.experiment import results
from deepmix.training import passes, trainer

passes.EVALUATION_ROWS = results.SEARCHED_ROWS = 16
trainer.CHECKPOINT_SECONDS = -1.0
run_epoch = trainer.Trainer._run_epoch

def killed(self, *arguments):
    if (os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"], self.stage, self.epoch) == ("1", "0", "train", 2):
        os.kill(os.getpid(), signal.SIGKILL)
    return run_epoch(self, *arguments)

trainer.Trainer._run_epoch = killed
main(prog_name="deepmix")
"""
"""A program like `python -m deepmix` whose second process is killed in the third epoch of training, once.

Its blocks of rows are small, so that both processes have some.
"""


TOLERANCE = 2e-5
"""Relative difference of an epoch's figures. It is not 0, as float32 gradients are added in another order."""


def torchrun(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=900)


def curve(run: Path) -> list[EpochRecord]:
    return RunFolder(run).read_epochs()


def test_two_processes_train_as_one_does_though_one_is_killed(tmp_path, blobs, deepmix, monkeypatch):
    monkeypatch.setattr(passes, "EVALUATION_ROWS", 16)
    worker = tmp_path / "worker.py"
    worker.write_text(WORKER)
    process = torchrun(tmp_path, "--max-restarts=1", worker, "train", "--dataset", blobs, *RUN, "--out", "two")
    assert process.returncode == 0, process.stderr
    assert "(exitcode: -9) local_rank: 1" in process.stderr
    assert process.stdout.count("Run folder: two") == 1
    assert process.stderr.count("2 processes: each update all-reduces") == 2  # once per start
    assert deepmix("train", "--dataset", blobs, *RUN, "--out", "one").returncode == 0
    one, two = curve(tmp_path / "one"), curve(tmp_path / "two")
    assert [(row.stage, row.epoch) for row in two] == [(row.stage, row.epoch) for row in one]
    for row, other in zip(one, two, strict=True):
        assert other.elbo == pytest.approx(row.elbo, rel=TOLERANCE)
        assert other.terms == pytest.approx(row.terms, rel=TOLERANCE, abs=TOLERANCE)
        assert other.clusters_in_use == row.clusters_in_use
    metrics = [json.loads((tmp_path / run / "metrics.json").read_text()) for run in ("one", "two")]
    assert metrics[1]["heads"]["posterior"]["test"]["acc"] == metrics[0]["heads"]["posterior"]["test"]["acc"]
    assert metrics[1]["elbo"] == pytest.approx(metrics[0]["elbo"], rel=TOLERANCE)
    assert {*metrics[1]["knn_error"]} == {"3", "5", "10"}
    for figures in ("knn_error", "initial_labels"):
        assert metrics[1][figures] == metrics[0][figures]
    record = json.loads((tmp_path / "two" / "config.json").read_text())
    assert record["environment"]["ranks"] == 2
    assert deepmix("predict", "two", blobs, "--out", "rows.csv").returncode == 0  # opens with one process


STOPPED = """
import atexit
from pathlib import Path
from deepmix.cli import main

atexit.register(Path("taken-down").touch)
main(prog_name="deepmix")
"""
"""A program like `python -m deepmix` that leaves a file if Python takes its modules down at the end."""


def test_seeds_side_by_side_are_those_one_after_another_though_they_are_stopped(tmp_path, blobs, deepmix):
    """Ctrl-C ends all processes on the spot, and the runs go on from there."""
    words = ("train", "--dataset", blobs, *RUN, "--seeds", 2)
    assert deepmix(*words, "--out", "in-turn").returncode == 0
    (tmp_path / "program.py").write_text(STOPPED)
    command = [sys.executable, "program.py", *map(str, words), "--out", "beside", "--jobs", "2"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells have the background ignore it
    )
    while process.poll() is None and len(children := children_of(process.pid)) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Stopped; resume with: deepmix train --resume --out beside\nInterrupted.\n" in stderr
    assert "Traceback" not in stderr
    assert "failed" not in stderr
    assert not (tmp_path / "taken-down").exists()
    assert not list((tmp_path / "beside").glob("seed-*/metrics.json"))
    while any(Path(f"/proc/{pid}").exists() for pid in children):
        time.sleep(0.01)

    resumed = deepmix("train", "--resume", "--out", "beside", "--jobs", 2)
    assert resumed.returncode == 0, resumed.stderr
    assert "seed 1: train, 6 epochs" in resumed.stderr
    assert differences(contents(tmp_path / "beside"), contents(tmp_path / "in-turn")) == []
