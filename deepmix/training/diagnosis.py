"""Failures of a trained mixture that its metrics don't show."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from deepmix.errors import DeepmixError, option
from deepmix.maths import Inference

IN_USE_SHARE = 0.1
"""A component is in use if it is the MAP component of at least this fraction of N / K rows."""


ACTIVE_VARIANCE = 0.01
"""A latent dimension is active if its posterior mean varies more than this within the clusters (Burda et
al. 2016, whose model has one cluster)."""


DIFFUSE_CONFIDENCE = 0.6
"""Mean of max q(y|x) below which the clustering is called diffuse."""


def diverged(when: str) -> DeepmixError:
    """Return the error to raise when training produces values that are not finite."""
    return DeepmixError(
        f"training diverged {when}: its figures are no longer finite; try a smaller {option('lr')}, "
        f"or {option('scale', 'standard')} for data with very large values"
    )


def components_in_use(counts_K: Tensor) -> int:
    """Return how many components are the MAP component of at least a tenth of N / K rows."""
    least = IN_USE_SHARE * float(counts_K.sum()) / len(counts_K)
    return int((counts_K >= max(least, 1.0)).sum())


def diagnose(inference: Inference, *, learned_latents: bool = True) -> list[str]:
    """Return a sentence for each failure of a trained mixture that its metrics don't show."""
    warnings = []
    n_components = inference.log_q_NK.shape[1]
    counts_K = torch.bincount(torch.from_numpy(inference.map_N), minlength=n_components)
    in_use = components_in_use(counts_K)
    if in_use < n_components:
        warnings.append(
            f"collapsed components: only {in_use} of {n_components} {'is' if in_use == 1 else 'are'} the most probable "
            "one for a fair number of rows"
        )
    confidence = float(np.exp(inference.log_q_NK.max(axis=1)).mean())
    if confidence < DIFFUSE_CONFIDENCE and n_components > 1:
        warnings.append(
            f"diffuse clustering: the largest q(y|x) of a row is {confidence:.2f} on average; try a smaller `beta` "
            "or a larger `anchor`"
        )
    if not learned_latents:
        return warnings
    centred_NM = np.empty_like(inference.latent_NM)
    for k in np.unique(inference.map_N):
        rows = inference.map_N == k
        centred_NM[rows] = inference.latent_NM[rows] - inference.latent_NM[rows].mean(axis=0)
    variance_M = centred_NM.var(axis=0)
    inactive = int((variance_M < ACTIVE_VARIANCE).sum())
    if inactive:
        warnings.append(
            f"posterior collapse: {inactive} of {len(variance_M)} latent dimensions do not vary with the data within "
            "a cluster; try a smaller `latent_dim` or `beta`"
        )
    return warnings
