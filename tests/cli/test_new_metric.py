"""A metric is declared once, and then every command that shows metrics has it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import fowlkes_mallows_score

from deepmix.experiment.baselines import standard_judge
from deepmix.metrics import METRICS, Clustering, Metric, declare
from deepmix.reproduce import jobs
from deepmix.runs import Metrics, RunFolder
from tests.cli.conftest import WITH_REPORT, refuses


def fowlkes_mallows(clustering: Clustering) -> float:
    """Return the Fowlkes-Mallows index."""
    return float(fowlkes_mallows_score(clustering.label_N, clustering.cluster_N))


def largest_cluster(clustering: Clustering) -> float:
    """Return the fraction of the rows in the largest cluster."""
    return float(np.bincount(clustering.cluster_N).max() / len(clustering.cluster_N))


@pytest.fixture
def declared(monkeypatch):
    """Declare a metric that needs labels, and one that needs none and for which lower is better."""
    for metric in (
        Metric("fmi", "Fowlkes-Mallows index", "geometric mean of precision and recall of pairs", fowlkes_mallows),
        Metric(
            "largest",
            "largest cluster",
            "fraction of the rows in it",
            largest_cluster,
            higher_is_better=False,
            needs_labels=False,
        ),
    ):
        monkeypatch.setitem(METRICS, metric.name, metric)


def test_a_new_metric_is_everywhere(deepmix, blobs, tmp_path, declared, monkeypatch):
    monkeypatch.setattr("deepmix.experiment.run.standard_judge", standard_judge)
    result = deepmix("train", "--dataset", blobs, "--label-column", "kind", "--seeds", 2, "--out", "run", *WITH_REPORT)
    assert result.returncode == 0, result.stderr
    header = next(line.split() for line in result.stdout.splitlines() if line.split()[:1] == ["head"])
    names = ["acc", "nmi", "ari", "v_measure", "silhouette", "fmi", "largest"]
    assert header == ["head", *names, "cohesion", "total", "seconds"]

    table = RunFolder(tmp_path / "run" / "seed-0").read_table("assignments.csv")
    test = np.array(table["split"]) == "test"
    labels, clusters = np.array(table["label"])[test], np.array(table["posterior"]).astype(int)[test]
    expected = {"fmi": fowlkes_mallows_score(labels, clusters), "largest": np.bincount(clusters).max() / test.sum()}
    results = [RunFolder(tmp_path / "run" / f"seed-{seed}").read(Metrics) for seed in (0, 1)]
    values = {name: [one.score("posterior", name) for one in results] for name in expected}
    assert {name: values[name][0] for name in expected} == pytest.approx(expected)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())["heads"]["posterior"]
    assert summary["fmi"]["best"] == max(values["fmi"])
    assert summary["largest"]["best"] == min(values["largest"])

    page = (tmp_path / "run" / "seed-0" / "report.html").read_text()
    assert "<dt>Fowlkes-Mallows index</dt><dd>geometric mean of precision and recall of pairs</dd>" in page
    assert "largest cluster</th>" in page
    assert "Fowlkes-Mallows index</th>" in (tmp_path / "run" / "report.html").read_text()

    scores = json.loads(deepmix("evaluate", "run/seed-0", "--json").stdout)["heads"]["posterior"]["test"]
    assert {name: scores[name] for name in expected} == pytest.approx(expected)
    assert "largest" in deepmix("evaluate", "run/seed-0").stdout

    compared = json.loads(deepmix("compare", "run", "run/seed-0", "--metric", "largest", "--json").stdout)["runs"]
    assert [row["largest"]["values"] for row in compared] == [values["largest"], values["largest"][:1]]
    assert compared[0]["largest"]["best"] == min(values["largest"])

    path = tmp_path / "run" / "seed-0"
    assert jobs.measure("fmi", "posterior", "test", path, results[0]) == pytest.approx(100.0 * expected["fmi"])
    everything = [np.array(table[name]) for name in ("label", "posterior")]
    assert jobs.measure("fmi", "posterior", "all", path, results[0]) == pytest.approx(
        100.0 * fowlkes_mallows_score(*everything)
    )
    assert jobs.initial("fmi", "test", results[0]) == pytest.approx(100.0 * results[0].baseline["fmi"])
    assert (jobs.best_of("fmi"), jobs.best_of("largest"), jobs.best_of("n_parameters")) == (max, min, min)


def test_metrics_that_need_latents_can_not_be_compared_and_a_name_is_declared_once(deepmix):
    result = deepmix("compare", "run", "--metric", "silhouette")
    refuses(result, 2, "'silhouette' is not one of", "'acc'", "'v_measure'", "'elbo'")
    with pytest.raises(ValueError, match="a metric 'acc' is already declared"):
        declare(METRICS["acc"])
