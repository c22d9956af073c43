"""The initial clustering `auto` on made data: what it chooses, and what it does on few or odd rows."""

from __future__ import annotations

import numpy as np
import pytest
from deepmix_builtins.clustering.auto import AutoInitializer, AutoOptions
from deepmix_builtins.clustering.criteria import (
    agreement_matrix,
    cut_criterion,
    deciding_partition,
    likelihood_criterion,
    score_partitions,
    total_score,
)
from deepmix_builtins.clustering.graph import GraphInitializer, GraphOptions
from deepmix_builtins.clustering.merged_gaussians import merged_gaussians
from deepmix_builtins.clustering.spanning_trees import genie, robust_single_linkage, spanning_tree
from scipy import sparse
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.stats import multivariate_normal
from sklearn.metrics import adjusted_rand_score

from deepmix.contracts import Progress, TrainingRows
from deepmix.errors import UsageError
from deepmix.metrics import neighbour_links
from deepmix.testing import check_initializer


def rings(n_rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Return rows on two rings with one centre, and each row's ring."""
    random = np.random.default_rng(0)
    ring_N = np.arange(n_rows) % 2
    angle_N, radius_N = 2 * np.pi * random.random(n_rows), np.array([1.0, 3.0])[ring_N]
    rows = np.stack([np.cos(angle_N), np.sin(angle_N)], axis=1) * radius_N[:, None]
    return (rows + 0.1 * random.normal(size=rows.shape)).astype(np.float32), ring_N


def cross(n_rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of two long Gaussians that cross at a right angle near one end, and each row's Gaussian."""
    random = np.random.default_rng(0)
    label_N = np.arange(n_rows) % 2
    spread_22 = np.array([[3.0, 0.15], [0.15, 3.0]])
    rows = random.normal(size=(n_rows, 2)) * spread_22[label_N] + np.array([[0.0, 0.0], [3.0, 6.0]])[label_N]
    return rows.astype(np.float32), label_N


def initial(x, n_components: int, *, seed: int = 0, weight_N=None, **options):
    initializer = AutoInitializer(AutoOptions(**options))
    dense = np.asarray(x.toarray() if sparse.issparse(x) else x)
    labels = initializer.initial_labels(TrainingRows(x, dense, weight_N), n_components, seed)
    return labels, initializer.choice


def test_contract():
    check_initializer(AutoInitializer)


def test_rings_are_followed():
    x, ring_N = rings()
    labels, choice = initial(x, 2)
    assert adjusted_rand_score(ring_N, labels) == 1.0
    assert choice.method.startswith(("spectral", "genie", "single", "merged"))
    assert adjusted_rand_score(ring_N, choice.label_M["kmeans"]) < 0.1


def test_long_gaussians_are_told_apart_by_a_mixture():
    x, label_N = cross()
    labels, choice = initial(x, 2)
    assert adjusted_rand_score(label_N, labels) > 0.9
    assert adjusted_rand_score(label_N, choice.label_M["kmeans"]) < 0.8
    assert choice.agreement["gmm-full"] > 0.9


def test_the_choice_has_the_largest_total_and_is_recorded():
    x, _ = rings()
    labels, choice = initial(x, 2)
    total = {method: values["total"] for method, values in choice.criteria.items()}
    assert choice.method == max(total, key=total.get)
    assert np.array_equal(labels, choice.label_M[choice.method])
    assert choice.agreement[choice.method] == 1.0
    assert choice.agreement["kmeans"] == pytest.approx(adjusted_rand_score(labels, choice.label_M["kmeans"]))
    summary = choice.summary()
    assert next(iter(summary["methods"])) == summary["method"] == choice.method
    assert set(summary["methods"]["ward"]) == {
        "cut",
        "gap",
        "likelihood",
        "agreement",
        "total",
        "agreement_with_chosen",
    }


def test_a_seed_repeats():
    x = np.random.default_rng(1).normal(size=(90, 5)).astype(np.float32)
    (first, choice), (second, again) = (initial(x, 4, seed=7, max_rows=60) for _ in range(2))
    assert np.array_equal(first, second)
    assert choice.criteria == again.criteria
    assert np.array_equal(choice.row_M, again.row_M)


def test_rows_beyond_the_limit_take_their_neighbours_label():
    x, ring_N = rings(1000)
    labels, choice = initial(x, 2, max_rows=400)
    assert len(choice.row_M) == 400
    assert adjusted_rand_score(ring_N, labels) > 0.99
    assert np.array_equal(labels[choice.row_M], choice.label_M[choice.method])


@pytest.mark.parametrize("spread", [(1.0, 2.5), (1.0, 1.0)])
def test_rows_beyond_the_limit_are_assigned_by_the_gaussians_that_were_chosen(spread):
    """One Gaussian lies inside the other where they differ in width; the nearest rows can't tell them apart."""
    random = np.random.default_rng(0)
    label_N = np.arange(2000) % 2
    x = random.normal(size=(2000, 10)) * np.array(spread)[label_N][:, None]
    x[:, 0] += 4.0 * label_N * (spread[0] == spread[1])
    labels, choice = initial(x.astype(np.float32), 2, max_rows=600)
    assert choice.method in ("gmm-diag", "gmm-tied", "gmm-full")
    groups = [x[label_N == k] for k in (0, 1)]
    log_prob_KN = [multivariate_normal(rows.mean(axis=0), np.cov(rows.T)).logpdf(x) for rows in groups]
    assert adjusted_rand_score(np.argmax(log_prob_KN, axis=0), labels) > 0.93


def test_rows_beyond_the_limit_are_assigned_to_the_nearest_centre_of_kmeans():
    x = np.random.default_rng(0).exponential(size=(500, 6)).astype(np.float32)
    labels, choice = initial(x, 3, max_rows=200)
    assert choice.method == "kmeans"
    chosen = choice.label_M["kmeans"]
    centres = np.stack([x[choice.row_M][chosen == k].mean(0) for k in range(3)])
    beyond = np.setdiff1d(np.arange(500), choice.row_M)
    np.testing.assert_array_equal(labels[beyond], np.linalg.norm(x[beyond, None] - centres, axis=2).argmin(1))


def test_weights_reach_kmeans_and_the_likelihood():
    """With two centres for three spots, two spots share one unless the third is light."""
    spot_N = np.arange(90) % 3
    x = (np.array([0.0, 4.0, 9.0])[spot_N] + 0.2 * np.random.default_rng(0).normal(size=90))[:, None].astype(np.float32)
    weight_N = np.where(spot_N == 2, 0.01, 1.0)
    (_, even), (_, weighted) = initial(x, 2), initial(x, 2, weight_N=weight_N)
    assert even.label_M["kmeans"][0] == even.label_M["kmeans"][1] != even.label_M["kmeans"][2]
    assert weighted.label_M["kmeans"][0] != weighted.label_M["kmeans"][1] == weighted.label_M["kmeans"][2]
    rows, labels = x.astype(np.float64), even.label_M["kmeans"]
    plain = likelihood_criterion(rows, labels, 0)
    assert likelihood_criterion(rows, labels, 0, np.full(90, 3.0)) == pytest.approx(plain)
    assert likelihood_criterion(rows, labels, 0, weight_N) < plain - 0.1  # the wide cluster counts most


@pytest.mark.parametrize(
    ("n_rows", "n_columns", "n_components"), [(2, 3, 2), (3, 2, 5), (5, 1, 3), (12, 4, 3), (30, 1, 2), (40, 2, 15)]
)
def test_few_rows_one_column_and_many_clusters(n_rows, n_columns, n_components):
    x = np.random.default_rng(0).normal(size=(n_rows, n_columns)).astype(np.float32)
    labels, _ = initial(x, n_components)
    assert labels.dtype == np.int64
    assert labels.shape == (n_rows,)
    assert len(np.unique(labels)) == min(n_rows, n_components)
    assert labels.max() < n_components


def test_more_clusters_than_groups_split_groups():
    x, ring_N = rings()
    labels, _ = initial(x, 6)
    assert len(np.unique(labels)) == 6
    majority = sum(np.bincount(ring_N[labels == k]).max() for k in range(6))
    assert majority > 0.95 * len(x)


def test_copies_of_few_rows_are_the_clusters():
    x = np.repeat(np.array([[0.0, 1.0], [5.0, 5.0], [9.0, 0.0]], dtype=np.float32), 20, axis=0)
    labels, choice = initial(x, 3)
    assert adjusted_rand_score(np.repeat(np.arange(3), 20), labels) == 1.0
    assert choice is None
    same, _ = initial(np.ones((10, 2), dtype=np.float32), 3)
    assert same.tolist() == [0] * 10


def test_mostly_copies_and_a_constant_column():
    x = np.ones((60, 3), dtype=np.float32)
    x[40:, 0], x[50:, 1] = 2.0, np.arange(10)
    labels, _ = initial(x, 3)
    assert len(np.unique(labels)) == 3


def test_sparse_rows_have_the_clusters_of_dense_ones():
    x, label_N = cross(120)
    wide = np.zeros((120, 60), dtype=np.float32)
    wide[:, [3, 50]] = x
    labels, _ = initial(sparse.csr_matrix(wide), 2)
    assert adjusted_rand_score(label_N, labels) > 0.8


def test_layouts_are_for_more_than_three_columns_where_methods_disagree():
    random = np.random.default_rng(0)
    noise = random.normal(size=(80, 4)).astype(np.float32)
    apart = noise + 30.0 * (np.arange(80) % 2)[:, None].astype(np.float32)
    assert "tsne-ward" in initial(noise, 3)[1].label_M
    assert "tsne-ward" not in initial(noise, 3, layouts=False)[1].label_M
    assert "tsne-ward" not in initial(noise[:, :3], 3)[1].label_M
    assert "tsne-ward" not in initial(apart, 2)[1].label_M


def test_max_rows_is_checked():
    with pytest.raises(UsageError, match="max_rows must be at least 2, got 1"):
        AutoOptions(max_rows=1)


def test_spanning_tree_is_single_linkage():
    rows = np.random.default_rng(0).normal(size=(50, 3))
    tree, merges = spanning_tree(rows, 1), linkage(rows, "single")
    assert np.allclose(tree.length_E, merges[:, 2])
    for n_clusters in (2, 5):
        single = fcluster(merges, n_clusters, "maxclust")
        assert adjusted_rand_score(single, robust_single_linkage(tree, n_clusters, 1)) == 1.0
        assert adjusted_rand_score(single, genie(tree, n_clusters, 1.0)) == 1.0


def test_mutual_reachability_is_at_least_the_distance_to_the_neighbour():
    rows = np.arange(10.0)[:, None]
    assert spanning_tree(rows, 3).length_E.tolist() == [2.0] * 7 + [3.0] * 2
    assert spanning_tree(rows, 1).length_E.tolist() == [1.0] * 9


def test_outliers_do_not_become_clusters():
    random = np.random.default_rng(0)
    rows = np.concatenate([random.normal(size=(50, 2)), random.normal(size=(50, 2)) + 8.0, [[40.0, 0.0], [0.0, 50.0]]])
    tree = spanning_tree(rows, 1)
    reference = np.arange(100) // 50
    for labels in (robust_single_linkage(tree, 2, 5), genie(tree, 2, 0.3)):
        assert adjusted_rand_score(reference, labels[:100]) == 1.0
    assert np.bincount(genie(tree, 2, 1.0)).min() == 1
    assert robust_single_linkage(tree, 30, 10) is None


def test_merged_gaussians_follow_rings():
    x, ring_N = rings(600)
    labels = merged_gaussians(x.astype(np.float64), 2, 12, seed=0)
    assert adjusted_rand_score(ring_N, labels) > 0.95


def test_cut_is_the_mean_conductance():
    rows = np.array([[0.0], [0.1], [0.3], [5.0], [5.1], [5.3]])
    graph = sparse.csr_matrix(np.array(1.0 - np.eye(6)))
    assert cut_criterion(graph, np.array([0, 0, 0, 1, 1, 1])) == pytest.approx(2 / 5 - 1)
    assert cut_criterion(graph, np.array([0, 1, 1, 1, 1, 1])) == pytest.approx((0 / 5 + 4 / 5) / 2 - 1)
    assert neighbour_links(rows).shape == (6, 6)


def test_likelihood_is_that_of_the_clusters_gaussians():
    """One cluster: every fold's rows under the Gaussian of the other four."""
    rows = np.random.default_rng(0).normal(size=(40, 2))
    fold_N = np.random.default_rng(3).permutation(40) % 5
    added = 1e-3 * rows.var(axis=0).mean()
    expected = np.empty(40)
    for fold in range(5):
        others = rows[fold_N != fold]
        normal = multivariate_normal(others.mean(axis=0), np.cov(others.T, bias=True) + added * np.eye(2))
        expected[fold_N == fold] = normal.logpdf(rows[fold_N == fold])
    assert likelihood_criterion(rows, np.zeros(40, dtype=np.int64), 3) == pytest.approx(expected.mean())


def test_criteria_prefer_the_clusters_that_made_the_rows():
    x, ring_N = rings()
    halves = (x[:, 0] > 0).astype(np.int64)
    criteria = score_partitions(x.astype(np.float64), [ring_N, halves], seed=0)
    assert criteria["cut"][0] == 0.0 > criteria["cut"][1]
    assert criteria["gap"][0] > 0 > criteria["gap"][1]
    assert criteria["agreement"].tolist() == pytest.approx([criteria["agreement"][1]] * 2)
    assert agreement_matrix([ring_N, 1 - ring_N]).tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_agreement_is_the_adjusted_rand_index():
    random = np.random.default_rng(0)
    left, right, one = random.integers(3, size=50), random.integers(4, size=50), np.zeros(50, dtype=np.int64)
    agreement_PP = agreement_matrix([left, right, one, one])
    assert agreement_PP[0, 1] == pytest.approx(adjusted_rand_score(left, right))
    assert agreement_PP[2].tolist() == [adjusted_rand_score(one, left), adjusted_rand_score(one, right), 1.0, 1.0]
    assert np.array_equal(agreement_PP, agreement_PP.T)


def test_total_sums_values_on_a_common_scale():
    criteria = {"cut": np.array([1.0, 2.0, 4.0]), "gap": np.array([-100.0, 5.0, 5.0])}
    assert total_score(criteria).tolist() == [-1.0 / 2 - 1.0, 0.0, 1.0]
    twice = {"cut": np.array([1.0, 2.0, 4.0]), "agreement": np.array([-100.0, 5.0, 5.0])}
    assert total_score(twice).tolist() == [-1.0 / 2 - 2.0, 0.0, 1.0]


def test_agreement_decides_between_criteria_that_contradict_each_other():
    criteria = {"cut": np.array([2.0, 1.0, 0.0]), "agreement": np.array([0.0, 1.0, 2.0])}
    assert total_score(criteria).argmax() == 2


def test_what_decides_beside_the_total():
    names = ["ward", "kmeans", "gmm-full"]
    criteria = {"cut": np.array([1.0, 0.0, 0.5]), "agreement": np.array([0.49, 0.3, 0.4])}
    assert deciding_partition(names, criteria, None, 4) == ("simplest", 1)
    assert deciding_partition(names, criteria, "full", 4) == ("gaussian", 2)
    assert deciding_partition(names, criteria, "tied", 4) is None  # no such mixture among the partitions
    assert deciding_partition(names, criteria, None, 3) is None
    assert deciding_partition(["ward", "genie-1-0.3", "gmm-full"], criteria, None, 4) is None
    clear = {**criteria, "agreement": np.array([0.51, 0.3, 0.4])}
    assert deciding_partition(names, clear, None, 4) is None


def test_rows_on_which_methods_disagree_get_the_clusters_of_kmeans():
    random = np.random.default_rng(0)
    skewed = random.exponential(size=(300, 6)).astype(np.float32)
    labels, choice = initial(skewed, 2)
    assert choice.method == "kmeans"
    np.testing.assert_array_equal(labels, choice.label_M["kmeans"])
    assert {name: values["simplest"] for name, values in choice.criteria.items() if values["simplest"]} == {"kmeans": 1}
    x, ring_N = rings()
    turned = x @ np.linalg.qr(random.normal(size=(6, 6)))[0][:2] + 0.05 * random.normal(size=(300, 6))
    labels, choice = initial(turned.astype(np.float32), 2)
    assert adjusted_rand_score(ring_N, labels) == 1.0
    assert "simplest" not in choice.criteria[choice.method]


def test_further_clusters_are_judged_by_what_decides():
    x = np.random.default_rng(0).exponential(size=(300, 6)).astype(np.float32)
    choice = initial(x, 2)[1]
    leader = max((n for n in choice.criteria if n != "kmeans"), key=lambda n: choice.criteria[n]["total"])
    partitions = {"simplest": choice.label_M["kmeans"], "other": choice.label_M[leader]}
    totals = AutoInitializer(AutoOptions()).judge(TrainingRows(x, np.zeros((300, 0))), partitions, 2, 0)
    assert totals["simplest"] > totals["other"] + 10.0


def steps_of(initializer, x, n_components: int) -> tuple[list[str], list[float]]:
    """Return the names of the steps that an initial clustering reports, and the fractions done before them."""
    steps = []
    progress = Progress(lambda name, fraction: steps.append((name, fraction)))
    initializer.initial_labels(TrainingRows(x, x, progress=progress), n_components, 0)
    names, fractions = zip(*steps, strict=True)
    return list(names), list(fractions)


def test_each_method_is_a_step_and_then_the_criteria():
    x, _ = rings()
    initializer = AutoInitializer(AutoOptions())
    names, fractions = steps_of(initializer, x, 2)
    assert names == [*initializer.choice.label_M, "whether clusters are Gaussians", "criteria"]
    assert fractions[0] == 0.0
    assert np.all(np.diff(fractions) > 0.0)
    assert fractions[-1] < 1.0


def test_the_steps_of_wide_rows_end_with_those_of_graph():
    random = np.random.default_rng(0)
    x = (2.0 * np.eye(60)[np.arange(90) % 3] + random.normal(size=(90, 60))).astype(np.float32)
    names, fractions = steps_of(AutoInitializer(AutoOptions()), x, 3)
    own, of_graph = steps_of(GraphInitializer(GraphOptions()), x, 3)
    assert names == ["kmeans", "ward", "spectral-10", *own]
    np.testing.assert_allclose(fractions[:3], [0.0, 0.05 * 1 / 25, 0.05 * 5 / 25])
    np.testing.assert_allclose(fractions[3:], 0.05 + 0.95 * np.array(of_graph))


def test_wide_rows_get_the_clusters_of_graph():
    random = np.random.default_rng(0)
    label_N = np.arange(90) % 3
    x = (2.0 * np.eye(60)[label_N] + random.normal(size=(90, 60))).astype(np.float32)
    labels, choice = initial(x, 3)
    rows = TrainingRows(x, x, None)
    np.testing.assert_array_equal(labels, GraphInitializer(GraphOptions()).initial_labels(rows, 3, 0))
    assert choice is None
    narrow_labels, narrow_choice = initial(x[:, :50], 3)
    assert narrow_choice is not None
    assert len(narrow_labels) == 90


def test_wide_rows_on_which_quick_methods_agree_need_no_layout(monkeypatch):
    random = np.random.default_rng(0)
    label_N = np.arange(90) % 3
    x = (9.0 * np.eye(60)[label_N] + random.normal(size=(90, 60))).astype(np.float32)
    monkeypatch.setattr(GraphInitializer, "initial_labels", None)  # a call would fail
    labels, choice = initial(x, 3, max_rows=60)
    assert adjusted_rand_score(label_N, labels) == 1.0
    assert len(choice.row_M) == 60
    assert set(choice.criteria) == {"kmeans", "ward", "spectral-10"}
    assert all(values == {"agreement": 1.0, "total": 1.0} for values in choice.criteria.values())


def test_further_clusters_are_judged():
    x, ring_N = rings()
    halves_N = (x[:, 0] > 0.0).astype(np.int64)
    rows = TrainingRows(x, np.zeros((len(x), 0)))
    partitions = {"rings": 1 - ring_N, "halves": halves_N, "three": ring_N + 2 * halves_N, "noise": ring_N - 1}
    totals = AutoInitializer(AutoOptions()).judge(rows, partitions, 2, 0)
    assert list(totals) == ["rings", "halves", "noise"]  # the numbers of the clusters do not matter
    assert totals["rings"] == totals["noise"] > totals["halves"] + 1.0
    wide = TrainingRows(np.random.default_rng(0).normal(size=(len(x), 60)), np.zeros((len(x), 0)))
    assert AutoInitializer(AutoOptions()).judge(wide, {"rings": ring_N}, 2, 0) == {}
    copies = TrainingRows(np.repeat(x[:2], 100, axis=0), np.zeros((200, 0)))
    assert AutoInitializer(AutoOptions()).judge(copies, {"halves": np.repeat([0, 1], 100)}, 2, 0) == {}
