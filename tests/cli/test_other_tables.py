"""Tables that differ from the one of the training: what is read, what is left out, and what is said."""

from __future__ import annotations

import csv
import json

import numpy as np
import pandas as pd
import pytest

from tests.cli.conftest import TINY, refuses

SMALL = ("--components", 2, "--set", "encoder.hidden=16", "--set", "decoder.hidden=16")


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Return a table of two groups with weights, written to t.csv; a quarter of its rows has no label."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    group = np.repeat([0, 1], 30)
    table = pd.DataFrame(
        {
            "height": (random.normal(size=60) + 8 * group).round(3),
            "width": (2 * random.normal(size=60) + 9 * group).round(3),
            "note": [f"n{i}" for i in range(60)],
            "w": np.where(np.arange(60) % 3, 1.0, 2.0),
            "kind": np.where(random.random(60) < 0.25, "", np.where(group, "b", "a")),
        }
    )
    table.to_csv("t.csv", index=False)
    return table


def test_evaluate_reads_a_table_as_predict_does(deepmix, table, tmp_path):
    options = ("--label-column", "kind", "--weight-column", "w", "--drop", "note", *SMALL)
    assert deepmix("train", "--dataset", "t.csv", *options, "--out", "run", *TINY).returncode == 0
    table.drop(columns=["w", "note"]).to_csv("without.csv", index=False)
    table.assign(kind="").to_csv("unlabelled.csv", index=False)
    figures = {}
    for name in ("t.csv", "without.csv", "unlabelled.csv"):
        result = deepmix("evaluate", "run", "--dataset", name, "--json")
        assert result.returncode == 0, result.stderr
        figures[name] = json.loads(result.stdout)["heads"]["posterior"]["all"]
    assert figures["without.csv"]["sizes"] == figures["t.csv"]["sizes"]
    assert figures["without.csv"]["acc"] is not None
    assert "acc" not in figures["unlabelled.csv"]
    refuses(deepmix("evaluate", "run", "--dataset", "without.csv", "--label-column", "w"), 2, "no label column 'w'")


def test_assignments_hold_the_weights_that_compare_uses(deepmix, table, tmp_path):
    labelled = ("train", "--dataset", "t.csv", "--label-column", "kind", "--drop", "note", *SMALL)
    assert deepmix(*labelled, "--weight-column", "w", "--out", "weighted", *TINY).returncode == 0
    assert deepmix(*labelled, "--drop", "w", "--out", "plain", *TINY).returncode == 0
    with (tmp_path / "weighted" / "assignments.csv").open() as file:
        assert [float(row["weight"]) for row in csv.DictReader(file)] == table["w"].tolist()
    assert "weight" not in (tmp_path / "plain" / "assignments.csv").read_text().splitlines()[0]
    compared = json.loads(deepmix("compare", "weighted", "weighted", "--json").stdout)["runs"][0]["acc"]["mean"]
    metrics = json.loads((tmp_path / "weighted" / "metrics.json").read_text())
    assert compared == pytest.approx(metrics["heads"]["posterior"]["test"]["acc"])
    assert deepmix("report", "weighted").returncode == 0
    page = " ".join((tmp_path / "weighted" / "report.html").read_text().split())
    assert "held-out rows without a label are left out" in page
    assert "held-out rows that have a label, by weight, are in the cluster" in page
    refuses(deepmix("compare", "weighted", "plain"), 2, "weigh their test rows differently", "--weight-column")


def test_a_number_without_bounds_is_refused_in_training_and_flagged_afterwards(deepmix, table, tmp_path):
    arguments = ("--label-column", "kind", "--drop", "note", "--drop", "w", *SMALL)
    table.assign(height=np.where(np.arange(60) < 50, 1e300, 1.0)).to_csv("far.csv", index=False)
    refused = deepmix("train", "--dataset", "far.csv", *arguments, "--out", "x", *TINY)
    refuses(refused, 2, "column 'height' is 1e+300 in row 1, which is too large", "--missing 1e+300")
    assert not (tmp_path / "x").exists()
    assert deepmix("train", "--dataset", "t.csv", *arguments, "--out", "run", *TINY).returncode == 0
    table.assign(height=np.where(np.arange(60) == 7, 1e300, table["height"])).to_csv("one.csv", index=False)
    result = deepmix("predict", "run", "one.csv", "-o", "p.csv")
    assert result.returncode == 0, result.stderr
    assert "Warning" not in result.stderr
    clusters = pd.read_csv("p.csv")["cluster"]
    assert np.flatnonzero(clusters == -1).tolist() == [7]


def test_messages_name_rows_of_the_file_and_not_of_a_block(deepmix, table, monkeypatch):
    arguments = ("--label-column", "kind", "--drop", "note", "--weight-column", "w", *SMALL)
    assert deepmix("train", "--dataset", "t.csv", *arguments, "--out", "run", *TINY).returncode == 0
    monkeypatch.setattr("deepmix.data.table_file.BLOCK_VALUES", 8 * 5 * 20)  # twenty rows per block of text
    table.assign(height=table["height"].astype(object).where(table.index != 45, "tall")).to_csv("bad.csv", index=False)
    refuses(deepmix("predict", "run", "bad.csv"), 2, "'height' (continuous; row 46: 'tall')")
    table.assign(w=np.where(table.index == 45, 0, 1)).to_csv("bad.csv", index=False)
    refuses(deepmix("predict", "run", "bad.csv"), 2, "'w' has no number greater than 0 in row 46")
