"""Two processes on one folder, files cut short or changed, full disks, other data: a sentence, and nothing is lost."""

from __future__ import annotations

import dataclasses
import errno
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from deepmix.data import Split, fingerprint, labels_fingerprint, write_atomically
from deepmix.errors import DeepmixError, UsageError
from deepmix.experiment import run_experiment
from deepmix.inference import open_run
from deepmix.runs import CHECKPOINT, PREVIOUS, CheckpointMeta, RunFolder
from deepmix.training import trainer as trainer_module
from tests.cli.conftest import TINY, refuses
from tests.unit.training.test_trainer import Listener, PowerCutError, run, small_experiment

QUICK = (*TINY, "--set", "encoder.hidden=16")


def hold(path: str, ready: Any, done: Any) -> None:
    """Be a process that writes in a folder until it is told to stop."""
    with RunFolder(Path(path)).locked():
        ready.set()
        done.wait(120)


@pytest.fixture
def other_process() -> Iterator[Callable[[Path], None]]:
    """Return a function that lets another process hold the lock of a folder until the test ends."""
    context = multiprocessing.get_context("forkserver")
    done, processes = context.Event(), []

    def start(path: Path) -> None:
        ready = context.Event()
        processes.append(context.Process(target=hold, args=(str(path), ready, done)))
        processes[-1].start()
        assert ready.wait(120)

    yield start
    done.set()
    for process in processes:
        process.join()


def test_a_second_process_on_a_folder_gets_a_sentence(deepmix, tmp_path, other_process):
    assert deepmix("train", "--out", "run", *QUICK).returncode == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    other_process(tmp_path / "run")
    for words in (
        ("train", "--resume", "--out", "run"),
        ("train", "--out", "run", "--overwrite", *QUICK),
        ("report", "run"),
    ):
        refuses(
            deepmix(*words), 2, "another process is writing in 'run'; wait until it has ended, or choose another --out"
        )
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
    assert deepmix("evaluate", "run").returncode == 0  # reading is free


def test_a_run_that_replaces_another_holds_the_new_folder(tmp_path, other_process):
    run(tmp_path / "run", small_experiment())
    folder = RunFolder.create(tmp_path / "run", overwrite=True)
    with folder.locked():
        folder.write_json("config.json", {"environment": {"deepmix": "0"}})
        with pytest.raises(UsageError, match="another process is writing in"), RunFolder(tmp_path / "run").locked():
            pass
    with RunFolder(tmp_path / "run").locked() as folder, folder.locked():  # free again, and may be held twice
        pass


def test_without_locks_on_this_disk_nothing_is_refused(tmp_path, monkeypatch):
    import fcntl

    def refuse(handle: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with RunFolder(tmp_path).locked(), RunFolder(tmp_path).locked():
        pass


def test_what_killed_processes_were_writing_is_deleted_and_nothing_else(tmp_path):
    run(tmp_path / "run", small_experiment())
    for name in ("report.html.part", "checkpoint/state.safetensors.part", "notes.txt.part"):
        (tmp_path / "run" / name).write_text("half")
    before = {path.name for path in (tmp_path / "run").rglob("*")}
    run_experiment(small_experiment(), RunFolder(tmp_path / "run"), Listener(), resume=True)
    with RunFolder(tmp_path / "run").locked():
        pass
    after = {path.name for path in (tmp_path / "run").rglob("*")}
    assert before - after == {"report.html.part", "state.safetensors.part"}


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-40] ^= 4
    path.write_bytes(content)


def change_header(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'stale_epochs\\": 0', b'stale_epochs\\": 7'))


@pytest.fixture
def stopped(tmp_path, monkeypatch) -> Path:
    """Return the folder of a run that was stopped in its fifth epoch; its checkpoints are of the fourth and third."""
    monkeypatch.setattr(trainer_module, "CHECKPOINT_SECONDS", -1.0)
    with pytest.raises(PowerCutError):
        run(tmp_path / "run", small_experiment(), stop_after=5)
    return tmp_path / "run"


@pytest.mark.parametrize("damage", [cut_short, flip_a_bit, change_header, Path.unlink])
def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(stopped, tmp_path, damage):
    folder = RunFolder(stopped)
    last, before = (folder.read_weights(CheckpointMeta, name)[1] for name in (CHECKPOINT, PREVIOUS))
    assert (last.n_lines, before.n_lines) == (5, 4)
    damage(stopped / CHECKPOINT)
    listener = run(stopped, small_experiment(), resume=True)
    assert [row.epoch for row in listener.epochs] == [3, 4]
    assert any("is damaged; the run goes on from the checkpoint before it" in n for n in listener.notes) == (
        damage is not Path.unlink
    )
    run(tmp_path / "whole", small_experiment())
    whole, cut = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "run"))
    assert whole == cut


def test_two_damaged_checkpoints_are_one_sentence(stopped):
    for name in (CHECKPOINT, PREVIOUS):
        flip_a_bit(stopped / name)
    with pytest.raises(DeepmixError, match=r"state\.safetensors' is damaged \(its checksum is wrong\); train again"):
        run(stopped, small_experiment(), resume=True)


@pytest.mark.parametrize("name", ["model.safetensors", "inference.safetensors"])
def test_changed_bits_of_a_finished_run_are_noticed(tmp_path, name):
    run(tmp_path / "run", small_experiment())
    open_run(tmp_path / "run")
    flip_a_bit(tmp_path / "run" / name)
    with pytest.raises(DeepmixError, match=rf"{name}' is damaged \(its checksum is wrong\)"):
        open_run(tmp_path / "run")


LINES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "torn": (lambda lines: lines[: lines.index(b"\n") + 30], "damaged in line 2"),
    "latin 1": (lambda lines: lines.replace(b"pretrain", b"pretr\xe9in", 1), "damaged in line 1"),
    "deep": (lambda lines: b"[" * 100_000 + lines, "damaged in line 1"),
    "changed": (
        lambda lines: lines.replace(b'"epoch": 2', b'"epoch": 3', 1),
        r"line 2 \(its checksum is wrong",
    ),
    "short": (lambda lines: lines[: lines.index(b"\n") + 1], "has 1 lines, and the checkpoint was written after"),
}


@pytest.mark.parametrize("kind", LINES)
def test_damaged_lines_of_metrics_are_one_sentence(stopped, kind):
    damage, words = LINES[kind]
    path = stopped / "metrics.jsonl"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DeepmixError, match=words):
        run(stopped, small_experiment(), resume=True)
    if kind != "short":
        with pytest.raises(DeepmixError, match=words):
            RunFolder(stopped).read_epochs()


def test_what_a_kill_leaves_of_a_line_is_cut_off(stopped, tmp_path):
    with (stopped / "metrics.jsonl").open("ab") as lines:
        lines.write(b'{"stage": "tr\xc3')
    run(stopped, small_experiment(), resume=True)
    assert [row.epoch for row in RunFolder(stopped).read_epochs()] == [1, 2, 1, 2, 3, 4]


def split_of(labels: Any, x: Any = None) -> Split:
    x = np.arange(12.0, dtype=np.float32).reshape(6, 2) if x is None else x
    return Split(x, np.arange(4), np.arange(4, 6), labels, "gaussian", "made up")


def test_the_hashes_of_the_data_know_labels_and_the_borders_of_sparse_rows():
    one, other = (split_of(np.array(labels)) for labels in (list("aabbcc"), list("aabbcd")))
    assert fingerprint(one) == fingerprint(other)
    assert len({labels_fingerprint(split) for split in (one, other, split_of(None))}) == 3
    data, indices = np.ones(4, np.float32), np.array([0, 1, 0, 1])
    borders = ([0, 2, 4, 4, 4, 4, 4], [0, 2, 3, 4, 4, 4, 4])
    one, other = (split_of(None, sparse.csr_matrix((data, indices, np.array(b)), (6, 2))) for b in borders)
    assert fingerprint(one) == fingerprint(other)
    assert labels_fingerprint(one) != labels_fingerprint(other)


def test_resume_refuses_changed_labels_unless_the_run_is_too_old_to_know_them(stopped):
    other = small_experiment()
    assert other.split.labels is not None
    split = dataclasses.replace(other.split, labels=1 - other.split.labels)
    other = dataclasses.replace(other, split=split)
    with pytest.raises(UsageError, match=r"are not those that .* was started with, or their labels are not"):
        run(stopped, other, resume=True)
    config = json.loads((stopped / "config.json").read_text())
    del config["data"]["labels_fingerprint"], config["checksum"]
    (stopped / "config.json").write_text(json.dumps(config))
    run(stopped, other, resume=True)


@pytest.mark.parametrize("name", ["metrics.jsonl", "model.safetensors", "assignments.csv", "metrics.json"])
def test_a_full_disk_is_a_sentence_that_names_the_file(deepmix, tmp_path, monkeypatch, name):
    """Without space nothing half-written is left, and the run can be resumed."""
    import builtins
    import io

    opened = io.open

    def full(path: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        file = opened(path, mode, *args, **options)
        if mode in ("w", "wb", "a") and Path(str(path)).name.removesuffix(".part") == name and is_full:
            file.write = lambda content: (_ for _ in ()).throw(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        return file

    is_full = True
    monkeypatch.setattr(io, "open", full)
    monkeypatch.setattr(builtins, "open", full)
    process = deepmix("train", "--out", "run", *QUICK)
    refuses(
        process, 1, f"'run/{name}': No space left on device; free some space", "resume with: deepmix train --resume"
    )
    assert not list((tmp_path / "run").rglob("*.part"))
    is_full = False
    assert deepmix("train", "--resume", "--out", "run", "--quiet").returncode == 0


def test_an_error_of_a_write_names_the_file(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match=r"folder"):
        write_atomically(tmp_path / "folder", b"content")


def test_assignments_are_read_by_their_row_numbers(tmp_path):
    run(tmp_path / "run", small_experiment())
    path = tmp_path / "run" / "assignments.csv"
    expected = open_run(tmp_path / "run").assignments()
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *reversed(lines)]) + "\n")
    actual = open_run(tmp_path / "run").assignments()
    assert all(np.array_equal(actual[name], expected[name]) for name in expected)
    path.write_text("\n".join([header, *lines[1:], lines[1]]) + "\n")
    with pytest.raises(DeepmixError, match=r"assignments\.csv' is damaged \(it must list each of the 60 rows once\)"):
        open_run(tmp_path / "run").assignments()
    pd.DataFrame(expected)[list(reversed(expected))].assign(mine="x").to_csv(path, index=False)  # as a user may save it
    assert all(np.array_equal(open_run(tmp_path / "run").assignments()[name], expected[name]) for name in expected)
    pd.DataFrame(expected).assign(posterior=expected["posterior"] + (expected["row"] == 7)).to_csv(path)
    with pytest.raises(DeepmixError, match=r"assignments\.csv' has changed since it was written.*train --resume --out"):
        open_run(tmp_path / "run").assignments()


@pytest.mark.parametrize("name", ["config.json", "metrics.json"])
def test_a_changed_digit_of_a_json_file_is_noticed(tmp_path, name):
    """Also in earlier versions' runs, which have no checksum, the file is read as before."""
    run(tmp_path / "run", small_experiment())
    path = tmp_path / "run" / name
    values = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(values.items())), indent=7))
    assert RunFolder(path.parent).read_json(name) == {key: values[key] for key in values if key != "checksum"}
    key = {"config.json": "parameters", "metrics.json": "n_parameters"}[name]
    key = key if key in values else next(key for key, value in values.items() if isinstance(value, int))
    path.write_text(json.dumps({**values, key: 999}))
    with pytest.raises(DeepmixError, match=rf"{name}' has changed since it was written.*delete its entry 'checksum'"):
        RunFolder(path.parent).read_json(name)
    del values["checksum"]
    path.write_text(json.dumps({**values, key: 999}))
    assert RunFolder(path.parent).read_json(name)[key] == 999


def test_a_stored_graph_of_other_rows_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_module, "CHECKPOINT_SECONDS", -1.0)
    of = small_experiment(graph_weight="1.0", graph_neighbours="3")
    with pytest.raises(PowerCutError):
        run(tmp_path / "run", of, stop_after=4)
    RunFolder(tmp_path / "run").write_tensors(
        "checkpoint/neighbours.safetensors", {"neighbours": torch.zeros(5, 3)}, {}
    )
    with pytest.raises(DeepmixError, match=r"neighbours\.safetensors' is damaged \(it does not hold the neighbours"):
        run(tmp_path / "run", of, resume=True)
