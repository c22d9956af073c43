"""The report on what a run was compared with: its start, plain methods, and refits of its clusters."""

from __future__ import annotations

import dataclasses

from deepmix.report import rivals
from deepmix.report.clusters import sizes, stability_remark
from deepmix.report.sections import cautions, lead
from deepmix.report.words import command, rival
from deepmix.report.writing import render
from deepmix.runs import Baseline, Baselines, Candidate, InitialChoice, Stability
from tests.report.conftest import make_material, make_table_material

CHOICE = InitialChoice(
    "gmm",
    200,
    {
        "gmm": Candidate({"cut": -0.1, "gap": 0.2, "total": 2.5}, 1.0, 0.8),
        "<ward>": Candidate({"cut": -0.2, "gap": 0.3, "total": 1.0}, 0.6, 0.9),
        "kmeans": Candidate({"cut": -0.3, "gap": 0.1, "total": -1.0}, 0.4, 0.7),
    },
)
BASELINES = Baselines(
    200,
    {"k-means": Baseline(4, 0.91, 0.25, {"acc": 0.5}, {"acc": 0.625}), "HDBSCAN": Baseline(2, 0.99, 0.125)},
    {"posterior": 0.8, "initial": 0.85},
)
BETTER = "better baseline: the clusters of k-means keep neighbours together better than those of the run (0.91)"


def compared(make=make_material, **more):
    material = make()
    stability = Stability("Ward", 200, 20, 0.87, 0.9, "features", [0.5, 0.75, None, 1.0])
    metrics = dataclasses.replace(
        material.metrics, initial_choice=CHOICE, baselines=BASELINES, stability=stability, **more
    )
    return dataclasses.replace(material, metrics=metrics)


def test_the_choice_is_explained():
    text = str(rivals.initial_choice(compared()).body)
    assert "3 methods clustered 200 training rows" in text
    assert "Those of gmm were chosen because the sum of all criteria is largest; no candidate is better by cut." in text
    assert "adjusted Rand index of 0.50 on average, from 0.40 to 0.60" in text
    assert "have an index of 0.80 and the best candidate, &lt;ward&gt;, has 0.90." in text
    assert "gmm (chosen)" in text
    assert "minus the mean conductance" in text
    assert rivals.initial_choice(make_material()) is None


def test_plain_methods_stand_beside_the_run():
    material = compared()
    text = str(rivals.plain_methods(material).body)
    for cell in ("0.625", "0.910", "0.250", "0.990", "0.800", "0.850"):
        assert f">{cell}<" in text
    assert "this run, head posterior" in text
    assert "The total needs no labels" not in text
    methods = {**BASELINES.methods, "k-means": dataclasses.replace(BASELINES.methods["k-means"], total=7.5)}
    judged = dataclasses.replace(BASELINES, methods=methods, totals={"posterior": 1.25})
    metrics = dataclasses.replace(material.metrics, baselines=judged)
    text = str(rivals.plain_methods(dataclasses.replace(material, metrics=metrics)).body)
    for cell in (">7.500<", ">1.250<", "The total needs no labels"):
        assert cell in text
    assert rivals.plain_methods(make_material()) is None


def test_a_better_method_is_said_in_the_first_lines_and_as_a_warning():
    material = compared(warnings=[BETTER])
    assert rival(material).startswith("The clusters of k-means keep neighbours together better")
    opening = str(lead(material))
    assert opening.index("The clusters of k-means keep") < opening.index("held-out rows are in the cluster")
    assert "A plain method may be better" in str(cautions(material).body)
    assert rival(make_material()) == ""


def test_the_simplest_method_is_chosen_where_all_disagree():
    kmeans = Candidate({"cut": -0.3, "simplest": 1.0, "total": 20.0}, 1.0)
    ward = Candidate({"cut": -0.2, "simplest": 0.0, "total": 1.0}, 0.1)
    choice = InitialChoice("kmeans", 40, {"kmeans": kmeans, "ward": ward})
    material = make_material()
    metrics = dataclasses.replace(material.metrics, initial_choice=choice)
    text = str(rivals.initial_choice(dataclasses.replace(material, metrics=metrics)).body)
    assert "Those of kmeans were chosen: the methods disagree, so that none of them shows clear clusters" in text
    assert "no candidate is better by" not in text
    assert "1 for k-means, where the partition that leads by the other criteria hardly agrees with the rest" in text


def test_each_cluster_has_its_stability():
    material = compared()
    text = str(sizes(material).body)
    assert [material.cluster_stability(k) for k in range(5)] == [0.5, 0.75, None, 1.0, None]
    assert ">0.50<" in text
    assert "Ward" in text
    assert "87.0 %" in str(lead(material))
    assert "keep their cluster when Ward runs on samples" in str(lead(material))
    spectral = dataclasses.replace(material.metrics.stability, method="spectral")
    material = dataclasses.replace(material, metrics=dataclasses.replace(material.metrics, stability=spectral))
    assert "when spectral clustering runs on samples" in str(lead(material))
    assert "the most similar one that spectral clustering finds" in str(sizes(material).body)
    assert "an adjusted Rand index of 0.90" in text
    assert "upper bound" in stability_remark(dataclasses.replace(material.metrics.stability, space="latents"))
    assert make_material().cluster_stability(0) is None


def test_a_warning_that_the_run_recorded_is_not_repeated():
    material = make_material()
    first = str(cautions(material).body)
    texts = [line for line in first.split("<h3>") if "Training made it worse" in line]
    assert len(texts) <= 1
    lost = dataclasses.replace(
        material.metrics.initial_labels, test={**material.metrics.initial_labels.test, "acc": 1.0}
    )
    n_test = int(material.test_N.sum())
    accuracy = material.metrics.heads["posterior"]["test"].scores["acc"]
    recorded = (
        f"worse than the start: {round((1.0 - accuracy) * n_test):,} fewer of {n_test:,} held-out rows are right "
        "than in the initial clustering"
    )
    worse = dataclasses.replace(
        material, metrics=dataclasses.replace(material.metrics, initial_labels=lost, warnings=[recorded])
    )
    assert str(cautions(worse).body).count("Training made it worse") == 1


def test_reports_of_tables_and_arrays_are_written():
    for make in (make_material, make_table_material):
        page = render(compared(make, warnings=[BETTER]))
        assert page.index("Beside plain methods") < page.index("How the initial clusters were chosen")


def test_the_command_leaves_the_plain_methods_out_where_the_run_did():
    requested = make_material().config.requested
    assert "--no-baselines" not in command(requested)
    assert command(dataclasses.replace(requested, baselines=False)).endswith("--no-baselines")
