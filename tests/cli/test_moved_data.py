"""Runs whose data were moved, or that were started from another directory."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.cli.conftest import TINY, refuses


@pytest.fixture
def moved(deepmix, blobs, tmp_path):
    """Return the name of a run whose data are now in new/blobs.csv."""
    args = ("train", "--dataset", "blobs.csv", "--label-column", "kind", "--components", 3, "--out", "run")
    assert deepmix(*args, *TINY).returncode == 0
    (tmp_path / "new").mkdir()
    blobs.rename(tmp_path / "new" / "blobs.csv")
    return "run"


def test_a_report_is_told_where_the_data_are_now(deepmix, moved, tmp_path):
    refuses(deepmix("report", moved), 2, "the data of 'run' are no longer at", "blobs.csv", "--dataset")
    assert not (tmp_path / "run" / "report.html").exists()
    result = deepmix("report", moved, "--dataset", "new/blobs.csv")
    assert result.returncode == 0, result.stderr
    assert "Clusters against labels" in (tmp_path / "run" / "report.html").read_text()


def test_other_data_are_not_taken_for_the_runs_own(deepmix, moved, tmp_path):
    lines = (tmp_path / "new" / "blobs.csv").read_text().splitlines()
    (tmp_path / "other.csv").write_text("\n".join(lines[:-1]))
    refuses(deepmix("report", moved, "--dataset", "other.csv"), 2, "'other.csv' does not hold the rows and labels")
    refuses(deepmix("report", moved, "--dataset", "absent.csv"), 2, "there is no file 'absent.csv'")
    refuses(deepmix("report", moved, "--dataset", "digits"), 2, "there is no file 'digits'")
    assert not (tmp_path / "run" / "report.html").exists()


def test_evaluate_says_where_the_data_were_and_takes_them_from_elsewhere(deepmix, moved):
    refuses(deepmix("evaluate", moved), 2, "the data of 'run' are no longer at", "say where they are with --dataset")
    result = deepmix("evaluate", moved, "--dataset", "new/blobs.csv", "--json")
    assert list(json.loads(result.stdout)["heads"]["posterior"]) == ["all"]


def test_a_run_is_resumed_with_moved_data(deepmix, moved, tmp_path):
    (tmp_path / "run" / "metrics.json").unlink()
    resume = ("train", "--resume", "--out", "run", "--quiet")
    refuses(deepmix(*resume), 2, "the data of 'run' are no longer at", "--dataset")
    refuses(deepmix(*resume, "--drop", "a"), 2, "leave all others out, but --dataset")
    result = deepmix(*resume, "--dataset", "new/blobs.csv")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "run" / "metrics.json").exists()


def test_data_sets_by_name_have_not_moved(deepmix, tmp_path):
    assert deepmix("train", "--set", "encoder.hidden=16", "--out", "run", *TINY).returncode == 0
    refuses(deepmix("report", "run", "--dataset", "x.csv"), 2, "trained on the data set 'digits', which is not a file")


def test_a_folder_of_images_is_recorded_by_its_whole_path(deepmix, tmp_path):
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    random = np.random.default_rng(0)
    for i in range(24):
        pixels = random.integers(0, 60, (4, 4)) + 190 * (i % 2)
        (tmp_path / "pictures" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "pictures" / "ab"[i % 2] / f"{i}.png")
    args = ("train", "--dataset", "pictures", "--components", 2, "--out", "run", "--set", "encoder.hidden=16")
    assert deepmix(*args, *TINY).returncode == 0
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())
    assert recorded["dataset"] == str(tmp_path / "pictures")
    assert deepmix("evaluate", "run", "--dataset", "pictures", "--json").returncode == 0
    (tmp_path / "pictures").rename(tmp_path / "moved")
    refuses(deepmix("evaluate", "run"), 2, "no longer at", "--dataset")
    assert deepmix("report", "run", "--dataset", "moved").returncode == 0
