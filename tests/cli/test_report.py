"""`deepmix report`, and the report at the end of a run."""

from __future__ import annotations

import json

import numpy as np
import pytest

from deepmix.report import seeds, writing
from tests.cli.conftest import WITH_REPORT


def labelled(path):
    return ("--dataset", path, "--label-column", "kind")


HOSTILE = '"<script>alert(1)</script>"'


@pytest.fixture
def hostile(tmp_path):
    """Write a CSV whose columns and labels are written in HTML."""
    random = np.random.default_rng(0)
    names = [f"{HOSTILE}", '"</style><h1>a"', "b&b", "kind"]
    kinds = np.array(["<b>bold</b>", "plain"])[np.arange(80) % 2]
    rows = random.normal(size=(80, 3)) + 6.0 * (np.arange(80) % 2)[:, None]
    lines = [",".join(names), *(",".join([*map(str, row), kind]) for row, kind in zip(rows, kinds, strict=True))]
    path = tmp_path / "hostile.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_run_ends_with_its_report_and_the_command_writes_the_same(deepmix, hostile, tmp_path):
    result = deepmix("train", "--dataset", hostile, "--label-column", "kind", "--out", "run", *WITH_REPORT)
    assert result.returncode == 0, result.stderr
    path = tmp_path / "run" / "report.html"
    first = path.read_text("utf-8")
    for name in ("<script", "<h1>a", "<b>bold"):
        assert name not in first
        assert name.replace("<", "&lt;").replace(">", "&gt;") in first
    path.unlink()
    result = deepmix("report", "run")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "run/report.html\n"
    assert path.read_text("utf-8") == first
    result = deepmix("report", "run", "--json")
    assert json.loads(result.stdout)["bytes"] == path.stat().st_size


def test_a_model_of_one_component_and_a_sklearn_head_get_a_report(deepmix, blobs, tmp_path):
    result = deepmix(
        "train",
        *labelled(blobs),
        "--model",
        "vae",
        "--head",
        "kmeans",
        "--out",
        "run",
        *WITH_REPORT,
    )
    assert result.returncode == 0, result.stderr
    text = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "Clusters against labels" in text
    assert "q(y|x)" not in text


def test_digits_are_shown_as_images_and_tables_by_their_columns(deepmix, blobs, tmp_path):
    assert deepmix("train", "--components", 2, "--out", "digits", *WITH_REPORT).returncode == 0
    text = (tmp_path / "digits" / "report.html").read_text("utf-8")
    assert text.count('<img src="data:image/png;base64,') == 6
    assert 'alt="Cluster 1: generated like the rows of component 1, 8 images"' in text
    assert deepmix("train", *labelled(blobs), "--out", "table", *WITH_REPORT).returncode == 0
    text = (tmp_path / "table" / "report.html").read_text("utf-8")
    assert "<img" not in text
    assert "What sets cluster 2 apart</span></caption>" in text


def test_no_report_leaves_it_out_until_it_is_asked_for(deepmix, blobs, tmp_path):
    args = ("train", *labelled(blobs), "--no-report", "--out", "run", *WITH_REPORT)
    assert deepmix(*args).returncode == 0
    assert not (tmp_path / "run" / "report.html").exists()
    assert deepmix("report", "run").returncode == 0
    assert (tmp_path / "run" / "report.html").exists()
    assert deepmix(*args, "--overwrite").returncode == 0  # the report is deepmix's own, so it is no reason to refuse


def test_a_broken_report_is_a_warning_and_the_run_is_whole(deepmix, blobs, tmp_path, monkeypatch):
    def broken(*args):
        raise ZeroDivisionError("by chance")

    monkeypatch.setattr(writing, "render", broken)
    monkeypatch.setattr(seeds, "render", broken)
    args = [word for word in WITH_REPORT if word != "--quiet"]
    result = deepmix("train", *labelled(blobs), "--seeds", 2, "--out", "run", *args)
    assert result.returncode == 0
    assert "ZeroDivisionError: by chance" in result.stderr
    assert "deepmix report run" in result.stderr
    for seed in (0, 1):
        assert {"metrics.json", "assignments.csv"} <= {
            path.name for path in (tmp_path / "run" / f"seed-{seed}").iterdir()
        }
    assert not list((tmp_path / "run").rglob("report.html*"))


def test_several_seeds_get_a_report_of_their_spread_beside_their_own(deepmix, blobs, tmp_path):
    args = ("train", *labelled(blobs), "--seeds", 3, "--out", "run", *WITH_REPORT)
    assert deepmix(*args).returncode == 0
    path = tmp_path / "run" / "report.html"
    text = path.read_text("utf-8")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())["heads"]["posterior"]["acc"]
    assert f">{summary['mean']:.3f} ± " in text
    for seed in range(3):
        assert f'href="seed-{seed}/report.html"' in text
        assert (tmp_path / "run" / f"seed-{seed}" / "report.html").exists()
    assert "--seeds 3" in text
    own = tmp_path / "run" / "seed-2" / "report.html"
    own.unlink()
    assert deepmix("report", "run").returncode == 0
    assert own.exists()
    assert path.read_text("utf-8") == text


@pytest.mark.parametrize(("moved", "is_unstable"), [(4, False), (30, True)])
def test_unstable_over_seeds_is_a_warning_if_more_than_one_row_in_ten_moves(
    deepmix, blobs, tmp_path, moved, is_unstable
):
    args = (
        "train",
        *labelled(blobs),
        "--seeds",
        2,
        "--no-report",
        "--out",
        "run",
        *WITH_REPORT,
    )
    assert deepmix(*args).returncode == 0
    header = "row,split,posterior,probability,label"
    for seed, shift in ((0, 0), (1, moved)):
        clusters = [(i + (i < shift)) % 3 for i in range(120)]
        lines = [f"{i + 1},train,{cluster},1.0,ant" for i, cluster in enumerate(clusters)]
        folder = tmp_path / "run" / f"seed-{seed}"
        (folder / "assignments.csv").write_text("\n".join([header, *lines]) + "\n")
        values = json.loads((folder / "metrics.json").read_text())
        del values["checksum"], values["assignments"]  # as of a run that has no checksums
        (folder / "metrics.json").write_text(json.dumps(values))
    material = seeds.collect(tmp_path / "run")
    assert material.mean_agreement == pytest.approx(1 - moved / 120)
    text = seeds.render(material)
    assert ("The clusters depend on the seed" in text) == is_unstable
    assert (f"only {100 - 100 * moved / 120:.1f} % of the rows in matching clusters" in text) == is_unstable


def test_refusals_name_cause_and_cure(deepmix, blobs, tmp_path):
    def refused(*args, words):
        result = deepmix("report", *args)
        assert result.returncode == 2
        assert result.stdout == ""
        for word in words:
            assert word in result.stderr
        assert "Traceback" not in result.stderr

    refused("nowhere", words=("'nowhere' is not a run folder",))
    args = ("train", *labelled(blobs), "--no-report", "--out", "run", *WITH_REPORT)
    assert deepmix(*args).returncode == 0
    text = blobs.read_text()
    blobs.write_text(text.replace("ant", "bee", 1).replace("\n1", "\n2", 1))
    refused("run", words=("has changed since 'run' was trained on it", "--dataset", "train again"))
    blobs.unlink()
    refused("run", words=("are no longer at", "--dataset"))
    (tmp_path / "run" / "metrics.json").unlink()
    refused("run", words=("is not finished", "deepmix train --resume --out run"))
    assert not (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize("name", ["config.json", "metrics.json", "metrics.jsonl", "assignments.csv"])
def test_damaged_files_are_named_and_the_old_report_stays(deepmix, blobs, tmp_path, name):
    assert deepmix("train", *labelled(blobs), "--out", "run", *WITH_REPORT).returncode == 0
    report = (tmp_path / "run" / "report.html").read_bytes()
    for content in ("{", "{}"):
        (tmp_path / "run" / name).write_text(content)
        result = deepmix("report", "run")
        assert result.returncode == 1
        assert "run" in result.stderr
        assert "train again with --overwrite" in result.stderr or "can't be read" in result.stderr
        assert (tmp_path / "run" / "report.html").read_bytes() == report
