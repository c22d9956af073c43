"""Names and labels that are code for a terminal, a browser or a spreadsheet stay text."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from deepmix.data import downloads
from deepmix.errors import printable
from tests.cli.conftest import TINY, refuses

NAMES = ["\x1b[31mred", "=1+1", "<script>alert(1)</script>", "+a", "\x9b2J", "kind"]
LABELS = ["=cmd|' /C calc'!A0", "</script><script>alert(2)</script>", "\x1b]0;title\x07"]
SMALL = ("--components", 3, "--set", "encoder.hidden=16", "--set", "decoder.hidden=16")
SCRIPT_STARTS = ("<script>alert", "</script><script>")


@pytest.fixture
def hostile(tmp_path) -> Path:
    random = np.random.default_rng(0)
    rows = np.eye(3, 5)[np.arange(60) % 3] * 9.0 + random.normal(size=(60, 5))
    with (tmp_path / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(NAMES)
        writer.writerows([[*map("{:.4f}".format, row), LABELS[i % 3]] for i, row in enumerate(rows)])
    return tmp_path / "rows.csv"


def cells(text: str) -> list[str]:
    return [cell for row in csv.reader(io.StringIO(text)) for cell in row]


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def check_output(process) -> None:
    assert process.returncode == 0, process.stderr
    for text in (process.stdout, process.stderr):
        assert text == printable(text)


def test_hostile_names_and_labels(deepmix, hostile):
    options = ("--dataset", hostile, "--label-column", "kind", *SMALL, "--out", "run")
    plain = [word for word in TINY if word not in ("--quiet", "--no-report")]
    check_output(deepmix("train", *options, *plain))
    run = hostile.parent / "run"
    outputs = {
        "inspect": deepmix("inspect", hostile),
        "predict": deepmix("predict", run, hostile),
        "sample": deepmix("sample", run, "--csv", "-"),
        "impute": deepmix("impute", run, hostile),
        "evaluate": deepmix("evaluate", run),
    }
    for process in outputs.values():
        check_output(process)
    assert "\\u001b[31mred" in outputs["inspect"].stdout
    texts = [outputs[name].stdout for name in ("predict", "sample", "impute")]
    texts += [path.read_text("utf-8") for path in (run / "assignments.csv", run / "clusters.csv")]
    n_neutralised = 0
    for text in texts:
        for cell in cells(text):
            assert not cell.startswith(("=", "+", "-", "@")) or is_number(cell) or len(cell) == 1, cell
            n_neutralised += cell.startswith("'=")
    assert n_neutralised > 0
    page = (run / "report.html").read_text("utf-8")
    assert not any(start in page for start in SCRIPT_STARTS)
    assert "&lt;script&gt;alert(1)" in page


def test_an_error_that_quotes_a_name(deepmix, hostile):
    process = deepmix("train", "--dataset", hostile, "--label-column", "nope", *SMALL, *TINY)
    refuses(process, 2, "there is no label column 'nope'", "\\u001b[31mred", "\\u009b2J")
    assert process.stderr == printable(process.stderr)


def test_a_file_keeps_the_names_as_they_are(deepmix, hostile):
    """What is neutralised for the terminal stays whole in a file: columns keep their names."""
    deepmix("train", "--dataset", hostile, "--label-column", "kind", *SMALL, "--out", "run", *TINY)
    assert deepmix("sample", "run", "--csv", "rows-2.csv").returncode == 0
    header = cells((hostile.parent / "rows-2.csv").read_text("utf-8").split("\n")[0])
    assert "\x1b[31mred" in header
    assert "'=1+1" in header


@pytest.fixture
def stranger(deepmix, tmp_path, monkeypatch) -> Path:
    """Return a run on the data set `har`, whose config.json names a folder of a stranger's choice."""
    (tmp_path / "data").mkdir()
    rows = np.eye(3, 6)[np.arange(60) % 3] * 9.0 + np.random.default_rng(0).normal(size=(60, 6))
    np.savez(tmp_path / "data" / "har.npz", x=rows, y=np.arange(60) % 3, n_train=45)
    options = ("--dataset", "har", "--data-dir", tmp_path / "data", *SMALL, "--out", "run")
    assert deepmix("train", *options, *TINY).returncode == 0
    (tmp_path / "chosen").mkdir()
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text().replace(str(tmp_path / "data"), str(tmp_path / "chosen")))
    del config["checksum"]
    path.write_text(json.dumps(config))
    assert "chosen" in path.read_text()

    def fetch(*args):
        raise AssertionError("something was fetched")

    monkeypatch.setattr(downloads, "_fetch", fetch)
    return tmp_path / "run"


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "run"),
        ("report", "run"),
        ("evaluate", "run", "--head", "kmeans"),
        ("train", "--resume", "--out", "run"),
    ],
)
def test_a_run_does_not_choose_where_data_are_fetched_to(deepmix, stranger, words):
    process = deepmix(*words)
    refuses(process, 2, "not in the folder that the run names", "only into a folder that you name with --data-dir")
    assert list((stranger.parent / "chosen").iterdir()) == []
    process = deepmix(*words, "--data-dir", stranger.parent / "data")
    assert process.returncode == 0, process.stderr


def test_nor_for_another_data_set(deepmix, stranger):
    refuses(deepmix("evaluate", stranger, "--dataset", "mnist"), 2, "data set 'mnist' is not in the data folder")
    assert list((stranger.parent / "chosen").iterdir()) == []
