"""The `deepmix reproduce` command: its list, its formats and its refusals."""

from __future__ import annotations

import json

from deepmix.reproduce import jobs, load_tables
from tests.cli.test_bad_input import refuses


def test_list_names_every_table_and_what_is_missing(deepmix):
    result = deepmix("reproduce", "--list", "--json")
    rows = json.loads(result.stdout)
    assert [row["table"] for row in rows] == list(load_tables())
    assert {f"supplement-{number}" for number in range(1, 10)} <= {row["table"] for row in rows}
    text = deepmix("reproduce", "--list").stdout
    assert all(row["title"] in text for row in rows)


def test_json_and_markdown_are_the_files(deepmix, tmp_path):
    result = deepmix(
        "reproduce", "report-clusters", "--quick", "--out", "out", "--models", "kmeans", "--json", "--quiet"
    )
    assert result.returncode == 0, result.stderr
    stem = tmp_path / "out" / "report-clusters-kmeans-quick"
    assert json.loads(result.stdout) == json.loads(stem.with_suffix(".json").read_text())
    result = deepmix("reproduce", "report-clusters", "--quick", "--out", "out", "--models", "kmeans")
    assert result.stdout.strip() == stem.with_suffix(".md").read_text().strip()
    assert "--seeds 1 --quick" in result.stdout


def test_wrong_words(deepmix, tmp_path):
    refuses(deepmix("reproduce"), 2, "no table is named", "--list")
    refuses(deepmix("reproduce", "supplement-10"), 2, "unknown table 'supplement-10'", "supplement-9", "vade-figure-6")
    refuses(deepmix("reproduce", "supplement-3", "--datasets", "mnist"), 2, "no dataset 'mnist'", "digits")
    refuses(deepmix("reproduce", "vade-figure-2", "--datasets", "digts"), 2, "unknown data set or file 'digts'", "usps")
    refuses(deepmix("reproduce", "vade-figure-2", "--datasets", "rows.csv"), 2, "there is no file 'rows.csv'")
    refuses(deepmix("reproduce", "supplement-3", "--seeds", 0), 2, "--seeds")
    (tmp_path / "file").write_text("mine")
    refuses(deepmix("reproduce", "supplement-3", "--out", "file"), 2, "'file' is a file", "--out")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_ctrl_c_says_how_to_go_on(deepmix, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "run_experiment", interrupt)
    result = deepmix("reproduce", "report-clusters", "--quick", "--quiet")
    assert result.returncode == 130
    assert "the same command continues" in result.stderr
