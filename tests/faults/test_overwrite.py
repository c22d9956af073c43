"""`deepmix train --overwrite` loses neither a finished run nor anybody's files."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import TINY, refuses

QUICK = (*TINY, "--dataset", "gaussians", "--set", "rows=200", "--set", "encoder.hidden=16")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def run(deepmix, tmp_path) -> Path:
    assert deepmix("train", "--out", "run", *QUICK).returncode == 0
    return tmp_path / "run"


@pytest.mark.parametrize(("current", "out"), [("run", "."), ("run/checkpoint", "..")])
def test_the_current_directory_is_never_left_empty(run, current, out):
    before = contents(run)
    words = [sys.executable, "-m", "deepmix", "train", "--out", out, "--overwrite", *QUICK]
    process = subprocess.run(words, cwd=run.parent / current, capture_output=True, text=True, check=False)
    refuses(process, 2, f"'{out}' is not overwritten, because the current directory is in it", f"cd '{run.parent}'")
    assert contents(run) == before


def test_somebodys_folder_is_refused(deepmix, tmp_path):
    mine = tmp_path / "mine"
    (mine / "checkpoint").mkdir(parents=True)
    (mine / "summary.json").write_text("{}")
    (mine / "checkpoint" / "weights.bin").write_text("precious")
    before = contents(mine)
    refuses(deepmix("train", "--out", "mine", "--overwrite", *QUICK), 2, "did not write 'summary.json' in it")
    assert contents(mine) == before


def test_a_link_to_a_run_is_overwritten_behind_the_link(deepmix, run):
    (run.parent / "latest").symlink_to(run)
    before = (run / "config.json").read_bytes()
    assert deepmix("train", "--out", "latest", "--overwrite", "--seed", 1, *QUICK).returncode == 0
    assert (run.parent / "latest").is_symlink()
    assert (run / "config.json").read_bytes() != before
    assert {path.name for path in run.parent.iterdir()} == {"run", "latest"}


def test_a_folder_of_seeds_is_overwritten_by_a_run_and_back(deepmix, run):
    for options in (("--seeds", 2), (), ("--seeds", 2)):
        process = deepmix("train", "--out", "run", "--overwrite", *options, *QUICK)
        assert process.returncode == 0, process.stderr
        expected = (
            {"summary.json", "seed-0", "seed-1", "consensus"} if options else {path.name for path in run.iterdir()}
        )
        assert {path.name for path in run.iterdir()} == expected
        assert (run / "config.json").is_file() == (not options)
    assert list(run.parent.iterdir()) == [run]


def test_a_run_that_fails_before_it_begins_leaves_the_old_one(deepmix, run, monkeypatch):
    before = contents(run.parent)

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("deepmix.experiment.run_experiment", interrupted, raising=False)
    process = deepmix("train", "--out", "run", "--overwrite", *QUICK)
    assert process.returncode == 130
    assert "--resume" not in process.stderr  # the old run is finished, and the new one has not begun
    assert contents(run.parent) == before


@pytest.mark.parametrize("record", ["config.json", "summary.json"])
def test_what_a_kill_inside_the_first_write_leaves(deepmix, tmp_path, record):
    part = tmp_path / "part"
    part.mkdir()
    (part / f"{record}.part").touch()
    resumed = deepmix("train", "--resume", "--out", "part")
    refuses(resumed, 2, "stopped before its config.json was written; repeat the command", "with --overwrite")
    process = deepmix("train", "--out", "part", "--overwrite", *QUICK)
    assert process.returncode == 0, process.stderr
    assert not list(part.rglob("*.part"))


def test_what_a_kill_inside_a_later_write_leaves(deepmix, tmp_path):
    """The run, or its folder of seeds, can be resumed, and can be overwritten too."""
    assert deepmix("train", "--out", "runs", "--seeds", 2, *QUICK).returncode == 0
    folder = tmp_path / "runs"
    whole = contents(folder)
    for name in ("metrics.json", "assignments.csv", "checkpoint/state.safetensors"):
        (folder / "seed-0" / name).rename(folder / "seed-0" / f"{name}.part")
    shutil.rmtree(folder / "seed-1")
    (folder / "seed-1").mkdir()
    (folder / "seed-1" / "config.json.part").touch()
    (folder / "summary.json.part").write_text("{")
    resumed = deepmix("train", "--resume", "--out", "runs", "--quiet")
    assert resumed.returncode == 0, resumed.stderr
    assert contents(folder)["seed-1/model.safetensors"] == whole["seed-1/model.safetensors"]
    (folder / "seed-0" / "metrics.json.part").write_text("{")
    assert deepmix("train", "--out", "runs", "--overwrite", *QUICK).returncode == 0
    assert not (folder / "seed-0").exists()


def test_a_kill_between_the_two_moves_of_an_overwrite_is_explained(deepmix, run):
    run.rename(run.with_name(".run.old-1"))
    process = deepmix("report", "run")
    aside = run.with_name(".run.old-1")
    refuses(process, 2, "'run' was being replaced when its process was killed", f"mv '{aside}' 'run'")
    refuses(deepmix("report", "other"), 2, "'other' is not a run folder")


@pytest.mark.parametrize("name", ["notes.txt", "consensus.json"])
def test_files_in_a_consensus_that_deepmix_did_not_write_are_refused(deepmix, tmp_path, name):
    assert deepmix("train", "--out", "seeds", "--seeds", 2, *QUICK).returncode == 0
    (tmp_path / "seeds" / "consensus" / name).write_text("{}")
    before = contents(tmp_path)
    stranger = "consensus/notes.txt" if name == "notes.txt" else "consensus/assignments.csv"
    process = deepmix("train", "--out", "seeds", "--overwrite", *QUICK)
    refuses(process, 2, f"deepmix did not write '{stranger}' in it")
    assert contents(tmp_path) == before


def test_a_consensus_that_was_never_finished_is_overwritten(deepmix, tmp_path):
    assert deepmix("train", "--out", "seeds", "--seeds", 2, *QUICK).returncode == 0
    consensus = tmp_path / "seeds" / "consensus"
    for path in consensus.iterdir():
        path.unlink()
    (consensus / "consensus.json.part").write_text("{")
    process = deepmix("train", "--out", "seeds", "--overwrite", *QUICK)
    assert process.returncode == 0, process.stderr
    assert not consensus.exists()
