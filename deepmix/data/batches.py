"""Batches of a data set's rows as tensors on a device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from deepmix.maths import Array


class Rows:
    """Rows of a data set as float32 tensors on a device, chosen by number.

    In-memory data is moved to the device once; memory maps and sparse rows are read batch by batch.
    """

    def __init__(self, x: Any, numbers: Array, device: torch.device) -> None:
        self.device = device
        self.n_rows = len(numbers)
        self._numbers = numbers
        self._x = x
        self._tensor: Tensor | None = None
        if isinstance(x, np.ndarray) and not isinstance(x, np.memmap):
            self._tensor = torch.from_numpy(np.ascontiguousarray(x[numbers])).to(device)

    def batch(self, chosen: Tensor) -> Tensor:
        """Return the chosen rows, (n, D); `chosen` is an int64 tensor on the device."""
        if self._tensor is not None:
            return self._tensor[chosen]
        rows = self._x[self._numbers[chosen.cpu().numpy()]]
        dense = rows.toarray() if sparse.issparse(rows) else np.array(rows)
        return torch.from_numpy(dense).to(self.device)

    def nearest(self, n_neighbours: int) -> Tensor:
        """Return the numbers of each row's nearest other rows, (N, n_neighbours) or fewer where rows are few, int64."""
        rows = self._x[self._numbers]
        number = min(n_neighbours, self.n_rows - 1)
        neighbours = NearestNeighbors(n_neighbors=number).fit(rows).kneighbors(return_distance=False)
        return torch.from_numpy(neighbours).to(self.device, torch.long)

    def in_order(self, size: int) -> Iterator[Tensor]:
        """Give all rows in order, `size` at a time."""
        for start in range(0, self.n_rows, size):
            if self._tensor is not None:
                yield self._tensor[start : start + size]
            else:
                stop = min(start + size, self.n_rows)
                yield self.batch(torch.arange(start, stop, device=self.device))
