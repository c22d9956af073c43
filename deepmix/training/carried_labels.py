"""The initial clustering of a sample, carried to all training rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from deepmix.contracts import Batch, Model
from deepmix.data import NearestRows, Rows
from deepmix.maths import Array
from deepmix.training.passes import EVALUATION_ROWS, autocast

VOTING_NEIGHBOURS = 5
"""Rows of the sample that vote on the label of another row."""

SEARCHED_ROWS = 16
"""Batches whose codes are searched together."""


@torch.no_grad()
def codes(model: Model, rows: Rows, precision: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Give the pretrained autoencoder's codes, (n, M), and squared errors, (n,), of all rows in order, in batches."""
    model.eval()
    for tensors in rows.in_order(EVALUATION_ROWS):
        with autocast(rows.device, precision):
            code_NM, squared_error_N = model.pretrained(Batch.of(tensors))
        yield code_NM.float(), squared_error_N.float()


def carried_labels(model: Model, rows: Rows, code_nM: Array, label_n: Array, precision: str, seed: int) -> Tensor:
    """Return every row's label by the vote of its nearest rows of a sample, in the space of the codes.

    Args:
        model: the pretrained model.
        rows: the rows, (N,).
        code_nM: the codes of the sample.
        label_n: its labels, from 0; -1: noise.
        precision: precision of the networks.
        seed: makes the search reproducible.

    Returns:
        (N,) in the smallest type of whole numbers that holds them.

    """
    dtype = torch.uint8 if label_n.min() >= 0 and label_n.max() < 256 else torch.int32
    label_N = torch.zeros(rows.n_rows, dtype=dtype, device=rows.device)
    if label_n.max() == 0:
        return label_N
    number = min(VOTING_NEIGHBOURS, len(code_nM) - 1)
    index = NearestRows(code_nM, max(number, 15), seed)
    start, waiting = 0, []
    for code_NM, _ in codes(model, rows, precision):
        waiting.append(code_NM.cpu())
        n_waiting = sum(map(len, waiting))
        if len(waiting) == SEARCHED_ROWS or start + n_waiting == rows.n_rows:
            voted = _majority(label_n[index.search(torch.cat(waiting).numpy(), number)])
            label_N[start : start + n_waiting] = torch.from_numpy(voted).to(rows.device, dtype)
            start, waiting = start + n_waiting, []
    return label_N


def _majority(label_NJ: Array) -> Array:
    """Return the most frequent label of each row, (N,); among equals, that of the nearest."""
    votes_NJ = (label_NJ[:, :, None] == label_NJ[:, None, :]).sum(axis=2)
    return label_NJ[np.arange(len(label_NJ)), votes_NJ.argmax(axis=1)]
