"""The values that cross interfaces: sampling from a Gaussian, and an inference's clusters."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from deepmix.maths import Gaussian, Inference, Latents, MixtureParameters


def example() -> Gaussian:
    return Gaussian(torch.tensor([[1.0, -2.0]], dtype=torch.float64), torch.tensor([[0.5, -3.0]], dtype=torch.float64))


def test_samples_are_mean_plus_standard_deviation_times_noise() -> None:
    """VaDE eq. 14."""
    gaussian = example()
    noise = torch.randn((3, 1, 2), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    actual = gaussian.sample(3, torch.Generator().manual_seed(1))
    expected = gaussian.mean + gaussian.log_var.exp().sqrt() * noise
    torch.testing.assert_close(actual, expected, rtol=1e-14, atol=1e-14)  # one rounding each


def test_samples_have_the_gaussians_moments() -> None:
    gaussian, n_samples = example(), 50_000
    actual = gaussian.sample(n_samples, torch.Generator().manual_seed(1))
    variance = gaussian.log_var.exp()
    assert ((actual.mean(0) - gaussian.mean).abs() < 5.0 * (variance / n_samples).sqrt()).all()  # five standard errors
    assert ((actual.var(0) / variance - 1.0).abs() < 5.0 * math.sqrt(2.0 / n_samples)).all()


def test_without_a_generator_the_one_sample_is_the_mean() -> None:
    assert torch.equal(example().sample(3, None), example().mean.unsqueeze(0))


def test_samples_carry_gradients_to_mean_and_log_variance() -> None:
    mean, log_var = torch.zeros(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    z = Gaussian(mean.requires_grad_(), log_var.requires_grad_()).sample(1, torch.Generator().manual_seed(1))
    to_mean, to_log_var = torch.autograd.grad(z.sum(), (mean, log_var))
    torch.testing.assert_close(to_mean, torch.ones_like(mean), rtol=0.0, atol=0.0)
    torch.testing.assert_close(to_log_var, 0.5 * z[0].detach(), rtol=1e-14, atol=1e-14)  # d sigma / d log_var = 1/2


def test_latents_are_drawn_from_their_noise_unless_they_are_at_hand() -> None:
    prior, kl_NK = MixtureParameters(None, torch.zeros(1)), torch.zeros(1, 1)
    noise = torch.ones(1, 1, 2, dtype=torch.float64)
    random_latents = Latents(noise, example(), prior, kl_NK, at_mean=False)
    assert torch.equal(random_latents.z_LNHM[0], example().mean + torch.exp(0.5 * example().log_var))
    assert torch.equal(dataclasses.replace(random_latents, noise_LNHM=None).z_LNHM, example().mean.unsqueeze(0))
    assert dataclasses.replace(random_latents, drawn_LNHM=noise).z_LNHM is noise


def test_map_is_the_most_probable_component() -> None:
    log_q = np.log(np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]]))
    actual = Inference(log_q, np.zeros((2, 1))).map_N
    assert actual.tolist() == [1, 0]
    assert actual.dtype == np.int64


def test_values_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        example().mean = torch.zeros(1)
