"""k-DVAE as its paper trains it: clusters of a VaDE first, then eq. 6 without an anchor, eq. 8 at the end."""

from __future__ import annotations

import numpy as np
import torch
from deepmix_builtins.clustering.vade_initializer import VadeInitializer, VadeOptions
from torch.distributions import Bernoulli

from deepmix.contracts import Batch, Progress, TrainingRows
from deepmix.experiment import ExperimentConfig, resolve
from deepmix.metrics import clustering_accuracy


def test_recipe_is_the_papers():
    parts = resolve(ExperimentConfig(model="k-dvae-paper"))
    assert parts.classes["initializer"] is VadeInitializer
    assert parts.options["model"].assignment == "hard"
    assert parts.options["objective"].anchor == 0.0
    assert parts.options["encoder"].hidden == "500-100"
    assert resolve(ExperimentConfig(model="k-dvae-paper", init="kmeans")).classes["initializer"] is not VadeInitializer


def test_vade_finds_clear_groups_whatever_the_codes():
    random = np.random.default_rng(0)
    truth = np.arange(150) % 3
    rows = (np.eye(3, 6)[truth] * 6.0 + random.normal(size=(150, 6))).astype(np.float32)
    initializer = VadeInitializer(VadeOptions(vade_epochs=40))
    steps = []
    progress = Progress(lambda name, fraction: steps.append((name, fraction)))
    labels = initializer.initial_labels(TrainingRows(rows, np.zeros((150, 2), np.float32), progress=progress), 3, 0)
    assert clustering_accuracy(truth, labels) >= 0.95
    assert [name for name, _ in steps] == ["pretrain"] * 40 + ["train"] * 40
    np.testing.assert_allclose([fraction for _, fraction in steps], np.arange(1, 81) / 80)


def test_clusters_are_equation_8s(small_model):
    """Compare with log p(x|z_i) - |z_i|^2 / 2 + sum log sigma_i, written out, where z_i is the posterior mean."""
    settings = {"encoder.hidden": "8-7", "decoder.hidden": "8-7"}
    model = small_model("k-dvae-paper", **settings).double()
    x = torch.rand(9, 6, generator=torch.Generator().manual_seed(2)).double()
    with torch.no_grad():
        posterior = model.encoder(x)
        scores = []
        for i in range(4):
            z, log_sigma = posterior.mean[:, i], 0.5 * posterior.log_var[:, i]
            counts = [0] * 4
            counts[i] = len(x)
            log_p = Bernoulli(logits=model.decoder(z, counts), validate_args=False).log_prob(x).sum(-1)
            scores.append(log_p - 0.5 * z.square().sum(-1) + log_sigma.sum(-1))
    actual = model.infer(Batch(x))[0]
    expected = torch.stack(scores, dim=-1).log_softmax(-1)
    torch.testing.assert_close(actual, expected, rtol=1e-7, atol=1e-7)


def test_digits(train):
    """VaDE gets few updates, and so do ten small autoencoders after it; a guess gets 0.1."""
    settings = {"epochs": "5", "pretrain_epochs": "6", "vade_epochs": "12"}
    settings |= {"encoder.hidden": "64-32", "decoder.hidden": "64-32"}
    results = train("k-dvae-paper", settings=settings)
    assert results["initial_labels"]["test"]["acc"] >= 0.5
    assert results["heads"]["posterior"]["test"]["acc"] >= 0.5
