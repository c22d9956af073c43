from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn import metrics as reference
from sklearn.neighbors import KNeighborsClassifier

from deepmix.metrics import Clustering, clustering_accuracy, measure, neighbour_errors, silhouette, spread


def brute_force_accuracy(labels, clusters):
    """Return the accuracy as VaDE section 4.3 defines it, by trying every matching."""
    names, groups = list(dict.fromkeys(labels)), list(dict.fromkeys(clusters))
    short, long, swap = (groups, names, False) if len(groups) <= len(names) else (names, groups, True)
    best = 0
    for chosen in itertools.permutations(long, len(short)):
        pairs = set(zip(chosen, short, strict=True)) if swap is False else set(zip(short, chosen, strict=True))
        best = max(best, sum((label, cluster) in pairs for label, cluster in zip(labels, clusters, strict=True)))
    return best / len(labels)


@pytest.mark.parametrize("n_clusters", [1, 2, 4, 6])
@pytest.mark.parametrize("seed", range(3))
def test_accuracy_is_the_best_matching(n_clusters, seed):
    random = np.random.default_rng(seed)
    labels = random.choice(["ant", "bee", "cat", "dog"], 40)
    clusters = random.integers(0, n_clusters, 40) * 7 - 3
    assert clustering_accuracy(labels, clusters) == pytest.approx(brute_force_accuracy(list(labels), list(clusters)))


def test_accuracy_of_a_permutation_is_one_and_more_clusters_than_classes_cost():
    labels = np.repeat([0, 1, 2], 10)
    assert clustering_accuracy(labels, (labels + 1) % 3) == 1.0
    assert clustering_accuracy(labels, np.arange(30)) == pytest.approx(3 / 30)


def test_other_measures_are_scikit_learns():
    random = np.random.default_rng(5)
    labels, clusters = random.integers(0, 4, 60), random.integers(0, 3, 60)
    scores = measure(Clustering(clusters, labels))
    assert list(scores) == ["acc", "nmi", "ari", "homogeneity", "completeness", "v_measure"]
    assert scores["nmi"] == pytest.approx(reference.normalized_mutual_info_score(labels, clusters))
    assert scores["ari"] == pytest.approx(reference.adjusted_rand_score(labels, clusters))
    assert scores["v_measure"] == pytest.approx(reference.v_measure_score(labels, clusters))
    assert scores["homogeneity"] == pytest.approx(reference.homogeneity_score(labels, clusters))
    assert scores["completeness"] == pytest.approx(reference.completeness_score(labels, clusters))


def test_silhouette_is_scikit_learns():
    latent_NM = np.random.default_rng(0).normal(size=(30, 2))
    clusters = np.repeat([0, 2], 15)
    expected = reference.silhouette_score(latent_NM, clusters)
    assert silhouette(latent_NM, clusters, seed=0) == pytest.approx(expected)
    assert measure(Clustering(clusters, None, latent_NM)) == {"silhouette": pytest.approx(expected)}
    assert silhouette(latent_NM, np.zeros(30, dtype=int), seed=0) is None


def test_only_metrics_that_need_labels_leave_out_rows_without():
    random = np.random.default_rng(1)
    latent_NM, clusters = random.normal(size=(40, 2)), random.integers(0, 3, 40)
    labels, is_known = random.integers(0, 3, 40), np.arange(40) < 25
    scores = measure(Clustering(clusters, labels, latent_NM), is_known)
    assert scores["acc"] == clustering_accuracy(labels[:25], clusters[:25])
    assert scores["silhouette"] == pytest.approx(reference.silhouette_score(latent_NM, clusters))
    assert list(measure(Clustering(clusters, labels, latent_NM), np.zeros(40, dtype=bool))) == ["silhouette"]


def test_neighbour_errors_are_the_classifiers():
    random = np.random.default_rng(3)
    labels = random.choice(["ant", "bee", "cat"], 200)
    latents = np.array([{"ant": 0.0, "bee": 1.0, "cat": 2.0}[label] for label in labels])[:, None]
    latents = latents + random.normal(size=(200, 2)) * 0.6
    errors = neighbour_errors(latents[:150], labels[:150], latents[150:], labels[150:])
    assert list(errors) == ["3", "5", "10"]
    for k, error in errors.items():
        classifier = KNeighborsClassifier(int(k)).fit(latents[:150], labels[:150])
        assert error == pytest.approx(1.0 - classifier.score(latents[150:], labels[150:]))
        assert 0.05 < error < 0.6


def test_neighbour_errors_take_fewer_rows_than_neighbours():
    points = np.array([[0.0], [1.0], [5.0]])
    errors = neighbour_errors(points, np.array([1, 1, 2]), np.array([[0.4], [6.0]]), np.array([1, 2]))
    assert errors == {"3": 0.5, "5": 0.5, "10": 0.5}


def test_equal_values_have_no_spread():
    assert spread([0.94074074] * 5).std == 0.0
    assert spread([0.1, None, 0.4]).std == pytest.approx(np.std([0.1, 0.4], ddof=1))


def test_noise_stands_for_no_label():
    labels, clusters = np.array(["a", "a", "a", "b", "b"]), np.array([-1, -1, -1, 0, 0])
    assert clustering_accuracy(labels, clusters) == pytest.approx(0.4)
    assert clustering_accuracy(labels, clusters, np.array([1.0, 1.0, 1.0, 3.0, 3.0])) == pytest.approx(6 / 9)
