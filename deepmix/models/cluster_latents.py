"""The latents of a component's training rows as a small Gaussian mixture, from which a cluster is generated.

The rows of a cluster have their own place in the latent space, the aggregate posterior,

    q(z|y_k) = sum_n q(y_k|x_n) q(z|y_k,x_n) / sum_n q(y_k|x_n),

and a cluster's rows are generated at z drawn from a Gaussian mixture fitted to it. The prior p(z|y_k) is a poor
substitute: where all components have one prior and one decoder, p(x|y) is the same for all of them, and a prior that is
wider than the aggregate posterior generates rows of other clusters (`benchmarks/results/training.md` has the figures).
See `deepmix.maths.values` for the shape legend; J is the number of Gaussians per component.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from deepmix.contracts import Model
from deepmix.maths import Array, Inference

MOST_GAUSSIANS = 4
"""Most Gaussians per component; more do not bring more of the generated rows back to their cluster."""

ROWS_PER_GAUSSIAN = 25
"""Least number of a component's rows per Gaussian, so that few rows are not remembered one by one."""

MOST_ROWS = 2000
"""Number of a component's rows that the Gaussians are fitted to; more are sampled."""

FEWEST_RECOGNISED = 20
"""Least number of a component's recognised rows to fit to; if there are fewer, all its rows are used."""

REGULARIZATION = 1e-3
"""Added to each covariance's diagonal, relative to the latents' mean variance."""


PREFIX = "latents."
"""What the names of the stored arrays begin with."""


@dataclass(frozen=True)
class ClusterLatents:
    """For each component, a mixture of J Gaussians fitted to the latents of its training rows."""

    weight_KJ: Array
    """The Gaussians' weights, which sum to 1 for each component."""
    mean_KJM: Array
    factor_KJMM: Array
    """Lower triangular factors L of the covariances L L^T."""

    @classmethod
    def of_rows(cls, inference: Inference, recognised_N: Array | None = None) -> ClusterLatents:
        """Fit the Gaussians to the latents of the training rows, each row in its most probable component.

        A component without rows gets N(0, I). Rows count by their weights.

        Args:
            inference: the model's inference on the rows.
            recognised_N: whether the model, when it decodes a row's latent, assigns the result to the row's component;
                only these rows are used. None: all are.

        """
        n_components, latent_dim = inference.log_q_NK.shape[1], inference.latent_NM.shape[1]
        weight_KJ = np.zeros((n_components, MOST_GAUSSIANS), np.float32)
        weight_KJ[:, 0] = 1.0
        mean_KJM = np.zeros((n_components, MOST_GAUSSIANS, latent_dim), np.float32)
        factor_KJMM = np.tile(np.eye(latent_dim, dtype=np.float32), (n_components, MOST_GAUSSIANS, 1, 1))
        for k in np.unique(inference.map_N).tolist():
            mixture = _fitted(inference, k, recognised_N)
            n_gaussians = len(mixture.weights_)
            weight_KJ[k, :n_gaussians] = mixture.weights_
            mean_KJM[k, :n_gaussians] = mixture.means_
            factor_KJMM[k, :n_gaussians] = np.linalg.cholesky(mixture.covariances_)
        return cls(weight_KJ, mean_KJM, factor_KJMM)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> ClusterLatents | None:
        """Return the mixtures that `arrays` wrote; None if there are none.

        Raises:
            KeyError: an array is missing.

        """
        if f"{PREFIX}weight" not in arrays:
            return None
        return cls(*(arrays[f"{PREFIX}{name}"] for name in ("weight", "mean", "factor")))

    def arrays(self) -> dict[str, Array]:
        """Return the mixtures as arrays by name, to be stored with the run."""
        return {
            f"{PREFIX}weight": self.weight_KJ,
            f"{PREFIX}mean": self.mean_KJM,
            f"{PREFIX}factor": self.factor_KJMM,
        }

    def sample(self, n_rows: int, component: int, generator: torch.Generator) -> Tensor:
        """Return latents drawn from a component's mixture, (n_rows, M)."""
        device = generator.device
        weight_J = torch.from_numpy(self.weight_KJ[component]).to(device)
        chosen_N = torch.multinomial(weight_J, n_rows, replacement=True, generator=generator)
        mean_NM = torch.from_numpy(self.mean_KJM[component]).to(device)[chosen_N]
        factor_NMM = torch.from_numpy(self.factor_KJMM[component]).to(device)[chosen_N]
        noise_NM = torch.randn(mean_NM.shape, generator=generator, device=device)
        return mean_NM + torch.einsum("nij,nj->ni", factor_NMM, noise_NM)


def draw_latents(
    model: Model, latents: ClusterLatents | None, n_rows: int, component: int, generator: torch.Generator
) -> Tensor:
    """Return latents of one component, (n_rows, M): of its training rows' mixture, or without one from p(z|y)."""
    if latents is None:
        return model.prior_sample(n_rows, component, generator)
    return latents.sample(n_rows, component, generator)


@torch.no_grad()
def generate_means(
    model: Model, latents: ClusterLatents | None, n_rows: int, component: int, generator: torch.Generator
) -> Tensor:
    """Generate rows of one component, (n_rows, C): means of p(x|z) at z drawn by `draw_latents`."""
    z_NM = draw_latents(model, latents, n_rows, component, generator)
    means_NC: Tensor = model.likelihood.mean(model.decode(z_NM, torch.full((n_rows,), component, device=z_NM.device)))
    return means_NC


def rows_to_fit(inference: Inference) -> Array:
    """Return the numbers of at most MOST_ROWS rows of each component, in order."""
    random, chosen = np.random.default_rng(0), []
    for k in range(inference.log_q_NK.shape[1]):
        rows = np.flatnonzero(inference.map_N == k)
        chosen.append(random.choice(rows, MOST_ROWS, replace=False) if len(rows) > MOST_ROWS else rows)
    return np.sort(np.concatenate(chosen))


def _fitted(inference: Inference, component: int, recognised_N: Array | None) -> GaussianMixture:
    """Return the Gaussian mixture of one component's rows."""
    rows = np.flatnonzero(inference.map_N == component)
    if recognised_N is not None and np.count_nonzero(recognised_N[rows]) >= FEWEST_RECOGNISED:
        rows = rows[recognised_N[rows]]
    if len(rows) > MOST_ROWS or inference.weight_N is not None:
        probability = None if inference.weight_N is None else inference.weight_N[rows] / inference.weight_N[rows].sum()
        n_drawn = min(len(rows), MOST_ROWS)
        rows = np.random.default_rng(0).choice(rows, n_drawn, replace=probability is not None, p=probability)
    latent_RM = inference.latent_NM[rows].astype(np.float64)
    if len(rows) == 1:  # a covariance needs two
        latent_RM = np.repeat(latent_RM, 2, axis=0)
    spread = float(inference.latent_NM.var(axis=0, dtype=np.float64).mean())
    n_gaussians = int(np.clip(len(np.unique(latent_RM, axis=0)) // ROWS_PER_GAUSSIAN, 1, MOST_GAUSSIANS))
    added = REGULARIZATION * spread + float(np.finfo(np.float32).eps)
    return GaussianMixture(n_gaussians, reg_covar=added, random_state=0).fit(latent_RM)
