"""The interface of an observation model p(x|z) of cells of one kind."""

from __future__ import annotations

import abc
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from deepmix.data import CellBlock

Support = Literal["real", "unit", "positive", "count", "level"]
"""The values that a cell may have: any number; 0..1; above 0; 0, 1, 2, ...; the numbers of levels, 0 to levels - 1."""


class Likelihood(nn.Module, abc.ABC):
    """p(x|z) of C neighbouring cells of a row that share one distribution; built as `MyLikelihood(block)`.

    A row has P decoder outputs for these cells, `n_outputs`. Cells are independent given z, so a missing cell is left
    out of the sum over cells, which is exact. 1 must be a valid value of every cell: it stands for a missing one.
    """

    support: ClassVar[Support] = "real"
    """The values that a cell may have. For 'level', `block.levels` has the number of levels of each cell."""
    total_is_known: ClassVar[bool] = False
    """Whether the density of a cell depends on the sum of the row's cells too, as if that were known beforehand. `mean`
    and `sample` are then those of a row whose sum is that of `mean`. A missing cell would change the sum."""
    n_outputs: int
    """P, the number of decoder outputs per row that it takes; set by the constructor."""

    def __init__(self, block: CellBlock) -> None:
        super().__init__()
        self.block = block

    @abc.abstractmethod
    def log_prob(self, x_RC: Tensor, outputs_RP: Tensor) -> Tensor:
        """Return log p(x|z) of each cell in nats, (R, C); no cell is NaN."""

    @abc.abstractmethod
    def mean(self, outputs_RP: Tensor) -> Tensor:
        """Return E[x|z], (R, C); for levels, the number of the most probable one."""

    @abc.abstractmethod
    def sample(self, outputs_RP: Tensor, generator: torch.Generator) -> Tensor:
        """Return values drawn from p(x|z), (R, C); all random numbers come from the generator."""

    @torch.no_grad()
    def start(self, x_NC: Tensor) -> None:
        """Set what is known of the cells before pretraining, from all training rows, (N, C); NaN: missing."""

    def clustering_view(self, x_NC: Any) -> Any:
        """Return an array's training rows in the form that initial clusterings should see; by default, unchanged.

        Rows that the density calls alike, such as counts that differ in their total alone where that is known, should
        be close to each other. An encoder that has a view of its own takes precedence.

        Args:
            x_NC: dense or CSR, float32; the result is of the same kind and has as many rows.

        """
        return x_NC

    def location(self, outputs_RP: Tensor) -> Tensor | None:
        """Return the centre of p(x|z), (R, C), on the scale whose variance `place` sets; None if it sets none."""
        return None

    def residual(self, x_RC: Tensor, outputs_RP: Tensor) -> Tensor | None:
        """Return x minus that centre, (R, C), on the same scale; None if `place` sets no variance."""
        return None

    @torch.no_grad()
    def place(self, residual_variance: float) -> None:
        """Set the variance at the start of training: the mean squared residual of pretraining, noise included."""
