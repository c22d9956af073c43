"""Rows that a model generates, of arrays and of tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from deepmix.contracts import Model
from deepmix.data import TableSchema
from deepmix.errors import UsageError
from deepmix.maths import Array
from deepmix.models import ClusterLatents, draw_latents

MAX_TRIALS, MIN_DRAW = 100, 64
"""Number of batches, and least rows of each, that are drawn before giving up on a minimum posterior."""


def component_counts(n_rows: int, component: int | None, weight_K: Array, seed: int) -> Array:
    """Return how many rows each component generates, (K,).

    Args:
        n_rows: number of rows.
        component: the component that generates them; None draws components by their weights.
        weight_K: the components' fractions of the training rows.
        seed: seed of the draw.

    Raises:
        UsageError: there is no such component, or no row is requested.

    """
    n_components = len(weight_K)
    if component is not None and not 0 <= component < n_components:
        raise UsageError(f"there is no component {component}; the model has components 0 to {n_components - 1}")
    if n_rows < 1:
        raise UsageError(f"the number of rows to sample must be at least 1, got {n_rows}")
    if component is None:
        weights = weight_K.astype(np.float64)
        return np.asarray(np.random.default_rng(seed).multinomial(n_rows, weights / weights.sum()))
    return np.where(np.arange(n_components) == component, n_rows, 0)


@dataclass(frozen=True)
class TableSampler:
    """A generator of a table's cells from a model."""

    model: Model
    latents: ClusterLatents | None
    """The latents of each component's training rows, which z is drawn from; None: z is drawn from p(z|y)."""
    schema: TableSchema
    condition_SQ: torch.Tensor | None
    """Conditions of training rows, which generated rows draw from."""

    @torch.no_grad()
    def cells(self, n_rows: int, component: int, generator: torch.Generator, *, means: bool = False) -> Array:
        """Return cells of one component, (n_rows, C): drawn from p(x|z), or its means."""
        z_NM = draw_latents(self.model, self.latents, n_rows, component, generator)
        condition_NQ = None
        if self.condition_SQ is not None:
            chosen = torch.randint(len(self.condition_SQ), (n_rows,), generator=generator, device=z_NM.device)
            condition_NQ = self.condition_SQ[chosen]
        component_N = torch.full((n_rows,), component, device=z_NM.device)
        outputs_NP = self.model.decode(z_NM, component_N, condition_NQ)
        likelihood = self.model.likelihood
        cells_NC = likelihood.mean(outputs_NP) if means else likelihood.sample(outputs_NP, generator)
        return np.asarray(cells_NC.cpu().numpy())
