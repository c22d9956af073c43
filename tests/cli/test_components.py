"""The number of clusters is chosen from the rows: on the command line, in a configuration file and in Python."""

from __future__ import annotations

import json
import re
import warnings

import numpy as np
import pytest

from deepmix import DeepMixture
from deepmix.experiment import prepare
from tests.cli.conftest import TINY, WITH_REPORT, refuses


@pytest.fixture
def square(tmp_path):
    """A CSV of rows without groups."""
    rows = np.random.default_rng(0).uniform(size=(300, 2))
    path = tmp_path / "square.csv"
    path.write_text("a,b\n" + "\n".join(f"{a:.4f},{b:.4f}" for a, b in rows) + "\n")
    return path


def choice_of(folder):
    return json.loads((folder / "config.json").read_text())["component_choice"]


@pytest.mark.parametrize("components", ["auto", "2:20"])
def test_three_groups_are_found_recorded_and_shown(deepmix, blobs, tmp_path, components):
    options = [word for word in WITH_REPORT if word != "--quiet"]
    result = deepmix(
        "train", "--dataset", blobs, "--drop", "kind", "--components", components, *options, "--out", "run"
    )
    assert result.returncode == 0, result.stderr
    lowest, highest = (1, 20) if components == "auto" else (2, 20)
    note = f"3 clusters, chosen from {lowest} to {highest}: the density of the rows has 3 peaks"
    assert note in " ".join(result.stderr.split())
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["resolved"]["size"]["components"] == 3
    assert config["settings"]["components"] == components
    choice = config["component_choice"]
    assert (choice["n_components"], choice["criterion"], choice["lowest"]) == (3, "peaks", lowest)
    assert choice["depth"]["3"] > 1.0 > choice["depth"]["4"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "How many clusters" in page
    assert "has 3 peaks" in page
    predicted = deepmix("predict", "run", blobs).stdout.splitlines()[1:]
    assert {line.split(",")[1] for line in predicted} <= {"0", "1", "2"}


def test_a_configuration_file_may_ask_for_a_choice(deepmix, blobs, tmp_path):
    (tmp_path / "options.toml").write_text('components = "2:6"\n')
    args = ("train", "--dataset", blobs, "--drop", "kind", "--config", "options.toml", *TINY)
    assert deepmix(*args, "--out", "run").returncode == 0
    assert choice_of(tmp_path / "run")["highest"] == 6
    again = deepmix("train", "--config", "run/config.json", *TINY, "--out", "again")
    assert again.returncode == 0, again.stderr
    assert choice_of(tmp_path / "again") == choice_of(tmp_path / "run")


def test_rows_without_groups_make_one_cluster_and_the_run_ends(deepmix, square, tmp_path):
    result = deepmix("train", "--dataset", square, "--components", "2:20", *WITH_REPORT, "--out", "run")
    assert result.returncode == 0, result.stderr
    assert "Warning: no groups: these rows show no groups" in result.stdout
    assert "\n1 cluster, chosen from 2 to 20\n" in result.stdout
    assert "--components K divides them nevertheless" in result.stdout
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["heads"]["posterior"]["test"]["sizes"] == [45]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "into 1 cluster." in page
    assert "These rows show no groups" in page
    assert "Nothing stood out" not in page
    assert {line.split(",")[1] for line in deepmix("predict", "run", square).stdout.splitlines()[1:]} == {"0"}


def test_dividing_rows_without_groups_is_warned_of(deepmix, square, blobs):
    result = deepmix("train", "--dataset", square, "--components", 5, *TINY, "--out", "run")
    assert "no groups: these rows show no groups, as their density has one peak; the 5 clusters" in result.stdout
    grouped = deepmix("train", "--dataset", blobs, "--drop", "kind", "--components", 3, *TINY, "--out", "grouped")
    assert "no groups" not in grouped.stdout


def test_resuming_does_not_choose_again(deepmix, blobs, tmp_path, monkeypatch):
    args = ("train", "--dataset", blobs, "--drop", "kind", "--components", "auto", *TINY)
    assert deepmix(*args, "--out", "whole").returncode == 0
    assert deepmix(*args, "--seeds", 2, "--out", "seeds").returncode == 0
    for run in (tmp_path / "whole", tmp_path / "seeds" / "seed-1"):
        (run / "metrics.json").unlink()
    monkeypatch.setattr(prepare, "choose_components", lambda *arguments: pytest.fail("K was chosen again"))
    for folder, run in (("whole", "whole"), ("seeds", "seeds/seed-1")):
        before = choice_of(tmp_path / run)
        result = deepmix("train", "--resume", "--out", folder, "--quiet")
        assert result.returncode == 0, result.stderr
        assert result.stdout.count("\n3 clusters, chosen from 1 to 20\n") == 1
        assert choice_of(tmp_path / run) == before
        assert before["n_components"] == 3


@pytest.mark.parametrize(
    ("components", "words"),
    [
        ("many", ("components must be a whole number, auto or a range such as 2:20, got 'many'",)),
        ("9:2", ("the range of --components must go up from at least 1, got 9:2", "--components 2:20")),
        ("0:2", ("must go up from at least 1",)),
        ("1", ("components must be at least 2, got 1",)),
    ],
)
def test_what_is_not_a_number_of_clusters_is_refused(deepmix, blobs, components, words):
    refuses(deepmix("train", "--dataset", blobs, "--components", components, *TINY, "--out", "run"), 2, *words)


def test_a_model_that_learns_from_labels_does_not_choose(deepmix, blobs):
    args = ("--label-column", "kind", "--model", "m2", "--set", "labelled=20", "--components", "auto")
    words = ("a model that learns from labels can't choose the number of clusters", "--components K")
    refuses(deepmix("train", "--dataset", blobs, *args, *TINY, "--out", "run"), 2, *words)


@pytest.mark.parametrize("n_components", ["auto", (2, 20), "2:20"])
def test_the_estimator_chooses_too(n_components):
    random = np.random.default_rng(0)
    rows = np.repeat(np.eye(4, 5) * 12.0, 50, axis=0) + random.normal(size=(200, 5))
    mixture = DeepMixture(n_components, epochs=2, pretrain_epochs=2, init="kmeans", latent_dim=2)
    with warnings.catch_warnings(action="ignore"):  # so short a training leaves latents unused
        mixture.fit(rows)
    assert mixture.n_components_ == 4
    assert mixture.cluster_sizes_.shape == (4,)
    assert mixture.n_components == n_components
    assert mixture.run_.record.component_choice.criterion == "peaks"


def test_the_help_names_the_choice(deepmix):
    text = re.sub(r"\s+", " ", deepmix("train", "--help").stdout)
    assert "--components K|auto|LOW:HIGH" in text
