"""Plain methods beside a run: their clusters, their figures, and the warning where one of them seems better."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from deepmix.data import SplitOptions, arrange_rows
from deepmix.experiment import baselines as module
from deepmix.experiment.baselines import (
    attempt,
    compare_baselines,
    keeps_choice,
    plain_methods,
    standard_judge,
    takes_umap,
)
from deepmix.experiment.cautions import overconfident, unclear_clusters, warnings_on_baselines, worse_than_start
from deepmix.maths import Inference
from deepmix.runs import Baseline, Baselines, Candidate, HeadFigures, InitialChoice, InitialLabels, Stability


def blobs(n_each: int = 60, n_columns: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Return three groups far apart, in random order, with their numbers."""
    random = np.random.default_rng(0)
    label_N = random.permutation(np.repeat([0, 1, 2], n_each))
    return np.eye(3, n_columns)[label_N] * 20.0 + random.normal(size=(3 * n_each, n_columns)), label_N


def test_every_method_finds_groups_far_apart():
    x_ND, label_N = blobs()
    split = arrange_rows(x_ND, label_N, SplitOptions())
    train_N = label_N[split.train]
    wrong_N = np.where(train_N == 2, 1, train_N)
    wrong_N[:40] = 2
    result = compare_baselines(split, split.x[split.train], {"posterior": wrong_N, "initial": train_N}, 3, 0)
    assert list(result.methods) == ["k-means", "GMM", "HDBSCAN"]
    assert result.n_rows == len(split.train)
    for one in result.methods.values():
        assert one.n_clusters == 3
        assert one.side("train")["acc"] == one.side("test")["ari"] == 1.0
        assert one.cohesion == result.cohesion["initial"] == pytest.approx(1.0)
        assert one.seconds > 0.0
    assert result.cohesion["posterior"] < 0.8


def test_rows_are_sampled_and_their_clusters_carried(monkeypatch):
    x_ND, label_N = blobs(n_columns=6)
    split = arrange_rows(x_ND, label_N, SplitOptions())
    monkeypatch.setattr(module, "BASELINE_CELLS", 300)
    result = compare_baselines(split, split.x[split.train], {"posterior": label_N[split.train]}, 3, 0)
    assert result.n_rows == 50
    assert result.methods["k-means"].side("test")["acc"] == 1.0


def test_without_labels_there_is_cohesion_only():
    x_ND, label_N = blobs()
    split = arrange_rows(x_ND, None, SplitOptions())
    result = compare_baselines(split, split.x[split.train], {"posterior": label_N[split.train]}, 3, 0)
    assert result.methods["GMM"].train is None
    assert result.methods["GMM"].side("test") == {}
    assert result.methods["GMM"].cohesion == pytest.approx(1.0)


def test_a_method_that_fails_is_left_out():
    split = arrange_rows(np.repeat([[0.0, 1.0], [1.0, 0.0]], 6, axis=0), None, SplitOptions(scale="none"))
    n_train = len(split.train)
    result = compare_baselines(split, split.x[split.train], {"posterior": np.arange(n_train) % 2}, n_train + 1, 0)
    assert "GMM" not in result.methods


def test_umap_is_a_method_only_where_it_is_asked_for():
    x_ND, _ = blobs()
    assert "UMAP + GMM" in plain_methods(x_ND, 3, 0, None, with_umap=True)
    assert "UMAP + GMM" not in plain_methods(x_ND, 3, 0, None)


def test_a_choice_among_methods_that_disagree_is_a_warning():
    candidates = {
        "kmeans": Candidate({"cut": -0.2, "simplest": 1.0, "total": 21.0}, 1.0),
        "ward": Candidate({"cut": -0.1, "simplest": 0.0, "total": 2.0}, 0.5),
        "gmm-full": Candidate({"cut": -0.3, "simplest": 0.0, "total": 1.0}, 0.2),
    }
    (text,) = unclear_clusters(InitialChoice("kmeans", 100, candidates))
    assert text.startswith("unclear clusters: 3 methods divide the rows in different ways, so that the simplest one, ")
    assert "kmeans, was taken; the others agree with it to an adjusted Rand index of 0.35" in text
    clear = {"kmeans": Candidate({"cut": -0.2, "total": 2.0}, 1.0)}
    assert unclear_clusters(InitialChoice("kmeans", 100, clear)) == unclear_clusters(None) == []


@pytest.mark.parametrize(
    ("n_rows", "n_columns", "is_taken"), [(6375, 2, False), (5000, 784, False), (5001, 100, True), (20_001, 20, True)]
)
def test_umap_does_not_stand_beside_a_run_that_takes_seconds(n_rows: int, n_columns: int, is_taken: bool):
    assert takes_umap(n_rows, n_columns) is is_taken


def test_umap_finds_separate_blobs():
    x_ND, label_N = blobs()
    cluster_N = attempt(plain_methods(x_ND, 3, 0, None, with_umap=True)["UMAP + GMM"])
    assert cluster_N is not None
    assert adjusted_rand_score(label_N, cluster_N) == 1.0


def figures_of(cohesion: float, own: float, n_clusters: int = 3) -> Baselines:
    return Baselines(100, {"k-means": Baseline(n_clusters, cohesion, 0.1)}, {"posterior": own})


@pytest.mark.parametrize(
    ("figures", "warns"),
    [
        (figures_of(0.9, 0.8), True),
        (figures_of(0.81, 0.8), False),
        (figures_of(0.7, 0.8), False),
        (figures_of(0.9, 0.8, n_clusters=2), False),
        (None, False),
    ],
)
def test_a_better_baseline_is_a_warning_if_it_has_as_many_clusters(figures, warns):
    texts = warnings_on_baselines(figures, "posterior", 3)
    assert bool(texts) == warns
    if warns:
        assert texts[0].startswith("better baseline: the clusters of k-means keep neighbours together better")
        assert "cohesion 0.90 against 0.80" in texts[0]


def test_umap_is_better_by_the_total_only():
    methods = {"k-means": Baseline(3, 0.5, 0.1), "UMAP + GMM": Baseline(3, 0.99, 0.1, total=8.0)}
    assert warnings_on_baselines(Baselines(100, methods, {"posterior": 0.8}), "posterior", 3) == []
    (text,) = warnings_on_baselines(Baselines(100, methods, {"posterior": 0.8}, {"posterior": 6.0}), "posterior", 3)
    assert text.startswith("better baseline: the clusters of UMAP + GMM are better than those of the run")


def inferences_of(certainty: float, weight_N: np.ndarray | None = None) -> dict[str, Inference]:
    log_q_NK = np.log([[certainty, 1.0 - certainty]] * 4)
    return {side: Inference(log_q_NK, np.zeros((4, 1)), weight_N=weight_N) for side in ("train", "test")}


UNLABELLED = {"test": HeadFigures({}, [2, 2])}


@pytest.mark.parametrize(("total", "cohesion", "warns"), [(8.0, 0.5, True), (6.5, 0.99, False), (2.0, 0.99, False)])
def test_the_total_decides_where_there_is_one(total, cohesion, warns):
    methods = {
        "k-means": Baseline(3, cohesion, 0.1, total=total),
        "GMM": Baseline(3, 0.99, 0.1, total=-1.0),
        "HDBSCAN": Baseline(2, 0.99, 0.1),
    }
    texts = warnings_on_baselines(Baselines(100, methods, {"posterior": 0.8}, {"posterior": 6.0}), "posterior", 3)
    assert bool(texts) == warns
    if warns:
        assert texts[0].startswith("better baseline: the clusters of k-means are better than those of the run")
        assert "(total 8.0 against 6.0)" in texts[0]


def test_clusters_are_judged_by_the_criteria_of_auto():
    """Three stretched groups, which k-means cuts across and a Gaussian mixture finds."""
    x_ND, label_N = make_blobs(240, random_state=170)
    split = arrange_rows(x_ND @ np.array([[0.6, -0.6], [-0.4, 0.8]]), label_N, SplitOptions())
    train_N = label_N[split.train]
    cut_N = np.digitize(split.x[split.train][:, 0], [-0.5, 0.5])
    clusters = {"posterior": cut_N, "initial": train_N}
    result = compare_baselines(split, split.x[split.train], clusters, 3, 0, standard_judge())
    assert result.methods["GMM"].side("train")["ari"] == 1.0
    assert result.methods["k-means"].side("train")["ari"] < 0.8
    assert result.methods["GMM"].total == result.totals["initial"] > result.totals["posterior"] + 10.0
    assert result.methods["GMM"].total > result.methods["k-means"].total + 10.0
    (text,) = warnings_on_baselines(result, "posterior", 3)
    assert text.startswith("better baseline: the clusters of GMM are better")
    assert warnings_on_baselines(result, "initial", 3) == []


def test_a_run_that_keeps_what_auto_chose_is_not_compared_again():
    label_N = np.repeat([0, 1], 50)
    by_total = InitialChoice("ward", 100, {"ward": Candidate({"total": 2.0}, 1.0)})
    same, other = {"posterior": 1 - label_N, "initial": label_N}, {"posterior": np.arange(100) % 2, "initial": label_N}
    assert keeps_choice(by_total, same, "posterior")
    assert not keeps_choice(by_total, other, "posterior")
    assert not keeps_choice(InitialChoice("ward", 100, {"ward": Candidate({}, 1.0)}), same, "posterior")
    assert not keeps_choice(None, same, "posterior")
    assert not keeps_choice(by_total, {"posterior": label_N}, "posterior")


@pytest.mark.parametrize(
    ("certainty", "agreement", "whole_agreement", "warns"),
    [
        (0.99, 0.62, None, True),  # as in earlier runs
        (0.99, 0.54, 1.0, True),  # clusters of one cloud: the stand-in finds them in all rows, and not in samples
        (0.99, 0.60, 0.63, False),  # of USPS, 96 % right: the stand-in finds other clusters, but finds them again
        (0.99, 0.75, 0.70, False),
        (0.6, 0.62, 1.0, False),
    ],
)
def test_certainty_far_above_the_stability_is_a_warning(certainty, agreement, whole_agreement, warns):
    stability = Stability("Ward", 4, 20, agreement, 0.9, "features", [0.5, 0.6], whole_agreement)
    texts = overconfident(inferences_of(certainty), stability, UNLABELLED, None)
    assert bool(texts) == warns
    if warns:
        assert texts[0].startswith("overconfident: the largest q(y|x) of a row is 0.99 on average")
        assert f"Ward clusters samples of the rows, only {100 * agreement:.0f} %" in texts[0]
    assert overconfident(inferences_of(certainty), None, UNLABELLED, None) == []


def test_rows_count_by_weight_in_the_certainty():
    log_q_NK, weight_N = np.log([[0.99, 0.01], [0.6, 0.4]]), np.array([1.0, 99.0])
    inferences = {"train": Inference(log_q_NK, np.zeros((2, 1)), weight_N=weight_N)}
    assert overconfident(inferences, Stability("Ward", 2, 20, 0.62, 0.9, "features", []), UNLABELLED, None) == []


@pytest.mark.parametrize(
    ("accuracy", "n_labels", "warns"), [(0.55, 2, True), (0.96, 2, False), (0.55, 3, False), (0.96, 3, False)]
)
def test_labels_decide_whether_a_model_is_too_sure(accuracy, n_labels, warns):
    """As on the churn table (0.55), and on images whose stand-in is unstable in itself (0.96)."""
    figures = {"test": HeadFigures({"acc": accuracy}, [2, 2])}
    stable = Stability("k-means", 4, 20, 0.97, 0.99, "features", [1.0, 1.0], 0.98)
    texts = overconfident(inferences_of(1.0 - 1e-9), stable, figures, n_labels)
    assert bool(texts) == warns
    if warns:
        assert texts == [
            "overconfident: the largest q(y|x) of a held-out row is 1.00 on average, but only 55 % of these rows are "
            "in the cluster that stands for their label"
        ]
    unstable = Stability("k-means", 4, 20, 0.6, 0.5, "features", [1.0, 1.0], 0.95)
    assert bool(overconfident(inferences_of(0.99), unstable, figures, n_labels)) == (accuracy < 0.7 or n_labels != 2)


@pytest.mark.parametrize(
    ("accuracy", "n_test", "lost"), [(0.9, 100, 10), (0.99, 1000, 0), (0.95, 80, 0), (0.95, 100, 5), (1.0, 100, 0)]
)
def test_training_that_loses_rows_is_a_warning(accuracy, n_test, lost):
    initial = InitialLabels(train={"acc": 0.9}, test={"acc": 1.0})
    figures = {"train": HeadFigures({"acc": 0.8}, [1]), "test": HeadFigures({"acc": accuracy}, [1])}
    text = f"worse than the start: {lost} fewer of {n_test} held-out rows are right than in the initial clustering"
    assert worse_than_start(figures, initial, n_test) == ([text] if lost else [])
    assert worse_than_start({**figures, "train": HeadFigures({"acc": 0.9}, [1])}, initial, n_test) == []
    assert worse_than_start({**figures, "test": HeadFigures({}, [1])}, initial, n_test) == []
    assert worse_than_start(figures, None, n_test) == []
