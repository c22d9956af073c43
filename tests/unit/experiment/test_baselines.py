"""Plain methods beside a run: their clusters, their figures, and the warning where one of them seems better."""

from __future__ import annotations

import numpy as np
import pytest

from deepmix.data import SplitOptions, arrange_rows
from deepmix.experiment import baselines as module
from deepmix.experiment.baselines import compare_baselines, plain_methods
from deepmix.experiment.cautions import overconfident, warnings_on_baselines, worse_than_start
from deepmix.maths import Inference
from deepmix.runs import Baseline, Baselines, HeadFigures, InitialLabels, Stability


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


def test_certainty_far_above_the_stability_is_a_warning():
    sure = Inference(np.log([[0.99, 0.01]] * 4), np.zeros((4, 1)))
    unsure = Inference(np.log([[0.6, 0.4]] * 4), np.zeros((4, 1)))
    stability = Stability("Ward", 4, 20, 0.62, 0.9, "features", [0.5, 0.6])
    (text,) = overconfident(sure, stability)
    assert text.startswith("overconfident: the largest q(y|x) of a row is 0.99 on average")
    assert "Ward clusters samples of the rows, only 62 %" in text
    assert overconfident(unsure, stability) == []
    assert overconfident(sure, None) == []
    weighted = Inference(np.log([[0.99, 0.01], [0.6, 0.4]]), np.zeros((2, 1)), weight_N=np.array([1.0, 99.0]))
    assert overconfident(weighted, stability) == []


@pytest.mark.parametrize(
    ("accuracy", "n_test", "lost"), [(0.9, 100, 10), (0.99, 1000, 0), (0.9, 10, 0), (0.8, 10, 2), (1.0, 100, 0)]
)
def test_training_that_loses_rows_is_a_warning(accuracy, n_test, lost):
    initial = InitialLabels(train={"acc": 0.9}, test={"acc": 1.0})
    figures = {"train": HeadFigures({"acc": 0.8}, [1]), "test": HeadFigures({"acc": accuracy}, [1])}
    text = f"worse than the start: {lost} fewer of {n_test} held-out rows are right than in the initial clustering"
    assert worse_than_start(figures, initial, n_test) == ([text] if lost else [])
    assert worse_than_start({**figures, "train": HeadFigures({"acc": 0.9}, [1])}, initial, n_test) == []
    assert worse_than_start({**figures, "test": HeadFigures({}, [1])}, initial, n_test) == []
    assert worse_than_start(figures, None, n_test) == []
