"""The latents from which a trained model generates the rows of a cluster."""

from __future__ import annotations

import numpy as np
import torch

from deepmix.contracts import Model
from deepmix.data import Rows, RowSet, Split, rows_of_cells
from deepmix.maths import Array, Inference
from deepmix.models import ClusterLatents, rows_to_fit
from deepmix.training import EVALUATION_ROWS, infer_rows


def fit_cluster_latents(
    model: Model, split: Split, training: Inference, device: torch.device, precision: str | None
) -> ClusterLatents:
    """Return Gaussian mixtures of the latents of each component's training rows that the model recognises.

    A latent does not hold all that q(y|x) sees, so the model assigns some rows to another component once it has encoded
    and decoded them: one in six on Digits. Near the latents of these rows, other components' rows would be generated.

    Args:
        model: the trained model.
        split: the data set.
        training: the model's inference on the training rows.
        device: where the model is.
        precision: the precision of the networks.

    """
    rows = rows_to_fit(training)
    weight_R = None if training.weight_N is None else training.weight_N[rows]
    sample = Inference(training.log_q_NK[rows], training.latent_NM[rows], weight_R)
    decoded = Rows(_decoded(model, split, sample, device), np.arange(len(rows)), device)
    recognised_R = infer_rows(model, decoded, precision, bound=False).map_N == sample.map_N
    return ClusterLatents.of_rows(sample, recognised_R)


@torch.no_grad()
def _decoded(model: Model, split: Split, chosen: Inference, device: torch.device) -> Array | RowSet:
    """Return the means of p(x|z) at the rows' latents, as the model takes rows."""
    model.eval()
    latent_RM, component_R = torch.from_numpy(chosen.latent_NM), torch.from_numpy(chosen.map_N)
    means = [
        model.likelihood.mean(model.decode(z_NM.to(device), component_N.to(device))).cpu()
        for z_NM, component_N in zip(latent_RM.split(EVALUATION_ROWS), component_R.split(EVALUATION_ROWS), strict=True)
    ]
    cells_RC = torch.cat(means).float().numpy()
    if split.schema is None:
        return cells_RC
    n_flags = 0 if split.flags is None else int(split.flags.shape[1])
    return rows_of_cells(split.schema, cells_RC, n_flags, split.rows.n_conditions)
