"""Batches of a data set's rows as tensors on a device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from deepmix.data.neighbours import nearest_sparse
from deepmix.data.row_set import RowSet
from deepmix.data.split_options import FLOAT_BYTES
from deepmix.data.stored_rows import StoredRows
from deepmix.maths import Array

BLOCK_BYTES = 1 << 19
"""Bytes of consecutive rows that an epoch from disk reads together, as float32."""

BUFFER_BYTES = 32 << 20
"""Bytes of rows that an epoch from disk holds and shuffles together."""

LEAST_ROW_BYTES = 128
"""Bytes that a row of a buffer counts as at least: its number is held several times while rows are shuffled."""

DENSE_VALUES = 50_000_000
"""Sparse rows with at most so many values, zeros included, are made dense to search for neighbours; of more, those are
approximate."""


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

    In-memory data is moved to the device once; memory maps and sparse rows are read batch by batch. Rows that stay on
    disk are read in blocks while they are trained on, see `epoch_batches`.
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
        self._buffer: tuple[Tensor, RowTensors] | None = None
        """The positions of the rows that were read last for an epoch, ascending on the CPU, and the rows."""

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
        if self._buffer is not None:
            positions, rows = self._buffer
            place = torch.searchsorted(positions, chosen.cpu()).clamp(max=len(positions) - 1)
            if torch.equal(positions[place], chosen.cpu()):
                return rows.take(place.to(self.device))
        return self._read(self._numbers[chosen.cpu().numpy()])

    def epoch_batches(
        self, size: int, generator: torch.Generator, own: Callable[[int], slice] = slice
    ) -> Iterator[Tensor]:
        """Give the numbers of all rows once, in random order, `size` at a time; int64 tensors on the device.

        Rows in memory are permuted. Rows that stay on disk are shuffled in two steps, so that the file is read in long
        pieces: blocks of consecutive rows, of BLOCK_BYTES each, come in random order, and the rows of as many blocks as
        BUFFER_BYTES hold are permuted together. A batch is thus drawn from some sixty places of the file. Its rows are
        in the order of the file, so that each of several processes reads one range of it, with some overlap.

        Args:
            size: rows of a batch; the last one may have fewer.
            generator: decides the order, by its next draws alone.
            own: returns the rows of a batch, of so many rows, that `batch` will be asked for.

        """
        size = min(size, self.n_rows)
        if not isinstance(self._rows.x, StoredRows):
            yield from torch.randperm(self.n_rows, generator=generator, device=self.device).split(size)
            return
        seed = int(torch.randint(2**62, (), generator=generator, device=self.device))
        order = torch.Generator().manual_seed(seed)  # of its own, as a model may draw between two batches
        row_bytes = max(FLOAT_BYTES * self._rows.n_inputs, LEAST_ROW_BYTES)
        block = max(BLOCK_BYTES // row_bytes, 1)
        waiting = torch.zeros(0, dtype=torch.long)
        blocks = torch.randperm(-(-self.n_rows // block), generator=order)
        buffers = blocks.split(max(BUFFER_BYTES // BLOCK_BYTES, 1))
        for number, members in enumerate(buffers, start=1):
            parts = [torch.arange(b * block, min((b + 1) * block, self.n_rows)) for b in members.tolist()]
            positions = torch.cat([waiting, *parts]).sort().values
            shuffled = positions[torch.randperm(len(positions), generator=order)]
            n_whole = len(shuffled) if number == len(buffers) else len(shuffled) // size * size
            waiting = shuffled[n_whole:]
            if not n_whole:
                continue
            batches = [batch.sort().values for batch in shuffled[:n_whole].split(size)]
            needs = torch.cat([batch[own(len(batch))] for batch in batches]).unique()
            self._buffer = None  # before the next rows are read, so that there is one buffer at a time
            self._buffer = needs, self._read(self._numbers[needs.numpy()])
            yield from (batch.to(self.device) for batch in batches)
        self._buffer = None

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
        number = min(n_neighbours, self.n_rows - 1)
        if sparse.issparse(rows):
            if rows.shape[0] * rows.shape[1] > DENSE_VALUES:
                return torch.from_numpy(nearest_sparse(rows, number)).to(self.device)
            rows = rows.toarray()  # the search is faster, and ties are broken as for dense rows
        neighbours = NearestNeighbors(n_neighbors=number).fit(rows).kneighbors(return_distance=False)
        return torch.from_numpy(neighbours).to(self.device, torch.long)

    def in_order(self, size: int, first: int = 0, end: int | None = None) -> Iterator[RowTensors]:
        """Give all rows in order, or those from `first` to `end` - 1, `size` at a time."""
        end = self.n_rows if end is None else end
        for start in range(first, end, size):
            stop = min(start + size, end)
            if self._tensors is not None:
                yield self._tensors.take(slice(start, stop))
            else:
                yield self._read(self._numbers[start:stop])
