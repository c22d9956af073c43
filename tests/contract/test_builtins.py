"""Every built-in plugin keeps its contract; the plugins of others are checked in their own tests."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.datasets import load_digits, make_circles, make_moons

from deepmix import testing
from deepmix.contracts import TrainingRows, registry
from deepmix.data import Split
from deepmix.errors import UsageError
from deepmix.experiment import ExperimentConfig, build_model, resolve
from deepmix.metrics import clustering_accuracy
from deepmix.models import Recipe
from deepmix.testing import KITS, kit_of, run_kit


def every(kind: str) -> list[str]:
    return [plugin.name for plugin in registry.discover(kind) if plugin.distribution == "deepmix"]


UNTESTED = {
    "gradients": "there are no parameters to learn",
    "devices": "there is no CUDA device",
    "missing-cells": "this model has no likelihood of cells",
    "one-row": "this head fits the rows that it clusters",
}
"""Clauses that some built-in plugins skip, and the beginning of the reason."""


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in KITS if kind != "datasets" for name in every(kind)], ids=str
)
def test_a_built_in_keeps_every_clause(kind, name, monkeypatch):
    monkeypatch.setattr("deepmix.training.schedule.MIN_UPDATES", 30)  # the initializer `vade` trains a model
    kit = kit_of(kind, registry.load_plugin(kind, name))
    results = run_kit(kit, name, without=("command-line",))  # tests/cli trains with most of them
    assert [result for result in results if result.state == "failed"] == []
    for result in results:
        assert result.state == "ok" or result.text.startswith((UNTESTED[result.clause], "encoder 'conv' is for images"))


@pytest.mark.parametrize("shape", [(2, 3), (3, 1), (40, 1), (5, 80)], ids=str)
@pytest.mark.parametrize(
    ("embedding", "space"), [("tsne", "auto"), ("umap", "auto"), ("umap", "both"), ("spectral", "codes")]
)
def test_graph_initializer_takes_data_of_any_shape(shape, embedding, space):
    graph = registry.load_plugin("initializers", "graph")
    rows = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    labels = graph(graph.Options(embedding=embedding, space=space)).initial_labels(TrainingRows(rows, rows), 2, seed=0)
    assert set(labels) == {0, 1}


@pytest.mark.parametrize(
    "curves", [make_moons(1500, noise=0.06, random_state=0), make_circles(1500, factor=0.5, random_state=0)]
)
def test_graph_initializer_keeps_curves_whole_that_tsne_tears(curves):
    graph = registry.load_plugin("initializers", "graph")
    rows, truth = curves[0].astype(np.float32), curves[1]
    for embedding, least, most in (("auto", 1.0, 1.0), ("tsne", 0.5, 0.8)):
        labels = graph(graph.Options(embedding=embedding)).initial_labels(TrainingRows(rows, rows), 2, seed=0)
        assert least <= clustering_accuracy(truth, labels) <= most


def test_graph_initializer_keeps_tsne_if_its_cut_is_no_worse():
    graph = registry.load_plugin("initializers", "graph")
    rows, truth = load_digits(return_X_y=True)
    rows, truth = rows[:600].astype(np.float32), truth[:600]
    labels_by_layout = {
        embedding: graph(graph.Options(embedding=embedding)).initial_labels(TrainingRows(rows, rows), 10, seed=0)
        for embedding in ("auto", "tsne", "spectral")
    }
    np.testing.assert_array_equal(labels_by_layout["auto"], labels_by_layout["tsne"])
    assert clustering_accuracy(truth, labels_by_layout["auto"]) > clustering_accuracy(
        truth, labels_by_layout["spectral"]
    )


def test_graph_initializer_needs_no_memory_for_all_pairs_of_one_column(monkeypatch):
    def refuse(*args):
        raise AssertionError("Ward's method holds all pairs")

    graph = registry.load_plugin("initializers", "graph")
    monkeypatch.setattr("deepmix_builtins.clustering.graph.AgglomerativeClustering", refuse)
    truth = np.arange(6000) % 3
    rows = (truth * 20.0 + np.random.default_rng(0).normal(size=6000)).astype(np.float32)[:, None]
    labels = graph(graph.Options()).initial_labels(TrainingRows(rows, rows), 3, seed=0)
    assert clustering_accuracy(truth, labels) == 1.0


def test_graph_initializer_carries_labels_from_a_subsample():
    graph = registry.load_plugin("initializers", "graph")
    truth = np.arange(300) % 3
    rows = np.eye(3, 5)[truth] * 20.0 + np.random.default_rng(0).normal(size=(300, 5))
    for x in (rows.astype(np.float32), sparse.csr_matrix(rows.clip(0.0))):
        labels = graph(graph.Options(max_rows=90)).initial_labels(TrainingRows(x, rows), 3, seed=1)
        assert clustering_accuracy(truth, labels) == 1.0


def test_graph_initializer_looks_for_neighbours_where_the_clusters_are():
    graph = registry.load_plugin("initializers", "graph")
    random, truth = np.random.default_rng(0), np.arange(240) % 3
    clustered = (np.eye(3, 4)[truth] * 20.0 + random.normal(size=(240, 4))).astype(np.float32)
    noise = random.normal(size=(240, 4)).astype(np.float32)

    def accuracy(x, code, space):
        options = graph.Options(embedding="umap", space=space)
        return clustering_accuracy(truth, graph(options).initial_labels(TrainingRows(x, code), 3, seed=0))

    assert accuracy(clustered, noise, "auto") == accuracy(noise, clustered, "auto") == 1.0
    assert accuracy(clustered, clustered, "both") == 1.0
    assert accuracy(clustered, noise, "codes") < 0.6
    assert torch.get_num_threads() == 1, "UMAP has changed torch's number of threads"
    with pytest.raises(UsageError, match="space=both is for embedding=umap"):
        graph.Options(embedding="tsne", space="both")


@pytest.mark.parametrize("name", every("datasets"))
def test_dataset(name):
    results = run_kit(kit_of("datasets", registry.load_plugin("datasets", name)), name, without=("command-line",))
    assert [result for result in results if result.state == "failed"] == []
    if reasons := [result.text for result in results if result.state == "skipped"]:
        pytest.skip(f"{name}: {reasons[0]}")


SIX_COLUMNS = Split(
    np.zeros((8, 6), np.float32), np.arange(6), np.arange(6, 8), None, "bernoulli", "", image_shape=(2, 3, 1)
)


RECIPES = [name for name in every("models") if isinstance(registry.load_plugin("models", name), Recipe)]


@pytest.mark.parametrize("assignment", ["soft", "hard"])
@pytest.mark.parametrize("prior", ["standard", "mixture"])
@pytest.mark.parametrize("name", RECIPES)
def test_recipe(name, prior, assignment):
    config = ExperimentConfig(model=name, prior=prior, settings={"assignment": assignment, "latent_dim": "3"})
    testing.check_model(build_model(resolve(config), SIX_COLUMNS, 4, seed=0), n_features=6)


def test_checks_refuse_a_prior_whose_weights_do_not_sum_to_one():
    standard = registry.load_plugin("priors", "standard")
    mixture = registry.load_plugin("priors", "mixture")

    class Doubled(mixture.__base__):
        def __init__(self, dims, options):
            super().__init__()
            self.inner = standard(dims, options)

        def forward(self):
            parameters = self.inner()
            return type(parameters)(None, parameters.log_weight_K + np.log(2.0))

        def place(self, components, weight_K):
            pass

    with pytest.raises(AssertionError, match="sum of the new weights and 1 must agree"):
        testing.check_prior(Doubled)
