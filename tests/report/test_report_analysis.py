from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from deepmix.maths import Inference
from deepmix.report import analysis
from deepmix.training import diagnose


def test_clusters_are_matched_one_to_one_and_those_left_over_by_majority():
    labels = np.array(list("aaabbbccc"))
    clusters = np.array([0, 0, 3, 1, 1, 1, 2, 2, 2])
    assert analysis.matched_pairs(labels, clusters) == {0: "a", 1: "b", 2: "c"}
    assert analysis.match(labels, clusters) == {0: "a", 1: "b", 2: "c", 3: "a"}


def test_reliability_bins_by_hand():
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55, 1.0])
    right = np.array([1, 1, 1, 0, 0, 1, 1], dtype=bool)
    actual = analysis.reliability(confidence, right)
    assert actual.counts.tolist() == [2, 5]
    assert actual.histogram.tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 0, 5]
    assert actual.confidence == pytest.approx([0.55, 0.96])
    assert actual.accuracy == pytest.approx([0.5, 0.8])
    assert actual.error == pytest.approx((2 * 0.05 + 5 * 0.16) / 7)


def test_wilson_interval_is_that_of_the_literature():
    """Newcombe (1998), table I: 81 of 263 and 0 of 20."""
    low, high = analysis.wilson(np.array([81 / 263, 0.0]), np.array([263, 20]))
    assert low == pytest.approx([0.2553, 0.0], abs=5e-5)
    assert high == pytest.approx([0.3662, 0.1611], abs=5e-5)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_differences_are_standardised_and_safe_where_there_is_nothing_to_compare(kind):
    x = np.array([[0.0, 5.0, 1.0], [2.0, 5.0, 1.0], [4.0, 5.0, 7.0]])
    apart, inside, outside = analysis.differences(kind(x), np.array([0, 0, 2]), 3)
    spread = x.std(axis=0)
    assert apart[0] == pytest.approx([-3.0 / spread[0], 0.0, -6.0 / spread[2]])
    assert apart[2] == pytest.approx([3.0 / spread[0], 0.0, 6.0 / spread[2]])
    assert apart[1].tolist() == [0.0, 0.0, 0.0]
    assert inside[0] == pytest.approx([1.0, 5.0, 1.0])
    assert outside[0] == pytest.approx([4.0, 5.0, 7.0])


def test_agreement_is_blind_to_the_clusters_numbers():
    first = np.array([0, 0, 1, 1, 2, 2])
    second = np.array([2, 2, 0, 0, 1, 1])
    third = np.array([0, 1, 1, 1, 2, 2])
    actual = analysis.pairwise_agreement([first, second, third])
    assert actual == pytest.approx(np.array([[1, 1, 5 / 6], [1, 1, 5 / 6], [5 / 6, 5 / 6, 1]]))


def test_densest_point_lies_in_the_larger_of_two_groups():
    random = np.random.default_rng(0)
    points = np.concatenate([random.normal(0.0, 0.1, (30, 2)), random.normal(9.0, 0.1, (10, 2))])
    assert np.abs(analysis.densest(points)).max() < 0.2


def test_typicality_is_the_distance_in_the_clusters_own_spread():
    latent = np.array([[0.0, 0.0], [2.0, 0.0], [100.0, 7.0]])
    assert analysis.typicality(latent, np.array([0, 0, 1])).tolist() == [1.0, 1.0, 0.0]


def test_maps_keep_groups_apart_and_are_the_same_for_the_same_seed():
    random = np.random.default_rng(0)
    group = np.arange(60) % 2
    latent = random.normal(size=(60, 5)) + 20.0 * group[:, None]
    maps = analysis.projections(latent, 0)
    assert [one.name for one in maps] == ["PCA", "t-SNE"]
    for one, again in zip(maps, analysis.projections(latent, 0), strict=True):
        assert np.array_equal(one.points, again.points)
        own = np.linalg.norm(one.points - one.points[group == 0].mean(axis=0), axis=1)
        assert own[group == 0].max() < own[group == 1].min()
    spread = np.linalg.svd(latent - latent.mean(axis=0), compute_uv=False) ** 2
    assert maps[0].x_label == f"first principal direction: {100 * spread[0] / spread.sum():.0f} % of the variance"


def test_one_latent_dimension_has_both_maps():
    latent = np.random.default_rng(0).permutation(60)[:, None] / 60.0
    pca, tsne = analysis.projections(latent, 0)
    assert (pca.name, tsne.name) == ("PCA", "t-SNE")
    assert not pca.points[:, 1].any()
    in_order = tsne.points[np.argsort(latent[:, 0])]
    steps = np.linalg.norm(np.diff(in_order, axis=0), axis=1)
    apart = np.linalg.norm(in_order[:, None] - in_order, axis=2)
    assert np.median(steps) < 0.2 * np.median(apart)


@pytest.mark.parametrize(
    "latent",
    [np.zeros((20, 3)), np.ones((1, 4)), np.arange(5.0)[:, None], np.eye(3)],
    ids=["same", "one", "line", "few"],
)
def test_too_little_for_a_neighbourhood_map_leaves_pca(latent):
    (only,) = analysis.projections(latent, 0)
    assert only.name == "PCA"
    assert only.points.shape == (len(latent), 2)
    assert np.isfinite(only.points).all()


def test_every_diagnosis_has_an_explanation():
    """Three problems at once: one component takes all rows, all are equally likely, and no dimension varies."""
    from deepmix.report.words import advice

    log_q = np.log(np.full((50, 4), 0.25))
    actual = diagnose(Inference(log_q, np.zeros((50, 3))))
    assert len(actual) == 3
    for warning in actual:
        heading, _, meaning = advice(warning)
        assert heading != "About the data"
        assert meaning
