"""What a run is compared with: its start, plain methods, refits of its clusters, and the other seeds."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from deepmix.metrics import clustering_accuracy
from tests.cli.conftest import TINY, WITH_REPORT, refuses

QUICK = ("--epochs", "2", "--pretrain-epochs", "2", "--quiet")


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


def columns_of(path):
    with path.open(newline="") as file:
        return {name: [row[name] for row in rows] for rows in [list(csv.DictReader(file))] for name in rows[0]}


def test_a_run_records_its_start_its_rivals_and_its_stability(deepmix, blobs, tmp_path):
    data = ("--dataset", blobs, "--label-column", "kind")
    result = deepmix("train", *data, "--init", "auto", "--out", "run", *QUICK)
    assert result.returncode == 0, result.stderr
    metrics = metrics_of(tmp_path / "run")
    choice = metrics["initial_choice"]
    assert choice["candidates"][choice["method"]]["agreement"] == 1.0
    assert choice["candidates"]["kmeans"]["ari"] == 1.0
    assert len(choice["candidates"]) > 5
    methods = metrics["baselines"]["methods"]
    assert list(methods) == ["k-means", "GMM", "HDBSCAN"]
    assert methods["k-means"]["test"]["acc"] == methods["GMM"]["train"]["ari"] == 1.0
    assert set(metrics["baselines"]["cohesion"]) == {"posterior", "initial"}
    assert 0.8 < metrics["stability"]["agreement"] <= 1.0
    assert len(metrics["stability"]["clusters"]) == 3
    stability = np.array(columns_of(tmp_path / "run" / "assignments.csv")["stability"], float)
    assert stability.mean() == pytest.approx(metrics["stability"]["agreement"], abs=0.02)
    kmeans = methods["k-means"]
    criteria = [f"{kmeans[name]:.4f}" for name in ("cohesion", "total") if name in kmeans]  # a run that drifts has both
    cells = ["1.0000"] * 4 + ["-", *criteria, f"{kmeans['seconds']:.1f}"]
    assert ["(k-means)", *cells] in [line.split() for line in result.stdout.splitlines()]
    page = (tmp_path / "run" / "report.html").read_text()
    for text in ("How the initial clusters were chosen", "Beside plain methods", "stability"):
        assert text in page
    assert {"stability", "certainty"} <= set(columns_of(tmp_path / "run" / "clusters.csv"))


def test_baselines_can_be_left_out(deepmix, blobs, tmp_path):
    for name, options in (("run", ("--no-baselines",)), ("again", ("--config", "run/config.json"))):
        data = () if name == "again" else ("--dataset", blobs, "--components", 3)
        result = deepmix("train", *data, "--out", name, *options, *TINY)
        assert result.returncode == 0, result.stderr
        metrics = metrics_of(tmp_path / name)
        assert "baselines" not in metrics
        assert "initial_choice" not in metrics
        assert "(k-means)" not in result.stdout
        assert "cohesion" not in result.stdout
        assert json.loads((tmp_path / name / "config.json").read_text())["baselines"] is False


def test_the_choice_outlives_an_interruption(deepmix, blobs, tmp_path):
    result = deepmix("train", "--dataset", blobs, "--components", 3, "--init", "auto", "--out", "run", *QUICK)
    assert result.returncode == 0, result.stderr
    before = metrics_of(tmp_path / "run")
    (tmp_path / "run" / "metrics.json").unlink()
    assert deepmix("train", "--resume", "--out", "run", "--quiet").returncode == 0
    after = metrics_of(tmp_path / "run")
    assert after["initial_choice"] == before["initial_choice"]
    assert after["stability"] == before["stability"]
    assert after["baselines"]["cohesion"] == before["baselines"]["cohesion"]


@pytest.fixture
def seeds(deepmix, blobs, tmp_path):
    data = ("--dataset", blobs, "--label-column", "kind", "--id-column", "a")
    result = deepmix("train", *data, "--seeds", 3, "--out", "seeds", *WITH_REPORT)
    assert result.returncode == 0, result.stderr
    record = json.loads((tmp_path / "seeds" / "consensus" / "consensus.json").read_text())
    assert f"Consensus of the seeds, mean certainty {record['mean_certainty']:.2f}: seeds/consensus" in result.stdout
    return tmp_path / "seeds"


def test_seeds_have_a_consensus(deepmix, blobs, seeds):
    table = columns_of(seeds / "consensus" / "assignments.csv")
    assert list(table) == ["row", "name", "split", "cluster", "certainty", "label"]
    assert set(table["certainty"]) <= {"1.0", "0.666667", "0.333333"}
    figures = metrics_of(seeds / "consensus")["heads"]["consensus"]
    test = np.array(table["split"]) == "test"
    labels, clusters = np.array(table["label"]), np.array(table["cluster"], int)
    assert figures["test"]["acc"] == clustering_accuracy(labels[test], clusters[test])
    assert figures["train"]["ari"] == pytest.approx(adjusted_rand_score(labels[~test], clusters[~test]))
    assert sum(figures["train"]["sizes"]) + sum(figures["test"]["sizes"]) == 120
    record = json.loads((seeds / "consensus" / "consensus.json").read_text())
    assert record["seeds"] == [0, 1, 2]
    assert record["sizes"] == np.bincount(clusters, minlength=3).tolist()
    single = columns_of(seeds / f"seed-{record['central']}" / "assignments.csv")["posterior"]
    assert np.mean(np.array(single, int) == clusters) > 0.8
    assert "Consensus of the seeds" in (seeds / "report.html").read_text()
    result = deepmix("predict", "seeds/consensus", blobs, "--out", "new.csv")
    assert result.returncode == 0, result.stderr
    new = columns_of(seeds.parent / "new.csv")
    assert new["cluster"] == table["cluster"]
    np.testing.assert_allclose(np.array(new["probability"], float), np.array(table["certainty"], float))


def test_a_consensus_needs_its_seeds_and_has_no_heads_or_model(deepmix, blobs, seeds):
    refuses(deepmix("predict", "seeds/consensus", blobs, "--head", "posterior"), 2, "a consensus has no heads")
    refuses(deepmix("predict", "seeds", blobs), 2, "choose a folder in it: seed-0, seed-1", "consensus (for")
    refuses(deepmix("embed", "seeds/consensus", blobs), 2, "holds the consensus of several seeds", "such as '")
    shutil.move(seeds / "seed-1", seeds.parent / "elsewhere")
    refuses(deepmix("predict", "seeds/consensus", blobs), 2, "there is no 'seed-1'")


def test_a_single_seed_has_no_consensus(deepmix, blobs, tmp_path):
    result = deepmix("train", "--dataset", blobs, "--components", 3, "--seeds", 1, "--out", "seeds", *TINY)
    assert result.returncode == 0, result.stderr
    assert not (tmp_path / "seeds" / "consensus").exists()
