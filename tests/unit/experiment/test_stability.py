"""The stability of a run's clusters under resampling, by cluster and by row."""

from __future__ import annotations

import numpy as np
import pytest

from deepmix.data import SplitOptions, arrange_rows
from deepmix.experiment import stability as module
from deepmix.experiment.stability import measure_stability

pytestmark = pytest.mark.usefixtures("all_refits")


def groups(n_each: int = 50, distance: float = 20.0) -> tuple[np.ndarray, np.ndarray]:
    """Return three groups, in random order, with their numbers."""
    random = np.random.default_rng(0)
    label_N = random.permutation(np.repeat([0, 1, 2], n_each))
    return np.eye(3)[label_N] * distance + random.normal(size=(3 * n_each, 3)), label_N


def test_groups_far_apart_are_stable():
    x_ND, label_N = groups()
    result = measure_stability(x_ND, x_ND, label_N, 4, seed=0)
    assert result.record.agreement == result.record.whole_agreement == 1.0
    assert result.record.clusters == [1.0, 1.0, 1.0, None]
    assert result.record.n_refits == module.REFITS
    assert result.stable_n.tolist() == [1.0] * 150


def test_a_group_cut_in_two_is_less_stable_than_one_left_whole():
    x_ND, label_N = groups()
    cut_N = np.where(label_N == 2, 1, label_N)  # two groups are one cluster, and the third is cut at random
    halves_N = np.random.default_rng(1).integers(2, size=150)
    cut_N = np.where((label_N == 0) & (halves_N == 1), 2, cut_N)
    record = measure_stability(x_ND, x_ND, cut_N, 3, seed=0).record
    assert record.agreement < 0.9
    assert record.whole_agreement == pytest.approx(0.5, abs=0.05)  # one of the two groups, and half of the third
    assert min(record.clusters) < 0.7
    rows = measure_stability(x_ND, x_ND, cut_N, 3, seed=0).stable_n
    assert rows[label_N == 0].mean() < rows[label_N == 1].mean()


def test_one_cluster_or_copies_of_one_row_have_no_stability():
    x_ND, _ = groups()
    assert measure_stability(x_ND, x_ND, np.zeros(150, dtype=np.int64), 2, seed=0) is None
    assert measure_stability(np.ones((20, 3)), np.ones((20, 2)), np.arange(20) % 2, 2, seed=0) is None


def test_the_method_is_the_one_that_agrees_best():
    angle_N = np.linspace(0.0, 2.0 * np.pi, 200, endpoint=False)
    rings = np.concatenate([r * np.stack([np.cos(angle_N), np.sin(angle_N)], axis=1) for r in (1.0, 4.0)])
    record = measure_stability(rings, rings, np.repeat([0, 1], 200), 2, seed=0).record
    assert record.method == "spectral"
    assert record.agreement == 1.0


def test_latents_are_clustered_where_many_features_show_nothing():
    latent_NM, label_N = groups()
    noise_ND = np.random.default_rng(1).normal(size=(150, 60))
    record = measure_stability(noise_ND, latent_NM, label_N, 3, seed=0).record
    assert (record.space, record.resemblance, record.agreement) == ("latents", 1.0, 1.0)
    record = measure_stability(latent_NM, noise_ND, label_N, 3, seed=0).record
    assert (record.space, record.resemblance, record.agreement) == ("features", 1.0, 1.0)
    record = measure_stability(noise_ND, noise_ND, label_N, 3, seed=0).record
    assert record.space == "features"
    assert record.resemblance < 0.1
    record = measure_stability(noise_ND[:, :5], latent_NM, label_N, 3, seed=0).record
    assert record.space == "features"
    assert record.agreement < 0.6


def test_rows_that_are_not_sampled_take_their_neighbours_stability(monkeypatch):
    x_ND, label_N = groups()
    split = arrange_rows(x_ND, None, SplitOptions(scale="none"))
    monkeypatch.setattr(module, "STABILITY_ROWS", 60)
    result = measure_stability(split.x[split.train], split.x[split.train], label_N[split.train], 3, seed=0)
    assert len(result.chosen) == result.record.n_rows == 60
    sides = result.of_all(split)
    assert {side: len(rows) for side, rows in sides.items()} == {"train": len(split.train), "test": len(split.test)}
    assert sides["test"].min() == pytest.approx(1.0)
    np.testing.assert_array_equal(sides["train"][result.chosen], result.stable_n)


def test_matching_and_jaccard_by_hand():
    own_n, label_n = np.array([0, 0, 0, 2, 2]), np.array([5, 5, 1, 1, 1])
    assert module._agrees(own_n, label_n).tolist() == [True, True, False, True, True]
    assert module._jaccard(own_n, label_n) == {0: pytest.approx(2 / 3), 2: pytest.approx(2 / 3)}
