"""The initial clustering of a sample, carried to all training rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from deepmix.contracts import Batch, Model
from deepmix.data import NearestRows, Rows
from deepmix.maths import Array
from deepmix.training.passes import EVALUATION_ROWS
from deepmix.training.precision import autocast
from deepmix.training.ranks import ALONE, Ranks

VOTING_NEIGHBOURS = 5
"""Rows of the sample that vote on the label of another row."""

SEARCHED_ROWS = 16
"""Batches whose codes are searched together."""


@torch.no_grad()
def _codes(model: Model, rows: Rows, precision: str | None, first: int, end: int) -> Iterator[Tensor]:
    """Give the pretrained autoencoder's codes, (n, M), of the rows `first` to `end` - 1 in order, in batches."""
    for tensors in rows.in_order(EVALUATION_ROWS, first, end):
        with autocast(rows.device, precision):
            code_NM, _ = model.pretrained(Batch.of(tensors))
        yield code_NM.float().cpu()


def carried_labels(
    model: Model, rows: Rows, code_nM: Array, label_n: Array, precision: str | None, seed: int, ranks: Ranks = ALONE
) -> Tensor:
    """Return every row's label by the vote of its nearest rows of a sample, in the space of the codes.

    Each rank labels a range of the rows, and all get all labels.

    Args:
        model: the pretrained model.
        rows: the rows, (N,).
        code_nM: the codes of the sample.
        label_n: its labels, from 0; -1: noise.
        precision: precision of the networks.
        seed: makes the search reproducible.
        ranks: the ranks, all of which have the same sample.

    Returns:
        (N,) in the smallest type of whole numbers that holds them.

    """
    dtype = torch.uint8 if label_n.min() >= 0 and label_n.max() < 256 else torch.int32
    label_N = torch.zeros(rows.n_rows, dtype=dtype)
    if label_n.max() == 0:
        return label_N.to(rows.device)
    number = min(VOTING_NEIGHBOURS, len(code_nM) - 1)
    index = NearestRows(code_nM, max(number, 15), seed)
    model.eval()
    size = SEARCHED_ROWS * EVALUATION_ROWS
    searched = ranks.readers.share.consecutive(-(-rows.n_rows // size))
    for start in range(searched.start * size, min(searched.stop * size, rows.n_rows), size):
        code_NM = torch.cat(list(_codes(model, rows, precision, start, min(start + size, rows.n_rows))))
        voted_N = _majority(label_n[index.search(code_NM.numpy(), number)])
        label_N[start : start + size] = torch.from_numpy(voted_N).to(dtype)
    return ranks.sum(label_N).to(rows.device)


def _majority(label_NJ: Array) -> Array:
    """Return the most frequent label of each row, (N,); among equals, that of the nearest."""
    votes_NJ = (label_NJ[:, :, None] == label_NJ[:, None, :]).sum(axis=2)
    return label_NJ[np.arange(len(label_NJ)), votes_NJ.argmax(axis=1)]
