"""Scores of rows with weights, against the scores of a table in which each row stands as often as its weight says."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from deepmix.metrics import Clustering, clustering_accuracy, measure, silhouette
from deepmix.metrics.weighted import adjusted_rand, contingency

EXACT = 1e-12


def weighted_rows(seed: int, n_labels: int = 4, n_clusters: int = 3) -> tuple[Clustering, Clustering]:
    """Return weighted rows and the same rows repeated; latents are multiples of 1/8, so that distances are exact."""
    random = np.random.default_rng(seed)
    weight_N = random.integers(1, 6, 60)
    cluster_N, label_N = random.integers(0, n_clusters, 60) * 7 - 3, random.integers(0, n_labels, 60)
    label_N = np.where(random.random(60) < 0.5, np.unique(cluster_N, return_inverse=True)[1] % n_labels, label_N)
    label_N = np.array(["ant", "bee", "cat", "dog"])[label_N]
    latent_NM = random.integers(-16, 17, (60, 3)) / 8.0 + cluster_N[:, None]
    weighted = Clustering(cluster_N, label_N, latent_NM, weight_N=weight_N.astype(np.float64))
    cluster_R, label_R, latent_RM = (np.repeat(rows, weight_N, axis=0) for rows in (cluster_N, label_N, latent_NM))
    return weighted, Clustering(cluster_R, label_R, latent_RM)


@pytest.mark.parametrize(("n_labels", "n_clusters"), [(4, 3), (2, 5), (1, 1), (1, 4), (4, 1)])
@pytest.mark.parametrize("seed", range(3))
def test_a_row_of_weight_two_is_two_rows(seed, n_labels, n_clusters):
    weighted, repeated = weighted_rows(seed, n_labels, n_clusters)
    scores, expected = measure(weighted), measure(repeated)
    assert list(scores) == ["acc", "nmi", "ari", "homogeneity", "completeness", "v_measure", "silhouette"]
    for name, score in scores.items():
        assert score == (None if expected[name] is None else pytest.approx(expected[name], rel=EXACT, abs=EXACT)), name
    unweighted = measure(Clustering(weighted.cluster_N, weighted.label_N, weighted.latent_NM))
    if min(n_labels, n_clusters) > 1:
        assert all(abs(scores[name] - unweighted[name]) > 1e-4 for name in scores)


def test_weights_of_one_change_nothing():
    weighted, _ = weighted_rows(5)
    scores = measure(Clustering(weighted.cluster_N, weighted.label_N, weighted.latent_NM, weight_N=np.ones(60)))
    expected = measure(Clustering(weighted.cluster_N, weighted.label_N, weighted.latent_NM))
    assert scores == pytest.approx(expected, rel=EXACT, abs=EXACT)


def test_only_known_labels_count_with_their_weights():
    weighted, _ = weighted_rows(1)
    known_N = np.arange(60) % 3 > 0
    scores = measure(weighted, known_N)
    cluster_N, label_N, weight_N = weighted.cluster_N[known_N], weighted.label_N[known_N], weighted.weight_N[known_N]
    assert scores["acc"] == clustering_accuracy(label_N, cluster_N, weight_N)
    assert scores["silhouette"] == silhouette(weighted.latent_NM, weighted.cluster_N, 0, weighted.weight_N)


@pytest.mark.parametrize("name", ["acc", "nmi", "homogeneity", "completeness", "v_measure"])
def test_scores_of_fractions_do_not_depend_on_the_weights_scale(name):
    weighted, _ = weighted_rows(2)
    small = Clustering(weighted.cluster_N, weighted.label_N, weight_N=weighted.weight_N * 1e-6)
    assert measure(small)[name] == pytest.approx(measure(weighted)[name], rel=EXACT)


def test_adjusted_rand_of_the_same_partition_is_one_and_without_a_pair_there_is_none():
    labels = np.array([1, 1, 2, 3])
    assert adjusted_rand(contingency(labels, labels * 5, np.array([0.3, 0.4, 0.1, 0.9]))) == 1.0
    assert adjusted_rand(contingency(np.arange(4), np.arange(4), np.ones(4))) == 1.0
    assert adjusted_rand(contingency(labels, labels[::-1], np.full(4, 0.25))) is None


def test_the_silhouette_of_a_row_that_is_alone_is_zero():
    latent_NM = np.array([[0.0], [1.0], [8.0]])
    actual = silhouette(latent_NM, np.array([0, 0, 1]), 0, np.array([2.0, 1.0, 1.0]))
    # in the first cluster: rows at 0 (twice) and 1; within (0 + 1) / 2 and (1 + 1) / 2, between 8 and 7
    assert actual == pytest.approx((2 * (8 - 0.5) / 8 + (7 - 1) / 7 + 0.0) / 4, rel=EXACT)
    repeated = reference.silhouette_score(latent_NM[[0, 0, 1, 2]], [0, 0, 0, 1])
    assert actual == pytest.approx(repeated, rel=EXACT)
    assert silhouette(latent_NM, np.zeros(3, dtype=int), 0, np.ones(3)) is None
    assert silhouette(latent_NM, np.arange(3), 0, np.ones(3)) is None


def test_the_silhouette_of_many_rows_draws_rows_and_their_weights(monkeypatch):
    monkeypatch.setattr("deepmix.metrics.scores.SILHOUETTE_ROWS", 25)
    weighted, _ = weighted_rows(4)
    chosen = np.random.default_rng(9).choice(60, 25, replace=False)
    actual = silhouette(weighted.latent_NM, weighted.cluster_N, 9, weighted.weight_N)
    parts = weighted.latent_NM[chosen], weighted.cluster_N[chosen], weighted.weight_N[chosen].astype(int)
    latent_RM, cluster_R = (np.repeat(rows, parts[2], axis=0) for rows in parts[:2])
    assert actual == pytest.approx(reference.silhouette_score(latent_RM, cluster_R), rel=EXACT)
