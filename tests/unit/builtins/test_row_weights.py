"""Initial clusterings and heads on rows with weights: a row of weight w is w rows."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from deepmix_builtins.clustering.gaussians import WeightedGaussianMixture
from deepmix_builtins.clustering.graph import UMAP_REGULARIZATION, UMAP_RESTARTS, GraphInitializer, GraphOptions
from deepmix_builtins.clustering.heads import GmmHead, KMeansHead, RandomGmmHead
from deepmix_builtins.clustering.initializers import (
    GmmInitializer,
    KMeansInitializer,
    RandomInitializer,
    RestartOptions,
)
from deepmix_builtins.clustering.refit import RefittedGmmHead

from deepmix.contracts import NoOptions, TrainingRows
from deepmix.maths import Inference
from deepmix.metrics import clustering_accuracy

SPOTS = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [30.0, 0.0], [33.6, 0.0]])
"""Five groups: a triangle of three and, far from it, a pair."""


def spots(heavy: int, weight: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows around the spots, each row's spot and whole weights, which are large at one spot."""
    random = np.random.default_rng(0)
    spot_N = np.arange(100) % len(SPOTS)
    rows = (SPOTS[spot_N] + 0.2 * random.normal(size=(100, 2))).astype(np.float32)
    return rows, spot_N, np.where(spot_N == heavy, weight, 1 + np.arange(100) // 5 % 2)


def certain(label_N: np.ndarray, n_clusters: int) -> np.ndarray:
    return np.log(np.eye(n_clusters)[label_N] * 0.97 + 0.01)


@pytest.mark.parametrize("heavy", [3, 4])
def test_kmeans_initializer_puts_centres_where_the_weight_is(heavy):
    """With four centres for five spots, the nearest pair shares a centre unless one of the pair is heavy."""
    rows, _, weight_N = spots(heavy, 40)
    initializer, repeated_rows = KMeansInitializer(RestartOptions(n_init=30)), np.repeat(rows, weight_N, axis=0)
    weighted = initializer.initial_labels(TrainingRows(rows, rows, weight_N.astype(np.float64)), 4, seed=0)
    repeated = initializer.initial_labels(TrainingRows(repeated_rows, repeated_rows), 4, seed=0)
    even = initializer.initial_labels(TrainingRows(rows, rows), 4, seed=0)
    assert clustering_accuracy(np.repeat(weighted, weight_N), repeated) == 1.0
    assert even[3] == even[4]
    assert weighted[3] != weighted[4]


def test_kmeans_initializer_splits_a_heavy_group():
    rows, spot_N, weight_N = spots(0, 1000)
    initializer, even = KMeansInitializer(RestartOptions()), TrainingRows(rows, rows)
    weighted = initializer.initial_labels(TrainingRows(rows, rows, weight_N.astype(np.float64)), 5, seed=0)
    assert clustering_accuracy(spot_N, initializer.initial_labels(even, 5, seed=0)) == 1.0
    assert len(np.unique(weighted[spot_N == 0])) > 1
    assert len(np.unique(weighted[spot_N >= 3])) == 1


def test_gmm_initializer_clusters_repeated_rows_alike():
    random = np.random.default_rng(1)
    label_N = np.arange(150) % 3
    rows = 2.5 * np.eye(3)[label_N] + random.normal(size=(150, 3)) * [0.6, 1.2, 0.8]
    weight_N = np.where(label_N == 1, 15, 1 + np.arange(150) % 2)
    initializer, repeated_rows = GmmInitializer(RestartOptions()), np.repeat(rows, weight_N, axis=0)
    weighted = initializer.initial_labels(TrainingRows(rows, rows, weight_N.astype(np.float64)), 3, seed=0)
    repeated = initializer.initial_labels(TrainingRows(repeated_rows, repeated_rows), 3, seed=0)
    unweighted = initializer.initial_labels(TrainingRows(rows, rows), 3, seed=0)
    assert clustering_accuracy(np.repeat(weighted, weight_N), repeated) == 1.0
    assert clustering_accuracy(weighted, unweighted) < 0.99


def test_random_initializer_draws_centres_by_weight():
    rows = np.arange(50.0)[:, None]
    weight_N = np.full(50, 1e-9)
    weight_N[[3, 20]] = 1.0
    for seed in range(5):
        labels = RandomInitializer(NoOptions()).initial_labels(TrainingRows(rows, rows, weight_N), 2, seed)
        assert set(labels[:11]) == {labels[3]}
        assert set(labels[13:]) == {labels[20]}
        assert labels[3] != labels[20]


def test_graph_initializers_layout_takes_no_weights():
    rows, spot_N, weight_N = spots(0, 1000)
    graph = GraphInitializer(GraphOptions(embedding="tsne"))
    even = graph.initial_labels(TrainingRows(rows, rows), 5, seed=0)
    weighted = graph.initial_labels(TrainingRows(rows, rows, weight_N.astype(np.float64)), 5, seed=0)
    np.testing.assert_array_equal(weighted, even)
    assert clustering_accuracy(spot_N, even) == 1.0


class FlatMap:
    """A stand-in for UMAP whose layout is the rows themselves."""

    def __init__(self, **options):
        pass

    def fit(self, rows):
        self.embedding_ = rows
        return self


def test_graph_initializers_mixture_cuts_a_layout_by_weight(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=FlatMap))
    rows, _, weight_N = spots(3, 7)
    weights = weight_N + np.arange(100) / 1000.0
    graph = GraphInitializer(GraphOptions(embedding="umap", space="data", max_rows=60))
    labels = graph.initial_labels(TrainingRows(rows, rows, weights), 5, seed=2)
    chosen = np.sort(np.random.default_rng(2).choice(100, 60, replace=False))
    mixture = WeightedGaussianMixture(5, n_init=UMAP_RESTARTS, random_state=2, reg_covar=UMAP_REGULARIZATION)
    expected = mixture.fit_labels(rows[chosen].astype(np.float64), weights[chosen])
    np.testing.assert_array_equal(labels[chosen], expected)
    assert (mixture.fit_labels(rows[chosen].astype(np.float64), None) != expected).any()


def overlapping(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    label_N = np.arange(150) % 3
    latent_NM = (2.5 * np.eye(3)[label_N] + random.normal(size=(150, 3))).astype(np.float32)
    return certain(label_N, 3), latent_NM, random.integers(1, 5, 150)


def test_gmm_head_is_fitted_to_repeated_rows():
    log_q_NK, latent_NM, weight_N = overlapping(0)
    weighted, repeated, even = (GmmHead(NoOptions(), by_row=False) for _ in range(3))
    weighted.fit(Inference(log_q_NK, latent_NM, weight_N.astype(np.float64)), 3, seed=0)
    repeated.fit(Inference(np.repeat(log_q_NK, weight_N, axis=0), np.repeat(latent_NM, weight_N, axis=0)), 3, seed=0)
    even.fit(Inference(log_q_NK, latent_NM), 3, seed=0)
    for name in ("weights", "means", "covariances", "precisions_cholesky"):
        value = weighted.state()[name]
        np.testing.assert_allclose(value, repeated.state()[name], rtol=1e-8, atol=1e-8)
        assert np.abs(value - even.state()[name]).max() > 1e-3


def test_refitted_head_is_fitted_to_the_weights_of_the_rows_it_clusters():
    log_q_NK, latent_NM, weight_N = overlapping(1)
    rows = Inference(log_q_NK, latent_NM, weight_N.astype(np.float64))
    fitted, refitted = GmmHead(NoOptions(), by_row=False), RefittedGmmHead(NoOptions())
    fitted.fit(rows, 3, seed=0)
    refitted.fit(Inference(log_q_NK[:9], latent_NM[:9]), 3, seed=0)
    np.testing.assert_array_equal(refitted.predict(rows), fitted.predict(rows))
    fitted.fit(Inference(log_q_NK, latent_NM), 3, seed=0)
    assert (refitted.predict(rows) != fitted.predict(rows)).any()


@pytest.mark.parametrize("head_class", [RandomGmmHead, KMeansHead])
def test_heads_that_start_at_random_find_the_fit_to_repeated_rows(head_class):
    """Every start finds these groups, whose centres are then those of the repeated rows."""
    random = np.random.default_rng(2)
    label_N, weight_N = np.arange(90) % 3, random.integers(1, 6, 90)
    latent_NM = (12.0 * np.eye(3)[label_N] + random.normal(size=(90, 3))).astype(np.float32)
    log_q_NK, sides = np.zeros((90, 1)), []
    for rows in (
        Inference(log_q_NK, latent_NM, weight_N.astype(np.float64)),
        Inference(np.repeat(log_q_NK, weight_N, axis=0), np.repeat(latent_NM, weight_N, axis=0)),
        Inference(log_q_NK, latent_NM),
    ):
        head = head_class(RestartOptions())
        head.fit(rows, 3, seed=0)
        state = head.state()
        centre_KM = state.get("means", state.get("centres"))
        sides.append(centre_KM[centre_KM.argmax(axis=0)])
    np.testing.assert_allclose(sides[0], sides[1], rtol=1e-4, atol=1e-5)
    assert np.abs(sides[0] - sides[2]).max() > 0.05


def test_gmm_head_starts_from_weighted_kmeans_where_the_model_has_other_components():
    rows, spot_N, weight_N = spots(0, 1000)
    head = GmmHead(NoOptions())
    head.fit(Inference(np.zeros((100, 1)), rows, weight_N.astype(np.float64)), 5, seed=0)
    clusters = head.predict(Inference(np.zeros((100, 1)), rows))
    assert len(np.unique(clusters[spot_N == 0])) > 1
