"""The head `umap-gmm`: its clusters of the rows that it lays out, and of new rows."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from deepmix_builtins.clustering.umap_head import UmapGmmHead, UmapGmmOptions

from deepmix.errors import UsageError
from deepmix.maths import Inference
from deepmix.metrics import clustering_accuracy

CENTRES = np.array([[0.0, 0.0, 0.0], [8.0, 0.0, 0.0], [0.0, 8.0, 0.0]])


def inference_of(n_rows: int, seed: int) -> tuple[Inference, np.ndarray]:
    """Return the latents of three groups, from a model with one component, and each row's group."""
    group_N = np.arange(n_rows) % 3
    latent_NM = CENTRES[group_N] + np.random.default_rng(seed).normal(size=(n_rows, 3))
    return Inference(np.zeros((n_rows, 1), np.float32), latent_NM.astype(np.float32)), group_N


@pytest.fixture
def layouts(monkeypatch):
    """Put a stand-in in the place of UMAP, which compiles for seconds; return the options that it was called with."""
    calls = []

    class Layout:
        def __init__(self, **options):
            calls.append(options)

        def fit_transform(self, latent_NM):
            return latent_NM[:, :2] - 4.0  # not the latents, so that clusters of new rows can't come from it

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Layout))
    return calls


def test_groups_become_clusters_and_new_rows_join_them(layouts):
    (training, group_N), (new, new_group_N) = inference_of(90, 0), inference_of(30, 1)
    head = UmapGmmHead(UmapGmmOptions())
    head.fit(training, 3, seed=4)
    assert clustering_accuracy(group_N, head.predict(training)) == 1.0
    cluster_of_group = head.predict(training)[:3]
    assert head.predict(new).tolist() == cluster_of_group[new_group_N].tolist()
    assert layouts == [{"n_components": 3, "n_neighbors": 20, "min_dist": 0.0, "random_state": 4, "n_jobs": 1}]


def test_a_training_row_keeps_its_own_cluster_among_others(layouts):
    training, _ = inference_of(90, 0)
    head = UmapGmmHead(UmapGmmOptions())
    head.fit(training, 3, seed=0)
    state = head.state()
    state["clusters"][7] = 2 - state["clusters"][7] // 2  # another cluster than that of its neighbours
    restored = UmapGmmHead(UmapGmmOptions())
    restored.restore(state)
    assert restored.predict(training).tolist() == state["clusters"].tolist()


def test_a_restored_head_gives_the_same_clusters(layouts):
    (training, _), (new, _) = inference_of(90, 0), inference_of(30, 1)
    head, restored = UmapGmmHead(UmapGmmOptions()), UmapGmmHead(UmapGmmOptions())
    head.fit(training, 3, seed=0)
    restored.restore(head.state())
    assert restored.predict(new).tolist() == head.predict(new).tolist()


def test_few_rows_have_fewer_neighbours(layouts):
    head = UmapGmmHead(UmapGmmOptions())
    head.fit(inference_of(12, 0)[0], 3, seed=0)
    assert layouts[0]["n_neighbors"] == 11


def test_too_few_rows_are_refused(layouts):
    with pytest.raises(UsageError, match="needs at least 6 training rows for 3 clusters, got 5; use head 'gmm'"):
        UmapGmmHead(UmapGmmOptions()).fit(inference_of(5, 0)[0], 3, seed=0)


@pytest.mark.parametrize(("option", "value"), [("neighbours", 1), ("min_dist", 1.5)])
def test_options_out_of_range_are_refused(option, value):
    with pytest.raises(UsageError, match=option):
        UmapGmmOptions(**{option: value})
