"""Batches of a data set's rows as tensors on a device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from deepmix.data.row_set import RowSet
from deepmix.maths import Array

DENSE_VALUES = 50_000_000
"""Sparse rows with at most so many values, zeros included, are made dense to search for neighbours."""


@dataclass(frozen=True)
class RowTensors:
    """Rows as a model takes them, float32; the fields are those of `deepmix.contracts.Batch`."""

    x_ND: Tensor
    cells_NC: Tensor | None = None
    condition_NQ: Tensor | None = None
    weight_N: Tensor | None = None

    def take(self, chosen: Tensor | slice) -> RowTensors:
        """Return the chosen rows."""
        parts = (self.x_ND, self.cells_NC, self.condition_NQ, self.weight_N)
        first, *others = (None if part is None else part[chosen] for part in parts)
        assert first is not None
        return RowTensors(first, *others)


class Rows:
    """Rows of a data set as float32 tensors on a device, chosen by number.

    In-memory data is moved to the device once; memory maps and sparse rows are read batch by batch.
    """

    def __init__(self, rows: RowSet | Any, numbers: Array, device: torch.device) -> None:
        """Take some rows of a data set.

        Args:
            rows: the data set; anything but a RowSet is its array of features.
            numbers: numbers of the rows to take.
            device: where the tensors lie.

        """
        self.device = device
        self.n_rows = len(numbers)
        self._numbers = numbers
        self._rows = rows if isinstance(rows, RowSet) else RowSet(rows)
        x = self._rows.x
        self._mean_weight = 1.0
        if self._rows.weights is not None:
            self._mean_weight = float(self._rows.weights[numbers].mean())
        in_memory = isinstance(x, np.ndarray) and not isinstance(x, np.memmap)
        self._tensors = self._read(numbers) if in_memory else None

    def _read(self, numbers: Array) -> RowTensors:
        """Return rows with these numbers in the whole data set; weights have mean 1 over this object's rows."""
        inputs, rows = self._rows.inputs(numbers), self._rows
        dense = inputs.toarray() if sparse.issparse(inputs) else inputs
        dense = np.array(dense) if isinstance(dense, np.memmap) else np.ascontiguousarray(dense)
        return RowTensors(
            torch.from_numpy(dense).to(self.device),
            None if rows.cells is None else self._tensor(rows.cells[numbers]),
            None if rows.conditions is None else self._tensor(rows.conditions[numbers]),
            None if rows.weights is None else self._tensor(rows.weights[numbers] / self._mean_weight),
        )

    def _tensor(self, array: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).to(self.device)

    def batch(self, chosen: Tensor) -> RowTensors:
        """Return the chosen rows; `chosen` is an int64 tensor on the device."""
        if self._tensors is not None:
            return self._tensors.take(chosen)
        return self._read(self._numbers[chosen.cpu().numpy()])

    def hide(self, rows: RowTensors, fraction: float, generator: torch.Generator) -> RowTensors:
        """Return rows with a fraction of the values hidden from the encoder, at random, in columns with missing values.

        The likelihood still takes them: q(z|x) of fewer values is as good a distribution to bound log p(x) with.
        """
        gaps = self._rows.gaps
        if gaps is None or fraction == 0.0:
            return rows
        x_ND = rows.x_ND
        draw_NJ = torch.rand((len(x_ND), len(gaps.emptied)), generator=generator, device=x_ND.device)
        hidden_NJ = (draw_NJ < fraction).float()
        emptied_JD, raised_JD = (
            torch.from_numpy(part).to(x_ND.device, torch.float32) for part in (gaps.emptied, gaps.raised)
        )
        kept_ND = x_ND * (1.0 - hidden_NJ @ emptied_JD)  # a feature belongs to one column, and so does a flag
        raised_ND = hidden_NJ @ raised_JD
        return replace(rows, x_ND=torch.where(raised_ND > 0.0, raised_ND, kept_ND))

    @property
    def weight_N(self) -> Tensor | None:
        """Weights of all rows, (N,), with mean 1; None: all rows count alike."""
        if self._rows.weights is None:
            return None
        return self._tensor(self._rows.weights[self._numbers] / self._mean_weight)

    def nearest(self, n_neighbours: int) -> Tensor:
        """Return the numbers of each row's nearest other rows, (N, n_neighbours) or fewer where rows are few, int64."""
        rows = self._rows.x[self._numbers]
        if sparse.issparse(rows) and rows.shape[0] * rows.shape[1] <= DENSE_VALUES:
            rows = rows.toarray()  # the search is faster, and ties are broken as for dense rows
        number = min(n_neighbours, self.n_rows - 1)
        neighbours = NearestNeighbors(n_neighbors=number).fit(rows).kneighbors(return_distance=False)
        return torch.from_numpy(neighbours).to(self.device, torch.long)

    def in_order(self, size: int) -> Iterator[RowTensors]:
        """Give all rows in order, `size` at a time."""
        for start in range(0, self.n_rows, size):
            stop = min(start + size, self.n_rows)
            if self._tensors is not None:
                yield self._tensors.take(slice(start, stop))
            else:
                yield self._read(self._numbers[start:stop])
