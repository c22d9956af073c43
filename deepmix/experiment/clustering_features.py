"""What an initial clustering takes: features without holes, and no part that the conditions explain."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from deepmix.contracts import Batch, Model, Phase
from deepmix.data import Rows, Split
from deepmix.maths import Array
from deepmix.models import Composite
from deepmix.training import EVALUATION_ROWS


def clustering_features(model: Model, rows: Rows, split: Split) -> Any:
    """Return the training rows' features, (N, F), for an initial clustering.

    Missing cells are filled from the pretrained autoencoder, where there is one: at 0, the average, distances to
    incomplete rows would be too small. The part that the conditions explain is taken away.

    Args:
        model: the model after pretraining, before `place`.
        rows: the training rows on the model's device.
        split: the data set.

    """
    features = split.x[split.train]
    decodes = isinstance(model.likelihood, Composite)  # mixtures on the rows themselves reconstruct nothing
    if split.cells is not None and decodes and np.isnan(split.cells[split.train]).any():
        assert split.schema is not None
        cells = split.cells[split.train]
        features = split.schema.features(np.where(np.isnan(cells), _reconstructed(model, rows), cells))
    return without_conditions(features, split)


def without_conditions(values: Any, split: Split) -> Any:
    """Return the training rows' features or codes, (N, F) float32, less the part that is linear in the conditions."""
    if split.conditions is not None:
        conditions = np.column_stack([split.conditions[split.train], np.ones(len(values))])
        values = values - conditions @ np.linalg.lstsq(conditions, values, rcond=None)[0]
    return values.astype(np.float32, copy=False)


@torch.no_grad()
def _reconstructed(model: Model, rows: Rows) -> Array:
    """Return the autoencoder's expected cells of all rows, (N, C)."""
    parts = []
    for tensors in rows.in_order(EVALUATION_ROWS):
        batch = Batch.of(tensors, phase=Phase("pretrain"))
        component_N, code_NM = model.posterior_sample(batch)
        parts.append(model.likelihood.mean(model.decode(code_NM, component_N, batch.condition_NQ)).cpu().numpy())
    return np.concatenate(parts)
