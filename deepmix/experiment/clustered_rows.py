"""The rows that are clustered and on which the mixture is placed where the rows stay on disk."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from deepmix.data import Split, stratified_rows, take_stratified
from deepmix.maths import Array
from deepmix.training import Ranks


def clustered_rows(whole: Split, plain: Split, n_clusters: int, seed: int, ranks: Ranks) -> Split:
    """Return a stratified sample of the training rows, the same on all ranks; the first one reads the data for it.

    Its weights say how many rows each stands for. One cluster needs no strata, and gets the plain sample.
    """
    if n_clusters < 2:
        return plain
    rows = ranks.tensor(lambda: torch.from_numpy(stratified_rows(whole, plain, n_clusters, seed)))
    return take_stratified(whole, plain, rows.cpu().numpy())


def labels_at(labels_N: Tensor, positions: Array | None) -> Array:
    """Return the initial clusters of the training rows at these positions, (n,) int64; None: of all."""
    label_N = labels_N.cpu().numpy()
    return label_N if positions is None else label_N[positions].astype(np.int64)
