"""Runs whose rows stay on disk, from `deepmix train` to what is made of the run."""

from __future__ import annotations

import csv
import json

import h5py
import numpy as np
import pandas as pd
import pytest

from deepmix.data import sample, split_options, table_file
from tests.cli.conftest import TINY, WITH_REPORT, refuses

ON_DISK = ("--set", "storage=disk", "--components", "3")
MODEL = ("--set", "encoder.hidden=16", "--set", "decoder.hidden=16", "--no-baselines")


@pytest.fixture
def npy(tmp_path, monkeypatch):
    """A .npy file of 900 rows in three groups, of which a sample has 240 training and 60 test rows."""
    monkeypatch.setattr(sample, "SAMPLE_ROWS", {"train": 240, "test": 60})
    monkeypatch.setattr(sample, "FEWEST_ROWS", 10)
    random = np.random.default_rng(0)
    group_N = random.integers(3, size=900)
    np.save(tmp_path / "rows.npy", (np.eye(3, 6) * 9.0)[group_N] + random.normal(size=(900, 6)))
    return group_N


def read(path):
    return json.loads(path.read_text())


def test_every_row_is_assigned_and_a_sample_is_reported(deepmix, npy, tmp_path):
    """The clusters of `train` are those of `predict`, and count all rows; the report says what it shows."""
    process = deepmix("train", "--dataset", "rows.npy", "--out", "run", *ON_DISK, *MODEL, *WITH_REPORT)
    assert process.returncode == 0, process.stderr
    with (tmp_path / "run" / "assignments.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["row"]) for row in rows] == list(range(1, 901))
    cluster_N = np.array([int(row["posterior"]) for row in rows])
    sides = np.array([row["split"] for row in rows])
    metrics = read(tmp_path / "run" / "metrics.json")
    assert metrics["sample"] == {"train": 240, "test": 60}
    for side, n_rows in (("train", 765), ("test", 135)):
        assert metrics["heads"]["posterior"][side]["sizes"] == np.bincount(cluster_N[sides == side]).tolist()
        assert sum(sides == side) == n_rows
    process = deepmix("predict", "run", "rows.npy", "--out", "new.csv")
    assert process.returncode == 0, process.stderr
    with (tmp_path / "new.csv").open() as file:
        assert [int(row["cluster"]) for row in csv.DictReader(file)] == cluster_N.tolist()
    report = (tmp_path / "run" / "report.html").read_text()
    assert "a random sample of 240 training and 60 held-out rows" in report
    assert deepmix("report", "run").returncode == 0
    assert (tmp_path / "run" / "report.html").read_text() == report


def test_a_run_from_disk_resumes_exactly_and_refuses_other_rows(deepmix, npy, tmp_path):
    arguments = ("train", "--dataset", "rows.npy", *ON_DISK, *MODEL, *TINY)
    assert deepmix(*arguments, "--out", "whole").returncode == 0
    assert deepmix(*arguments, "--out", "cut").returncode == 0
    cut = tmp_path / "cut"
    (cut / "checkpoint" / "state.safetensors").unlink()  # the one before it is of the end of pretraining
    (cut / "metrics.json").unlink()
    process = deepmix("train", "--resume", "--out", "cut", "--quiet")
    assert process.returncode == 0, process.stderr
    for name in ("model.safetensors", "assignments.csv"):
        assert (cut / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    (cut / "metrics.json").unlink()
    x = np.load(tmp_path / "rows.npy")
    x[7, 0] += 1e-3
    np.save(tmp_path / "rows.npy", x)
    refuses(deepmix("train", "--resume", "--out", "cut"), 2, "the data are not those")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--model", "m2", "--set", "labelled=6", "--label-column", "1"), ("learns from labels", "storage=memory")),
        (("--dataset", "packed.npz"), ("packed.npz", "can't stay on disk", ".npy")),
    ],
)
def test_what_needs_memory_says_so(deepmix, npy, tmp_path, options, words):
    np.savez_compressed(tmp_path / "packed.npz", x=np.load(tmp_path / "rows.npy"))
    refuses(deepmix("train", "--dataset", "rows.npy", *ON_DISK, *TINY, *options), 2, *words)
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def tables(tmp_path, npy, monkeypatch):
    """The same rows with gaps and levels, as a folder of two Parquet files and a CSV file, read in small blocks."""
    monkeypatch.setattr(table_file, "BLOCK_VALUES", 700)
    frame = pd.DataFrame(np.load(tmp_path / "rows.npy"), columns=list("abcdef"))
    frame["level"] = np.array(["x", "y", "z"])[npy]
    frame.loc[::7, "b"] = np.nan
    frame["id"] = [f"row {number}" for number in range(1, 901)]
    (tmp_path / "folder").mkdir()
    frame[:500].to_parquet(tmp_path / "folder" / "1.parquet", index=False)
    frame[500:].to_parquet(tmp_path / "folder" / "2.parquet", index=False)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    return frame


def test_tables_are_encoded_once_and_trained_from_disk(deepmix, tables, tmp_path, monkeypatch):
    """A folder of Parquet files and a CSV file of the same rows give the same run; predict and impute take both."""
    cache = ("--set", "cache_dir=cache", "--id-column", "id")
    for name in ("folder", "rows.csv"):
        process = deepmix("train", "--dataset", name, "--out", f"run-{name}", *ON_DISK, *cache, *MODEL, *TINY)
        assert process.returncode == 0, process.stderr
    encoded = sorted((tmp_path / "cache").glob("*/cells.npy"))
    np.testing.assert_array_equal(np.load(encoded[0]), np.load(encoded[1]))
    assert np.isnan(np.load(encoded[0])).mean(axis=0).max() == pytest.approx(129 / 900)
    assignments = [(tmp_path / f"run-{name}" / "assignments.csv").read_text() for name in ("folder", "rows.csv")]
    assert assignments[0] == assignments[1]
    assert deepmix("predict", "run-rows.csv", "folder", "--out", "new.csv").returncode == 0
    lines = list(csv.DictReader(assignments[0].splitlines()))
    column = [line["posterior"] for line in lines]
    assert [line["name"] for line in lines] == tables["id"].tolist()
    stability = read(tmp_path / "run-folder" / "metrics.json")["stability"]
    row_stability = np.array([float(line["stability"]) for line in lines])
    assert row_stability.min() >= 0.0
    assert row_stability.max() <= 1.0
    assert row_stability.mean() == pytest.approx(stability["agreement"], abs=0.05)
    with (tmp_path / "new.csv").open() as file:
        assert [row["cluster"] for row in csv.DictReader(file)] == column
    assert deepmix("impute", "run-folder", "folder", "--out", "filled.csv").returncode == 0
    with monkeypatch.context() as patch:
        patch.setattr(split_options, "MOST_MEMORY", 0)
        assert deepmix("impute", "run-folder", "folder", "--out", "blockwise.csv").returncode == 0
    whole, blockwise = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("filled", "blockwise"))
    pd.testing.assert_frame_equal(whole, blockwise, rtol=0.05, atol=0.05)
    assert not blockwise.isna().any().any()
    written = encoded[0].stat().st_mtime_ns
    assert deepmix("report", "run-folder").returncode == 0
    assert sorted((tmp_path / "cache").glob("*/cells.npy")) == encoded
    assert encoded[0].stat().st_mtime_ns == written


def test_an_hdf5_file_gives_the_run_of_a_numpy_file(deepmix, npy, tmp_path, monkeypatch):
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file["table/values"] = np.load(tmp_path / "rows.npy")
        file["table/flat"] = npy
        file["other"] = np.zeros((3, 2))
    refuses(deepmix("train", "--dataset", "rows.h5", *ON_DISK), 2, "name one with --set array=NAME", "table/values")
    for name, words in (("rows.npy", ()), ("rows.h5", ("--set", "array=table/values"))):
        process = deepmix("train", "--dataset", name, "--out", f"run-{name}", *words, *ON_DISK, *MODEL, *TINY)
        assert process.returncode == 0, process.stderr
    assignments = [(tmp_path / f"run-{name}" / "assignments.csv").read_text() for name in ("rows.npy", "rows.h5")]
    assert assignments[0] == assignments[1]
    monkeypatch.setattr(table_file, "BLOCK_VALUES", 700)
    assert deepmix("predict", "run-rows.h5", "rows.h5", "--out", "new.csv").returncode == 0
    with (tmp_path / "new.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["row"] for row in rows] == [str(number) for number in range(1, 901)]
    assert [row["cluster"] for row in rows] == [
        line["posterior"] for line in csv.DictReader(assignments[0].splitlines())
    ]


def test_parquet_files_that_differ_are_named(deepmix, tables, tmp_path):
    tables.astype({"c": str})[:9].to_parquet(tmp_path / "folder" / "3.parquet", index=False)
    refuses(
        deepmix("train", "--dataset", "folder", *ON_DISK), 2, "'3.parquet' and '1.parquet'", "differ in the column 'c'"
    )
    (tmp_path / "folder" / "3.parquet").write_bytes((tmp_path / "folder" / "1.parquet").read_bytes()[:-30])
    refuses(deepmix("train", "--dataset", "folder", *ON_DISK), 1, "3.parquet' can't be read")
    (tmp_path / "empty").mkdir()
    refuses(deepmix("train", "--dataset", "empty", *ON_DISK), 2, "the folder", "no images")
