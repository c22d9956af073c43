from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn import metrics as reference
from sklearn.neighbors import KNeighborsClassifier

from deepmix.metrics import against_labels, clustering_accuracy, neighbour_errors, without_labels


def brute_force_accuracy(labels, clusters):
    """The definition of VaDE section 4.3, by trying every matching."""
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
    measured = against_labels(labels, clusters)
    assert measured["nmi"] == pytest.approx(reference.normalized_mutual_info_score(labels, clusters))
    assert measured["ari"] == pytest.approx(reference.adjusted_rand_score(labels, clusters))
    assert measured["v_measure"] == pytest.approx(reference.v_measure_score(labels, clusters))
    assert measured["homogeneity"] == pytest.approx(reference.homogeneity_score(labels, clusters))
    assert measured["completeness"] == pytest.approx(reference.completeness_score(labels, clusters))


def test_sizes_count_empty_clusters_and_silhouette_is_scikit_learns():
    latent_NM = np.random.default_rng(0).normal(size=(30, 2))
    clusters = np.repeat([0, 2], 15)
    measured = without_labels(latent_NM, clusters, 4, seed=0)
    assert measured["sizes"] == [15, 0, 15, 0]
    assert measured["silhouette"] == pytest.approx(reference.silhouette_score(latent_NM, clusters))
    assert without_labels(latent_NM, np.zeros(30, dtype=int), 4, seed=0)["silhouette"] is None


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
