"""Where `graph` looks for neighbours before it lays them out, with a stand-in for UMAP that counts layouts."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from deepmix_builtins.clustering import graph
from deepmix_builtins.clustering.graph import GraphInitializer, GraphOptions, _informative, _umap_neighbours
from sklearn.metrics import adjusted_rand_score

from deepmix.contracts import Progress, TrainingRows
from deepmix.metrics import clustering_accuracy

LABEL_N = np.arange(240) % 3


def clustered(seed: int) -> np.ndarray:
    return (20.0 * np.eye(3, 4)[LABEL_N] + np.random.default_rng(seed).normal(size=(240, 4))).astype(np.float32)


def noise() -> np.ndarray:
    return np.random.default_rng(9).normal(size=(240, 4)).astype(np.float32)


@pytest.mark.parametrize(
    ("spaces", "kept"),
    [
        pytest.param([clustered(0), clustered(1)], [0, 1], id="the same clusters"),
        pytest.param([clustered(0), noise()], [0], id="clusters in the rows only"),
        pytest.param([noise(), clustered(0)], [1], id="clusters in the codes only"),
        pytest.param([noise()[:12], clustered(0)[:12]], [0, 1], id="too few rows to tell"),
    ],
)
def test_spaces_with_the_same_clusters_are_combined(spaces, kept):
    chosen = _informative(spaces, 3, 0)
    assert [next(i for i, space in enumerate(spaces) if space is one) for one in chosen] == kept


class CountedMap:
    """The first three columns as the layout; `*` combines two graphs."""

    layouts: list[str] = []  # noqa: RUF012  (a test clears it)

    def __init__(self, *, transform_mode: str, **options: object) -> None:
        self.transform_mode = transform_mode

    def fit(self, rows: np.ndarray) -> CountedMap:
        self.rows = rows
        if self.transform_mode == "embedding":
            self.layouts.append("one space")
        return self

    def __mul__(self, other: CountedMap) -> CountedMap:
        self.layouts.append("both spaces")
        return self

    @property
    def embedding_(self) -> np.ndarray:
        return self.rows[:, :3]


@pytest.mark.parametrize(
    ("x", "code", "layouts"),
    [(clustered(0), clustered(1), ["both spaces"]), (clustered(0), noise(), ["one space"])],
)
def test_there_is_one_layout(monkeypatch, x, code, layouts):
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=CountedMap))
    CountedMap.layouts.clear()
    labels = GraphInitializer(GraphOptions(embedding="umap")).initial_labels(TrainingRows(x, code), 3, 0)
    assert CountedMap.layouts == layouts
    assert clustering_accuracy(LABEL_N, labels) == 1.0


def steps(x, code, **options) -> list[tuple[str, float]]:
    """Return the steps that `graph` reports, each with the fraction of the work before it, to two digits."""
    reported: list[tuple[str, float]] = []
    progress = Progress(lambda name, fraction: reported.append((name, round(fraction, 2))))
    rows = TrainingRows(x, code, progress=progress)
    GraphInitializer(GraphOptions(**options)).initial_labels(rows, 3, 0)
    return reported


def test_the_steps_of_a_layout_are_reported(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=CountedMap))
    searches = [("preparation", 0.0), ("neighbours", 0.04), ("neighbours of the codes", 0.49)]
    layout = [("UMAP", 0.53), ("mixture", 0.98)]
    assert steps(clustered(0), clustered(1), embedding="umap") == [*searches, *layout]
    assert steps(clustered(0), noise(), embedding="umap") == [*searches[:2], *layout]
    assert steps(clustered(0), clustered(0)) == [("neighbours", 0.0), ("spectral", 0.08), ("t-SNE", 0.23)]
    half = [("neighbours", 0.0), ("spectral", 0.04), ("t-SNE", 0.12), ("the other rows", 0.5)]
    assert steps(clustered(0), clustered(0), max_rows=120) == half


def test_the_neighbours_of_many_rows_are_those_that_umap_finds_itself(monkeypatch):
    """They are searched before the layout, so that the search is a step of its own."""
    umap = pytest.importorskip("umap")
    monkeypatch.setattr(graph, "EXACT_ROWS", 200)
    results = []
    monkeypatch.setattr(graph, "_umap_neighbours", lambda *args: results.append(_umap_neighbours(*args)) or results[-1])
    x = np.random.default_rng(0).normal(size=(1000, 30)).astype(np.float32)
    GraphInitializer(GraphOptions(embedding="umap", space="data")).initial_labels(TrainingRows(x, x), 3, 0)
    own = umap.UMAP(
        n_neighbors=20, random_state=0, n_jobs=1, transform_mode="graph", force_approximation_algorithm=True
    )
    own.fit(x)
    np.testing.assert_array_equal(results[0][0], own._knn_indices)
    np.testing.assert_array_equal(results[0][1], own._knn_dists)


def test_a_few_far_rows_are_not_a_spectral_cluster():
    """They are cheap to cut off, but the groups of the other rows are what a user asks for."""
    random = np.random.default_rng(0)
    label_N = np.arange(400) % 2
    rows_ND = random.normal(size=(400, 8)) + 4.0 * label_N[:, None] * np.eye(8)[0]
    far_ND = random.normal(size=(12, 8)) + 100.0
    x = np.concatenate([rows_ND, far_ND]).astype(np.float32)
    labels = {
        embedding: GraphInitializer(GraphOptions(embedding=embedding)).initial_labels(TrainingRows(x, x), 2, 0)[:400]
        for embedding in ("auto", "tsne", "spectral")
    }
    assert len(np.unique(labels["spectral"])) == 1
    np.testing.assert_array_equal(labels["auto"], labels["tsne"])
    assert adjusted_rand_score(label_N, labels["auto"]) > 0.8
