"""Latents of a component's training rows as a small Gaussian mixture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deepmix.maths import Inference
from deepmix.models import ClusterLatents


def inference_of(latent_NM: np.ndarray, map_N: np.ndarray, n_components: int, weight_N=None) -> Inference:
    """Return an inference whose most probable components are these."""
    log_q_NK = np.log(np.where(np.eye(n_components)[map_N] > 0, 0.9, 0.1 / (n_components - 1)))
    return Inference(log_q_NK.astype(np.float32), latent_NM.astype(np.float32), weight_N)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_samples_have_the_moments_of_a_components_rows():
    random = np.random.default_rng(0)
    map_N = np.arange(1200) % 3
    centre_KM = np.array([[0.0, 4.0], [5.0, 0.0], [-5.0, -3.0]])
    shape_KMM = np.array([[[1.0, 0.0], [0.9, 0.3]], [[0.2, 0.0], [0.0, 1.0]], [[0.5, 0.0], [-0.4, 0.1]]])
    latent_NM = centre_KM[map_N] + np.einsum("nij,nj->ni", shape_KMM[map_N], random.normal(size=(1200, 2)))
    latents = ClusterLatents.of_rows(inference_of(latent_NM, map_N, 3))
    for k in range(3):
        sample = latents.sample(20_000, k, generator()).numpy()
        own = latent_NM[map_N == k]
        assert sample.mean(axis=0) == pytest.approx(own.mean(axis=0), abs=0.03)
        assert np.cov(sample.T) == pytest.approx(np.cov(own.T), abs=0.05)


def test_a_component_in_two_places_is_not_generated_between_them():
    random = np.random.default_rng(0)
    latent_NM = np.where(np.arange(200) % 2, 5.0, -5.0)[:, None] + 0.1 * random.normal(size=(200, 2))
    latents = ClusterLatents.of_rows(inference_of(latent_NM, np.zeros(200, int), 2))
    sample = latents.sample(500, 0, generator())
    assert (sample.abs() - 5.0).abs().max() < 1.0
    assert 0.4 < float((sample[:, 0] > 0).float().mean()) < 0.6


def test_components_with_no_row_one_row_and_equal_rows():
    latent_NM = np.array([[3.0, 3.0], [7.0, 7.0], [7.0, 7.0]])
    latents = ClusterLatents.of_rows(inference_of(latent_NM, np.array([1, 2, 2]), 3))
    nowhere, one, equal = (latents.sample(4000, k, generator()) for k in range(3))
    assert nowhere.mean(0).tolist() == pytest.approx([0.0, 0.0], abs=0.1)
    assert nowhere.std(0).tolist() == pytest.approx([1.0, 1.0], abs=0.1)
    assert (one - 3.0).abs().max() < 1.0
    assert (equal - 7.0).abs().max() < 1.0


def test_rows_count_by_their_weights():
    latent_NM = np.repeat([[0.0], [1.0]], 10, axis=0)
    weight_N = np.repeat([1e-6, 2.0], 10)
    latents = ClusterLatents.of_rows(inference_of(latent_NM, np.zeros(20, int), 2, weight_N))
    assert float(latents.sample(500, 0, generator()).mean()) == pytest.approx(1.0, abs=0.02)


def test_arrays_are_read_again():
    latent_NM = np.random.default_rng(0).normal(size=(60, 3))
    latents = ClusterLatents.of_rows(inference_of(latent_NM, np.arange(60) % 2, 2))
    restored = ClusterLatents.from_arrays(latents.arrays())
    assert restored is not None
    assert torch.equal(restored.sample(5, 1, generator()), latents.sample(5, 1, generator()))
    assert ClusterLatents.from_arrays({"weights": np.ones(2)}) is None
