from __future__ import annotations

import itertools

import numpy as np
import pytest
from deepmix_graph import (
    HdbscanHead,
    HdbscanInitializer,
    LdmgiHead,
    LdmgiInitializer,
    LeidenHead,
    LeidenInitializer,
)
from deepmix_graph.ldmgi import cliques, integrated_laplacian, objective, spectral_rotation
from deepmix_graph.leiden import communities, k_communities, merge_communities, shared_neighbours
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score

from deepmix.contracts import TrainingRows
from deepmix.errors import UsageError
from deepmix.maths import Inference
from deepmix.metrics import clustering_accuracy
from deepmix.testing import check_head, check_initializer

INITIALIZERS = (LeidenInitializer, HdbscanInitializer, LdmgiInitializer)
HEADS = (LeidenHead, HdbscanHead, LdmgiHead)


def groups(n_groups: int, size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return well separated groups of rows in six columns, and each row's group."""
    random, label_N = np.random.default_rng(seed), np.repeat(np.arange(n_groups), size)
    return np.eye(n_groups, 6)[label_N] * 10.0 + random.normal(size=(len(label_N), 6)), label_N


def inference_of(latent_NM: np.ndarray) -> Inference:
    return Inference(np.zeros((len(latent_NM), 1)), latent_NM.astype(np.float32))


@pytest.mark.parametrize("part", INITIALIZERS)
def test_an_initial_clustering_keeps_its_contract_and_finds_the_groups(part):
    check_initializer(part)
    row_ND, label_N = groups(5, 40)
    rows = TrainingRows(row_ND.astype(np.float32), row_ND[:, :2].astype(np.float32))
    options = part.Options(max_rows=150)  # 50 rows join their nearest neighbour's cluster
    assert adjusted_rand_score(label_N, part(options).initial_labels(rows, 5, seed=0)) == 1.0
    in_codes = part(part.Options(space="codes")).initial_labels(rows, 5, seed=0)
    assert adjusted_rand_score(label_N, in_codes) < 0.9, "two columns show only three of the five groups"
    for n_components in (1, 3, 8):
        labels = part(part.Options()).initial_labels(rows, n_components, seed=0)
        assert np.array_equal(np.unique(labels), np.arange(n_components))


@pytest.mark.parametrize("part", HEADS)
def test_a_head_keeps_its_contract_and_gives_new_rows_the_cluster_they_lie_in(part):
    check_head(part)
    (row_ND, label_N), (new_ND, new_N) = groups(5, 40), groups(5, 15, seed=1)
    head = part(part.Options())
    head.fit(inference_of(row_ND), 5, seed=0)
    clusters, new = head.predict(inference_of(row_ND)), head.predict(inference_of(new_ND))
    inside, new_inside = clusters >= 0, new >= 0
    assert inside.mean() > 0.9
    assert new_inside.mean() > 0.8
    both = np.concatenate([clusters[inside], new[new_inside]])
    assert adjusted_rand_score(np.concatenate([label_N[inside], new_N[new_inside]]), both) == 1.0


def test_hdbscan_finds_the_number_of_clusters_and_calls_far_rows_noise():
    row_ND, _ = groups(5, 40)
    head = HdbscanHead(HdbscanHead.Options())
    head.fit(inference_of(np.vstack([row_ND, np.full((1, 6), -30.0)])), 2, seed=0)
    assert head.cluster_N.max() == 4, "five clusters, though the run has two components"
    assert head.cluster_N[-1] == -1
    assert head.predict(inference_of(np.full((1, 6), 40.0))) == [-1]


def test_a_resolution_gives_its_own_number_of_communities():
    row_ND, label_N = groups(5, 40)
    counts = []
    for resolution in (0.05, 1.0, 20.0):
        head = LeidenHead(LeidenHead.Options(resolution=resolution))
        head.fit(inference_of(row_ND), 2, seed=0)
        counts.append(head.cluster_N.max() + 1)
        if resolution == 1.0:
            assert adjusted_rand_score(label_N, head.cluster_N) == 1.0
    assert counts[0] == counts[1] == 5, "the graph has five separate pieces"
    assert counts[2] > 5


def test_a_seed_gives_the_same_communities_whatever_was_computed_before():
    row_ND = np.random.default_rng(0).normal(size=(400, 5))
    graph = shared_neighbours(row_ND, 10)
    first, *rest = [communities(graph, 1.0, 3) for _ in range(6)]
    assert all(np.array_equal(first, label_N) for label_N in rest)


def test_communities_are_merged_where_the_graph_has_too_many_pieces():
    row_ND, label_N = groups(5, 40)
    graph = shared_neighbours(row_ND, 15)
    merged = k_communities(graph, 3, seed=0)
    assert len(np.unique(merged)) == 3
    assert all(len(np.unique(merged[label_N == group])) == 1 for group in range(5))
    chain = np.array([[0, 4, 1, 0], [4, 0, 0, 0], [1, 0, 0, 4], [0, 0, 4, 0.0]])
    assert merge_communities(sparse.csr_matrix(chain), np.arange(4), 2, 1.0).tolist() == [0, 0, 1, 1]


def test_the_weights_of_the_graph_are_the_shared_fractions_of_neighbourhoods():
    row_ND, _ = groups(2, 8)
    graph = shared_neighbours(row_ND, 3).toarray()
    distance_NN = np.linalg.norm(row_ND[:, None] - row_ND[None], axis=2)
    near = [set(np.argsort(distance)[:4].tolist()) for distance in distance_NN]
    for i, j in itertools.product(range(16), repeat=2):
        linked = i != j and (i in near[j] or j in near[i])
        assert graph[i, j] == pytest.approx(len(near[i] & near[j]) / len(near[i] | near[j]) if linked else 0.0)


def test_ldmgi_is_the_sum_of_the_cliques_discriminants():
    """The trace of the paper's criterion, clique by clique: tr[(S_t + r I)^-1 S_b] from scatter matrices."""
    random = np.random.default_rng(3)
    row_ND, label_N, ridge = random.normal(size=(12, 3)), np.arange(12) % 3, 0.7
    clique_Nk = cliques(row_ND, 5)
    assert (clique_Nk[:, 0] == np.arange(12)).all()
    indicator_NK = np.eye(3)[label_N] / 2.0  # four rows per cluster
    total = 0.0
    for clique in clique_Nk:
        centred_Dk = (row_ND[clique] - row_ND[clique].mean(axis=0)).T
        indicator_kK = indicator_NK[clique] - indicator_NK[clique].mean(axis=0)
        total_DD, between = centred_Dk @ centred_Dk.T, centred_Dk @ indicator_kK
        discriminant = np.trace(between.T @ np.linalg.inv(total_DD + ridge * np.eye(3)) @ between)
        total += np.trace(indicator_kK.T @ indicator_kK) - discriminant
    assert objective(integrated_laplacian(row_ND, clique_Nk, ridge), label_N) == pytest.approx(total, rel=1e-10)


def test_the_rotation_recovers_rotated_indicators():
    random, label_N = np.random.default_rng(0), np.arange(60) % 4
    rotation_KK = np.linalg.qr(random.normal(size=(4, 4)))[0]
    noisy_NK = np.eye(4)[label_N] @ rotation_KK + 0.05 * random.normal(size=(60, 4))
    unit_NK = noisy_NK / np.linalg.norm(noisy_NK, axis=1, keepdims=True)
    assert adjusted_rand_score(label_N, spectral_rotation(unit_NK, seed=0)) == 1.0


@pytest.mark.parametrize("part", INITIALIZERS)
def test_the_clusters_of_digits_are_about_as_good_as_in_the_readme(part):
    x_ND, label_N = load_digits(return_X_y=True)
    x_ND = (x_ND[:900] / 16).astype(np.float32)
    clusters = part(part.Options()).initial_labels(TrainingRows(x_ND, x_ND), 10, seed=0)
    assert clustering_accuracy(label_N[:900], clusters) > 0.75


@pytest.mark.parametrize("part", INITIALIZERS)
def test_identical_and_few_rows_are_no_error(part):
    same = np.ones((30, 4), dtype=np.float32)
    for rows in (same, same[:2]):
        labels = part(part.Options()).initial_labels(TrainingRows(rows, rows), 3, seed=0)
        assert labels.shape == (len(rows),)
        assert set(labels.tolist()) <= {0, 1, 2}


@pytest.mark.parametrize(
    ("part", "options", "words"),
    [
        (LeidenHead, {"resolution": 0.0}, "resolution must be above 0"),
        (LeidenInitializer, {"neighbours": 1}, "neighbours must be at least 2"),
        (HdbscanHead, {"min_cluster_size": 1}, "min_cluster_size must be at least 2"),
        (HdbscanInitializer, {"min_samples": 0}, "min_samples must be at least 1"),
        (LdmgiInitializer, {"clique": 1}, "clique must be at least 2"),
        (LdmgiInitializer, {"max_rows": 1}, "max_rows must be at least 2"),
        (LdmgiHead, {"ridge": 0.0}, "ridge must be above 0"),
    ],
)
def test_an_option_out_of_range_is_named(part, options, words):
    with pytest.raises(UsageError, match=words):
        part.Options(**options)
