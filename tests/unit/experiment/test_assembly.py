from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse

from deepmix.experiment import build_model
from tests.unit.training.test_trainer import small_experiment


@pytest.mark.parametrize("stored", [np.asarray, sparse.csr_matrix])
def test_the_likelihood_of_an_array_starts_from_its_training_rows(stored):
    of = small_experiment(likelihood="poisson")
    counts = np.random.default_rng(0).poisson([1.0, 5.0, 20.0, 80.0], size=of.split.x.shape).astype(np.float32)
    model = build_model(of.parts, replace(of.split, x=stored(counts)), 3, seed=0)
    expected = np.log(counts[of.split.train].mean(axis=0))
    torch.testing.assert_close(model.likelihood.blocks[0].log_mean_C, torch.from_numpy(expected))
