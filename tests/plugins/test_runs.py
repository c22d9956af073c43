"""Runs of the command line with the distributions under `plugins/`."""

from __future__ import annotations

import importlib.util
import json
import sys

import numpy as np
import pytest

from tests.cli.conftest import TINY, WITH_REPORT, refuses
from tests.plugins.conftest import PLUGINS

QUICK = TINY[2:]


@pytest.fixture
def rows(tmp_path) -> np.ndarray:
    """Write rows.npz with three groups of rows, and return their groups."""
    random, group_N = np.random.default_rng(0), np.arange(120) % 3
    np.savez(tmp_path / "rows.npz", x=np.eye(3, 4)[group_N] * 9 + random.normal(size=(120, 4)), y=group_N)
    return group_N


@pytest.mark.parametrize("method", ["ldmgi", "hdbscan", "leiden"])
def test_a_run_starts_from_a_graph_method_and_ends_with_its_head(install, deepmix, rows, tmp_path, method):
    if method == "leiden" and importlib.util.find_spec("sknetwork") is None:
        pytest.skip("scikit-network is not installed")
    install("deepmix-graph")
    words = ["--dataset", "rows.npz", "--components", "3", "--init", method, "--head", method, "--out", "run"]
    trained = deepmix("train", *QUICK, *words)
    assert trained.returncode == 0, trained.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["initial_labels"]["train"]["acc"] == 1.0
    predicted = deepmix("predict", "run", "rows.npz", "--out", "again.csv")
    assert predicted.returncode == 0, predicted.stderr
    clusters = np.loadtxt(tmp_path / "again.csv", delimiter=",", skiprows=1, usecols=1, dtype=int)
    stored = np.loadtxt(tmp_path / "run" / "assignments.csv", delimiter=",", skiprows=1, usecols=2, dtype=int)
    assert np.array_equal(clusters, stored)


def test_the_adversarial_autoencoder_trains_and_samples(install, deepmix, rows, tmp_path):
    install("deepmix-aae")
    words = [*QUICK[2:], "--dataset", "rows.npz", "--components", "3", "--model", "aae", "--init", "kmeans"]
    trained = deepmix("train", "--epochs", "40", *words, "--set", "anchor=3", "--out", "run")
    assert trained.returncode == 0, trained.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["heads"]["posterior"]["train"]["acc"] > 0.9
    terms = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])["terms"]
    assert terms["adversary"] > 0.0
    sampled = deepmix("sample", "run", "--csv", "samples.csv")
    assert sampled.returncode == 0, sampled.stderr


def test_a_latent_tree_trains_and_writes_its_facets(install, deepmix, rows, tmp_path):
    install("deepmix-ltvae")
    words = ["--dataset", "rows.npz", "--components", "3", "--model", "ltvae", "--init", "kmeans", "--out", "run"]
    trained = deepmix("train", *QUICK, *words, "--set", "latent_dim=4", "--set", "facets=2")
    assert trained.returncode == 0, trained.stderr
    exported = deepmix("export", "run", "--format", "torch-export")
    assert exported.returncode == 0, exported.stderr
    assert deepmix("sample", "run", "--csv", "samples.csv").returncode == 0
    written = deepmix("facets", "run", "--out", "facets.csv")
    assert written.returncode == 0, written.stderr
    assert "facet 0 (the clusters): 3 states, latent dimensions 1" in written.stdout
    cluster_N = np.loadtxt(tmp_path / "facets.csv", delimiter=",", skiprows=1, usecols=1, dtype=int)
    stored_N = np.loadtxt(tmp_path / "run" / "assignments.csv", delimiter=",", skiprows=1, usecols=2, dtype=int)
    assert np.array_equal(cluster_N, stored_N)
    refuses(deepmix("facets", "run", "--out", "facets.csv"), 2, "'facets.csv' exists", "--overwrite")


@pytest.mark.parametrize(
    ("distribution", "model"),
    [("deepmix-priors", "sb-vae"), ("deepmix-priors", "dlgmm"), ("deepmix-aae", "infogan")],
)
def test_models_of_other_posteriors_and_games_train_predict_sample_and_report(
    install, deepmix, rows, tmp_path, distribution, model
):
    install(distribution)
    words = ["--dataset", "rows.npz", "--components", "3", "--model", model, "--out", "run"]
    head = ("--head", "gmm") if model == "sb-vae" else ()
    trained = deepmix("train", *WITH_REPORT, "--no-baselines", *words, *head)
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "run" / "report.html").stat().st_size > 1000
    predicted = deepmix("predict", "run", "rows.npz", "--out", "again.csv")
    assert predicted.returncode == 0, predicted.stderr
    clusters = np.loadtxt(tmp_path / "again.csv", delimiter=",", skiprows=1, usecols=1, dtype=int)
    stored = np.loadtxt(tmp_path / "run" / "assignments.csv", delimiter=",", skiprows=1, usecols=2, dtype=int)
    assert np.array_equal(clusters, stored)
    sampled = deepmix("sample", "run", "--csv", "samples.csv")
    assert sampled.returncode == 0, sampled.stderr
    assert np.isfinite(np.genfromtxt(tmp_path / "samples.csv", delimiter=",", skip_header=1)).all()


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_a_run_is_tracked(install, deepmix, rows, tmp_path):
    install("deepmix-trackers")
    words = ["--dataset", "rows.npz", "--components", "3", "--init", "kmeans", "--track", "tensorboard", "--out", "run"]
    trained = deepmix("train", *QUICK, *words)
    assert trained.returncode == 0, trained.stderr
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "tensorboard" / "train")).Reload().Scalars("elbo")
    lines = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    expected = [(line["epoch"], line["elbo"]) for line in lines if line["stage"] == "train"]
    assert [event.step for event in events] == [epoch for epoch, _ in expected]
    np.testing.assert_allclose([event.value for event in events], [elbo for _, elbo in expected], rtol=1e-6)


@pytest.mark.skipif(importlib.util.find_spec("h5py") is None, reason="h5py is not installed")
def test_cells_are_read_clustered_and_written_back(install, deepmix, monkeypatch, tmp_path):
    install("deepmix-anndata", "deepmix-graph")
    monkeypatch.syspath_prepend(str(PLUGINS / "deepmix-anndata" / "tests"))
    import h5py
    from test_anndata import write_h5ad

    random, kind_N = np.random.default_rng(0), np.arange(120) % 3
    share_KG = random.dirichlet(np.ones(20), size=3)
    counts = random.poisson(share_KG[kind_N] * random.lognormal(6, 0.8, size=(120, 1))).astype(np.float32)
    write_h5ad(tmp_path / "cells.h5ad", counts, kind_N)
    words = ["--dataset", "cells.h5ad", "--label-column", "kind", "--components", "3", "--init", "hdbscan"]
    counted = ["--encoder", "library-mlp", "--likelihood", "library-negative-binomial", "--set", "scale=none"]
    from_disk = ["--set", "format.values=stored", "--set", "storage=disk"]
    trained = deepmix("train", *QUICK, *words, *counted, *from_disk, "--out", "run")
    assert trained.returncode == 0, trained.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["initial_labels"]["train"]["acc"] == 1.0, "the initial clustering does not see the totals"
    written = deepmix("anndata-write", "run", "cells.h5ad", "out.h5ad")
    assert written.returncode == 0, written.stderr
    stored = np.loadtxt(tmp_path / "run" / "assignments.csv", delimiter=",", skiprows=1, usecols=3, dtype=int)
    with h5py.File(tmp_path / "out.h5ad") as file:
        categories = file["obs/deepmix/categories"].asstr()[()].astype(int)
        assert np.array_equal(categories[file["obs/deepmix/codes"][()]], stored)
        assert file["obsm/X_deepmix"].shape == (120, 10)
    refuses(deepmix("anndata-write", "run", "cells.h5ad", "out.h5ad"), 2, "'out.h5ad' exists", "--overwrite")
    sys.modules.pop("test_anndata")


def test_a_row_of_a_paper_names_the_distribution_that_it_needs(install):
    from deepmix.reproduce import jobs, load_tables

    tables = load_tables()
    protocol = tables["vade-2"].protocols[1]
    names = ("vade-2", "vade-3", "vade-figure-4", "dec", "k-dvae-2")
    cells = [cell for name in names for cell in tables[name].cells]

    def gaps() -> set[tuple[str, str]]:
        answers = {(cell.row, jobs.find_gap(cell.spec, protocol)) for cell in cells}
        return {(row, gap) for row, gap in answers if "pip install" in gap}

    assert gaps() == {
        ("LDMGI", "head 'ldmgi' is not installed; pip install deepmix-graph"),
        ("AAE", "model 'aae' is not installed; pip install deepmix-aae"),
        ("InfoGAN", "model 'infogan' is not installed; pip install deepmix-aae"),
        ("DEC", "model 'dec' is not installed; pip install deepmix-dec"),
        ("IDEC", "model 'idec' is not installed; pip install deepmix-dec"),
        ("DCN", "model 'dcn' is not installed; pip install deepmix-dec"),
        ("DLGMM", "model 'dlgmm' is not installed; pip install deepmix-priors"),
        ("SB-VAE", "model 'sb-vae' is not installed; pip install deepmix-priors"),
        ("LTVAE", "model 'ltvae' is not installed; pip install deepmix-ltvae"),
    }
    install("deepmix-graph", "deepmix-aae", "deepmix-dec", "deepmix-priors", "deepmix-ltvae")
    assert gaps() == set()
