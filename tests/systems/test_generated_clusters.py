"""Rows that a cluster generates belong to that cluster, for every recipe and prior."""

from __future__ import annotations

import numpy as np
import pytest

from deepmix import runs
from deepmix.experiment import ExperimentConfig, prepare_experiment, run_experiment
from deepmix.inference import LoadedRun
from deepmix.training import SilentReporter

RECIPES = ("vade", "k-dvae-shared", "mvae", "mvae-emv1", "mvae-emv2", "beta-mvae-emv2", "k-dvae")
"""Recipes of the grid that differ in their heads, decoders and E-steps."""
LEAST = 0.9
"""Fraction of a cluster's generated rows that the model assigns to it."""
N_ROWS, N_GROUPS = 240, 3


def groups() -> np.ndarray:
    """Return rows of three groups in eight columns, each group on a plane of its own."""
    random = np.random.default_rng(0)
    group_N = np.arange(N_ROWS) % N_GROUPS
    centre_KD, plane_KMD = random.normal(size=(N_GROUPS, 8)), random.normal(size=(N_GROUPS, 2, 8))
    on_plane_ND = np.einsum("nm,nmd->nd", random.normal(size=(N_ROWS, 2)), plane_KMD[group_N])
    return 4.0 * centre_KD[group_N] + 0.7 * on_plane_ND + 0.1 * random.normal(size=(N_ROWS, 8))


def train(model: str, prior: str) -> LoadedRun:
    settings = {"components": "3", "latent_dim": "3", "encoder.hidden": "32", "decoder.hidden": "32"}
    settings |= {"epochs": "40", "pretrain_epochs": "20", "batch_size": "32"}
    config = ExperimentConfig(model=model, prior=prior, init="kmeans", settings=settings)
    store = runs.MemoryRun()
    run_experiment(prepare_experiment(config, groups()), store, SilentReporter(), report=False)
    return LoadedRun(store)


@pytest.mark.parametrize("prior", ["standard", "mixture"])
@pytest.mark.parametrize("model", RECIPES)
def test_generated_rows_are_assigned_to_their_cluster(model, prior):
    run = train(model, prior)
    if (model, prior) == ("vade", "standard"):  # q(y|x) is 1/K for every row, so that there are no clusters
        assert np.exp(run.infer(run.prepare(groups())).log_q_NK) == pytest.approx(1.0 / N_GROUPS)
        return
    for k in range(N_GROUPS):
        rows = run.sample(100, k)
        component_N = run.infer(run.prepare(rows)).map_N
        assert np.mean(component_N == k) >= LEAST, f"{model}, {prior}: cluster {k}"


def test_clusters_with_one_prior_and_decoder_are_alike_when_generated_from_the_prior():
    run = train("mvae-emv2", "standard")
    first, second = (run.sample(10, k, seed=1, from_prior=True) for k in (0, 1))
    assert first == pytest.approx(second)
    run.latents = None  # a run of an earlier version
    assert run.sample(10, 0, seed=1) == pytest.approx(first)
