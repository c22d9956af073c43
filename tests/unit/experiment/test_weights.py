"""Weights of rows in the results of a run and in scikit-learn's clusterers as heads."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.cluster import Birch, KMeans

from deepmix.data import Split
from deepmix.experiment import measure_clusters
from deepmix.experiment.clusterer import ClustererHead
from deepmix.experiment.results import initial_baseline, measure_heads
from deepmix.maths import Inference
from deepmix.runs import HeadFigures

EXACT = 1e-12


def weighted_split() -> tuple[Split, np.ndarray]:
    """Return rows on a grid of eighths with labels and whole weights, and their clusters."""
    random = np.random.default_rng(0)
    cluster_N = np.arange(60) % 3
    label_N = np.where(random.random(60) < 0.3, random.integers(0, 3, 60), cluster_N)
    x_ND = (random.integers(-8, 9, (60, 2)) / 8.0 + 4.0 * np.eye(3, 2)[cluster_N]).astype(np.float32)
    weights = random.integers(1, 5, 60).astype(np.float64)
    split = Split(x_ND, np.arange(40), np.arange(40, 60), label_N, "gaussian", "", weights=weights)
    return split, cluster_N


def repeated(split: Split) -> tuple[Split, np.ndarray]:
    """Return the split with each row as often as its weight says, and the number of the row that each was."""
    row_R = np.repeat(np.arange(60), split.weights.astype(int))
    train, test = np.flatnonzero(row_R < 40), np.flatnonzero(row_R >= 40)
    rows = dataclasses.replace(
        split, x=split.x[row_R], labels=split.labels[row_R], train=train, test=test, weights=None
    )
    return rows, row_R


def figures_of(split: Split, cluster_N: np.ndarray) -> dict[str, HeadFigures]:
    sides = {"train": split.train, "test": split.test}
    clusters = {"head": {side: cluster_N[rows] for side, rows in sides.items()}}
    inferences = {side: Inference(np.zeros((1, 3)), split.x[rows].astype(float)) for side, rows in sides.items()}
    return measure_heads(split, clusters, inferences, 3, seed=0)["head"]


def test_heads_are_measured_as_on_repeated_rows():
    split, cluster_N = weighted_split()
    rows, row_R = repeated(split)
    figures, expected = figures_of(split, cluster_N), figures_of(rows, cluster_N[row_R])
    for side in ("train", "test"):
        assert figures[side].scores == pytest.approx(expected[side].scores, rel=EXACT)
        assert figures[side].sizes == np.bincount(cluster_N[getattr(split, side)]).tolist()
    known_N = np.ones(60, dtype=bool)
    weighted, unweighted = (
        measure_clusters(split.x, cluster_N, split.labels, known_N, n_components=3, seed=0, weight_N=weights).scores
        for weights in (split.weights, None)
    )
    assert all(weighted[name] != unweighted[name] for name in unweighted)


def test_the_baseline_is_measured_with_weights():
    split, cluster_N = weighted_split()
    rows, row_R = repeated(split)
    actual, expected = initial_baseline(split, cluster_N[:40]), initial_baseline(rows, cluster_N[row_R[rows.train]])
    assert actual.train == pytest.approx(expected.train, rel=EXACT)
    # every row's nearest neighbours are of its own group, so that the votes are the same
    assert actual.test == pytest.approx(expected.test, rel=EXACT)
    assert actual.train != initial_baseline(dataclasses.replace(split, weights=None), cluster_N[:40]).train


def test_a_clusterer_that_takes_weights_gets_them():
    split, cluster_N = weighted_split()
    head = ClustererHead(lambda: KMeans(n_init=3))
    head.fit(Inference(np.zeros((60, 1)), split.x, split.weights), 3, seed=0)
    expected = np.stack(
        [np.average(split.x[cluster_N == k], axis=0, weights=split.weights[cluster_N == k]) for k in range(3)]
    )
    clusters = head.predict(Inference(np.zeros((60, 1)), split.x))
    actual = head.state()["centres"][[clusters[k] for k in range(3)]]
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
    assert np.abs(actual - np.stack([split.x[cluster_N == k].mean(0) for k in range(3)])).max() > 0.01


def test_a_clusterer_that_takes_no_weights_says_so():
    split, _ = weighted_split()
    head, even = ClustererHead(Birch), ClustererHead(Birch)
    rows = Inference(np.zeros((60, 1)), split.x)
    even.fit(rows, 3, seed=0)
    with pytest.warns(UserWarning, match="head Birch takes no weights; it counts every row once"):
        head.fit(dataclasses.replace(rows, weight_N=split.weights), 3, seed=0)
    np.testing.assert_array_equal(head.predict(rows), even.predict(rows))
