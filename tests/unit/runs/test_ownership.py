"""A new run replaces only what it may, and nothing else is ever deleted."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from deepmix.errors import UsageError
from deepmix.runs import CHECKPOINT, CONFIG, EPOCHS, METRICS, NEIGHBOURS, SUMMARY, RunFolder, delete_checkpoint

RECORD = {"model": "vae", "dataset": "digits", "environment": {"deepmix": "0.1.0"}}
SEEDS_RECORD = {"seeds": [0, 1], "config": {"model": "vae", "dataset": "digits"}}


def finished_run(path: Path) -> Path:
    """Write the files that a finished run leaves, and those that a kill during a later write adds."""
    folder = RunFolder(path)
    path.mkdir(parents=True)
    folder.write_json(CONFIG, RECORD)
    folder.write_json(METRICS, {"acc": 0.5})
    folder.append_line({"epoch": 1})
    folder.write_tensors(CHECKPOINT, {"a": torch.ones(2)}, {})
    folder.write_tensors(NEIGHBOURS, {"neighbours": torch.ones(2)}, {})
    (path / f"{CHECKPOINT}.part").write_bytes(b"half")
    return path


def finished_seeds(path: Path) -> Path:
    path.mkdir()
    RunFolder(path).write_json(SUMMARY, SEEDS_RECORD)
    finished_run(path / "seed-0")
    (path / "seed-1").mkdir()
    (path / "seed-1" / "config.json.part").touch()
    return path


def contents(folder: Path) -> dict[str, bytes | None]:
    """Return every path below a folder, with the bytes of files."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }


def test_an_existing_folder_needs_overwrite(tmp_path):
    run = finished_run(tmp_path / "run")
    with pytest.raises(UsageError, match=r"'.*run' exists; choose another out, or add overwrite or resume"):
        RunFolder.create(run, overwrite=False)


@pytest.mark.parametrize("make", [finished_run, finished_seeds])
@pytest.mark.parametrize("first", [CONFIG, EPOCHS, CHECKPOINT, "table.csv"])
def test_the_old_run_stays_until_the_first_file_of_the_new_one(tmp_path, make, first):
    run = make(tmp_path / "run")
    before = contents(run)
    folder = RunFolder.create(run, overwrite=True)
    assert contents(run) == before
    assert not folder.has_begun
    if first == CONFIG:
        folder.write_json(CONFIG, RECORD)
    elif first == EPOCHS:
        folder.append_line({"epoch": 1})
    elif first == CHECKPOINT:
        folder.write_tensors(CHECKPOINT, {"a": torch.ones(2)}, {})
    else:
        folder.write_table(first, ["a"], [(1,)])
    assert [path for path in contents(run) if path != str(CHECKPOINT.parent)] == [str(first)]
    assert list(tmp_path.iterdir()) == [run]
    assert folder.has_begun == (first == CONFIG)


def test_a_first_write_that_fails_leaves_the_old_run(tmp_path, monkeypatch):
    run = finished_run(tmp_path / "run")
    before = contents(tmp_path)
    folder = RunFolder.create(run, overwrite=True)

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full_disk)
        with pytest.raises(OSError, match="No space left"):
            folder.write_json(CONFIG, RECORD)
    assert contents(tmp_path) == before
    folder.write_json(CONFIG, {"new": 1})
    assert list(contents(run)) == [CONFIG]


@pytest.mark.parametrize("refused_rename", [1, 2])
def test_a_folder_that_cannot_be_renamed_stays(tmp_path, monkeypatch, refused_rename):
    """The first rename moves the old folder aside, the second puts the new one in its place."""
    run = finished_run(tmp_path / "run")
    before = contents(tmp_path)
    folder = RunFolder.create(run, overwrite=True)
    renames = []
    rename = Path.rename

    def refuse(self, target):
        renames.append(target)
        if len(renames) == refused_rename:
            raise OSError(16, "Device or resource busy")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        with pytest.raises(UsageError, match=r"can't be moved aside \(Device or resource busy\); choose another out"):
            folder.write_table("first.csv", ["a"], [(1,)])
    assert contents(tmp_path) == before


def test_a_file_that_arrives_meanwhile_is_not_deleted(tmp_path):
    run = finished_run(tmp_path / "run")
    folder = RunFolder.create(run, overwrite=True)
    (run / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"did not write 'notes\.txt'"):
        folder.write_json(CONFIG, RECORD)
    assert (run / "notes.txt").read_text() == "mine"
    assert (run / METRICS).is_file()
    assert list(tmp_path.iterdir()) == [run]


def test_an_old_run_that_cannot_be_deleted_is_named(tmp_path, monkeypatch):
    run = finished_run(tmp_path / "run")
    folder = RunFolder.create(run, overwrite=True)

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rmdir", refuse)
        with pytest.warns(RuntimeWarning, match=r"is still in '.*\.run\.old-1', because it can't be deleted"):
            folder.write_json(CONFIG, RECORD)
    assert list(contents(run)) == [CONFIG]


STRANGERS = {
    "a note": "notes.txt",
    "a file in the checkpoint": "checkpoint/weights.bin",
    "a folder called as one of our files": "report.html/page.html",
    "a file in a folder of theirs": "src/thesis.txt",
    "a file still being written by somebody else": "download.zip.part",
}


@pytest.mark.parametrize("name", STRANGERS.values(), ids=STRANGERS)
@pytest.mark.parametrize("in_seeds", [False, True])
def test_a_stranger_in_a_run_stops_the_overwrite_and_is_named(tmp_path, name, in_seeds):
    path = finished_seeds(tmp_path / "run") if in_seeds else finished_run(tmp_path / "run")
    stranger = f"seed-0/{name}" if in_seeds else name
    (path / stranger).parent.mkdir(exist_ok=True)
    (path / stranger).write_text("all my work")
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=f"because deepmix did not write '{stranger}' in it; choose another out"):
        RunFolder.create(path, overwrite=True)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("record", "content"),
    [
        (CONFIG, "{}"),
        (CONFIG, '{"environment": "production"}'),
        (CONFIG, "not JSON"),
        (CONFIG, "[" * 100_000),
        (SUMMARY, "{}"),
        (SUMMARY, '{"seeds": 3, "config": {"model": "car", "dataset": "cars"}}'),
        (SUMMARY, '{"seeds": [1], "config": ["model", "dataset"]}'),
    ],
)
def test_a_record_of_somebody_else_makes_no_run(tmp_path, record, content):
    project = tmp_path / "project"
    (project / "checkpoint").mkdir(parents=True)
    (project / record).write_text(content)
    (project / "checkpoint" / "state.safetensors").write_text("precious")
    before = contents(project)
    with pytest.raises(UsageError, match=f"did not write '{record}'"):
        RunFolder.create(project, overwrite=True)
    assert contents(project) == before


def test_seed_folders_of_somebody_else_stop_the_overwrite(tmp_path):
    path = finished_seeds(tmp_path / "runs")
    (path / "seed-bank").mkdir()
    with pytest.raises(UsageError, match="did not write 'seed-bank'"):
        RunFolder.create(path, overwrite=True)
    (path / "seed-bank").rmdir()
    (path / "seed-2").mkdir()
    (path / "seed-2" / "metrics.json").write_text("mine")
    with pytest.raises(UsageError, match=r"did not write 'seed-2/metrics\.json'"):
        RunFolder.create(path, overwrite=True)
    (path / SUMMARY).unlink()
    with pytest.raises(UsageError, match=r"did not write 'seed-0/config\.json'"):
        RunFolder.create(path, overwrite=True)


@pytest.mark.parametrize("name", ["model.safetensors", "checkpoint", "config.json"])
def test_a_link_in_a_run_is_the_users(tmp_path, name):
    elsewhere = tmp_path / "elsewhere"
    run = finished_run(tmp_path / "run")
    if (run / name).exists():
        (run / name).rename(elsewhere)
    else:
        elsewhere.write_text("weights")
    (run / name).symlink_to(elsewhere)
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=f"did not write '{name}'"):
        RunFolder.create(run, overwrite=True)
    assert contents(tmp_path) == before


def test_through_a_link_the_folder_it_names_is_replaced(tmp_path):
    run = finished_run(tmp_path / "real" / "run")
    link = tmp_path / "latest"
    link.symlink_to(run)
    RunFolder.create(link, overwrite=True).write_json(CONFIG, RECORD)
    assert link.is_symlink()
    assert list(contents(run)) == [CONFIG]
    assert list(run.parent.iterdir()) == [run]


def test_a_link_to_nothing_and_a_file_are_refused(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(UsageError, match="is a link to a folder that is missing; remove it"):
        RunFolder.create(tmp_path / "link", overwrite=True)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="because it is not a folder; choose another out"):
        RunFolder.create(tmp_path / "file", overwrite=True)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(("current", "out"), [("run", "."), ("run/checkpoint", ".."), ("run/checkpoint", "../../run")])
def test_a_run_that_holds_the_current_directory_is_refused_whole(tmp_path, monkeypatch, current, out):
    run = finished_run(tmp_path / "run")
    before = contents(run)
    monkeypatch.chdir(tmp_path / current)
    with pytest.raises(UsageError, match=f"because the current directory is in it; .* cd '{tmp_path}'"):
        RunFolder.create(Path(out), overwrite=True)
    assert contents(run) == before


def test_a_mount_point_is_refused_whole(tmp_path, monkeypatch):
    run = finished_run(tmp_path / "run")
    before = contents(run)
    monkeypatch.setattr(os.path, "ismount", lambda path: path == run)
    with pytest.raises(UsageError, match="a mount point can't be moved aside; choose a new folder in it"):
        RunFolder.create(run, overwrite=True)
    assert contents(run) == before


@pytest.mark.parametrize("place", [".", "run", "run/checkpoint"])
def test_a_write_protected_folder_is_refused_whole(tmp_path, monkeypatch, place):
    run = finished_run(tmp_path / "run")
    before = contents(run)
    protected = (tmp_path / place).resolve()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != protected)
    with pytest.raises(UsageError, match=f"because '{protected}' is write-protected; change its permissions"):
        RunFolder.create(run, overwrite=True)
    assert contents(run) == before


@pytest.mark.parametrize("make", ["empty", "current directory", "mount point"])
def test_an_empty_folder_is_used_as_it_is(tmp_path, monkeypatch, make):
    path = tmp_path / "run"
    path.mkdir()
    inode = path.stat().st_ino
    if make == "current directory":
        monkeypatch.chdir(path)
    elif make == "mount point":
        monkeypatch.setattr(os.path, "ismount", lambda folder: True)
    RunFolder.create(path, overwrite=True).write_json(CONFIG, RECORD)
    assert list(contents(path)) == [CONFIG]
    assert path.stat().st_ino == inode


@pytest.mark.parametrize("record", [CONFIG, SUMMARY])
@pytest.mark.parametrize("length", [0, -3, None], ids=["empty", "cut", "whole"])
def test_what_a_kill_inside_the_first_write_leaves_is_overwritten(tmp_path, record, length):
    path = tmp_path / "run"
    path.mkdir()
    value = RECORD if record == CONFIG else SEEDS_RECORD
    (path / f"{record}.part").write_text(json.dumps(value, indent=2)[:length])
    with pytest.raises(UsageError, match=r"was stopped before its config\.json was written; repeat .* overwrite"):
        RunFolder.open(path)
    folder = RunFolder.create(path, overwrite=True)
    folder.write_json(CONFIG, RECORD)
    assert list(contents(path)) == [CONFIG]


def test_an_unfinished_file_of_somebody_else_is_not_deleted(tmp_path):
    path = tmp_path / "downloads"
    path.mkdir()
    (path / "config.json.part").write_text('{"my": "half of a')
    with pytest.raises(UsageError, match=r"did not write 'config\.json\.part'"):
        RunFolder.create(path, overwrite=True)


def test_deleting_a_checkpoint_spares_what_else_is_there(tmp_path):
    run = finished_run(tmp_path / "run")
    (run / "checkpoint" / "mine.txt").write_text("mine")
    delete_checkpoint(run)
    assert [path.name for path in (run / "checkpoint").iterdir()] == ["mine.txt"]
    (run / "checkpoint" / "mine.txt").unlink()
    delete_checkpoint(run)
    assert not (run / "checkpoint").exists()
    delete_checkpoint(run)


def test_a_checkpoint_behind_a_link_is_not_deleted(tmp_path):
    run = finished_run(tmp_path / "run")
    (run / "checkpoint").rename(tmp_path / "elsewhere")
    (run / "checkpoint").symlink_to(tmp_path / "elsewhere")
    delete_checkpoint(run)
    assert (run / CHECKPOINT).is_file()
