"""The check of a prior with a density of its own."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from deepmix.contracts import DensityPrior, Encoder
from deepmix.maths import Dims, Gaussian
from deepmix.testing.assertions import assert_empty_rows, assert_same_shape

N_ROWS, N_SAMPLES = 7, 2


class StandInEncoder(Encoder):
    """A linear encoder that a prior is bound to in its check."""

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.shape = (dims.n_heads, dims.latent_dim)
        self.mean = nn.Linear(dims.n_features, dims.n_heads * dims.latent_dim)

    def forward(self, x_ND: Tensor) -> Gaussian:
        """Return posteriors of variance 1."""
        mean_NHM = self.mean(x_ND).unflatten(-1, self.shape)
        return Gaussian(mean_NHM, torch.zeros_like(mean_NHM))

    def code(self, x_ND: Tensor) -> Tensor:
        """Return the first head's mean."""
        return self.forward(x_ND).mean[:, 0]

    def place(self, shift_M: Tensor, scale_M: Tensor, log_var: float) -> None:
        """Stay as it is."""


def _first_sample(prior: DensityPrior, z_LNHM: Tensor) -> Tensor:
    return prior.log_prob(z_LNHM)[0]


def check_density(prior: DensityPrior, dims: Dims) -> None:
    """Check the shapes of the density, the KL and the samples, with as many heads as the sizes say and with one.

    Raises:
        AssertionError: the prior breaks its contract; the message says what was expected.

    """
    generator = torch.Generator().manual_seed(0)
    for n_heads in {1, dims.n_heads}:
        shape = (N_ROWS, n_heads, dims.latent_dim)
        posterior = Gaussian(torch.randn(shape, generator=generator), torch.zeros(shape) - 1.0)
        z_LNHM = posterior.sample(N_SAMPLES, generator)
        log_prob_LNK = prior.log_prob(z_LNHM)
        assert_same_shape("log_prob(z)", log_prob_LNK, (N_SAMPLES, N_ROWS, dims.n_components))
        kl_NK = prior.kl(posterior, z_LNHM)
        assert_same_shape("kl(posterior, z)", kl_NK, (N_ROWS, dims.n_components))
        if not (log_prob_LNK.isfinite().all() and kl_NK.isfinite().all()):
            raise AssertionError("log_prob(z) and kl(posterior, z) must be finite")
        assert_empty_rows(partial(_first_sample, prior, z_LNHM[:, :0]))
    one, two = (prior.sample(5, 0, torch.Generator().manual_seed(1)) for _ in range(2))
    assert_same_shape("sample(5, 0, generator)", one, (5, dims.latent_dim))
    if not torch.equal(one, two):
        raise AssertionError("sample must return the same latents for generators of one seed")
