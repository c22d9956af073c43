"""Cells that are the numbers of levels, with or without an order."""

from __future__ import annotations

import abc
import math
from itertools import accumulate
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepmix.contracts import Likelihood
from deepmix.data import CellBlock

MIN_GAP = 1e-3
"""Floor of the distance between neighbouring cutpoints: a level without a training row keeps some probability."""


PRIOR_ROWS = 0.5
"""Rows that each level is counted to have beyond the training rows, so that none starts with probability 0."""


class LevelLikelihood(Likelihood):
    """A distribution over the levels of each cell; cells with fewer levels than the most, L, are padded to L."""

    support = "level"
    beyond_CL: Tensor
    """True for paddings, the numbers of levels that a cell does not have."""

    def __init__(self, block: CellBlock) -> None:
        super().__init__(block)
        counts_C = torch.tensor(block.levels)
        self.most = max(2, *block.levels)
        self.register_buffer("beyond_CL", torch.arange(self.most) >= counts_C.unsqueeze(-1), persistent=False)

    @abc.abstractmethod
    def level_log_prob(self, outputs_RP: Tensor) -> Tensor:
        """Return the log-probability of every level, (R, C, L); minus infinity for paddings."""

    def log_prob(self, x_RC: Tensor, outputs_RP: Tensor) -> Tensor:
        """Return the log-probability of the cells' levels."""
        last_C = (~self.beyond_CL).sum(-1) - 1
        level_RC = x_RC.long().clamp_min(0).minimum(last_C)  # the stand-in of a missing cell may be no level
        return self.level_log_prob(outputs_RP).gather(-1, level_RC.unsqueeze(-1)).squeeze(-1)

    def mean(self, outputs_RP: Tensor) -> Tensor:
        """Return the number of the most probable level."""
        return self.level_log_prob(outputs_RP).argmax(-1).to(outputs_RP.dtype)

    def sample(self, outputs_RP: Tensor, generator: torch.Generator) -> Tensor:
        """Return numbers of levels: the first arrival among exponential clocks whose rates are the probabilities."""
        log_prob_RCL = self.level_log_prob(outputs_RP)
        clock_RCL = torch.empty_like(log_prob_RCL).exponential_(generator=generator)
        return (log_prob_RCL - clock_RCL.log()).argmax(-1).to(outputs_RP.dtype)


@final
class CategoricalLikelihood(LevelLikelihood):
    """Categorical, for levels without an order; one output per level of each cell, softmax."""

    index_CL: Tensor

    def __init__(self, block: CellBlock) -> None:
        super().__init__(block)
        self.n_outputs = sum(block.levels)
        first_C = torch.tensor(list(accumulate(block.levels, initial=0))[:-1])
        index_CL = (first_C.unsqueeze(-1) + torch.arange(self.most)).clamp_max(self.n_outputs - 1)
        self.register_buffer("index_CL", index_CL, persistent=False)

    def level_log_prob(self, outputs_RP: Tensor) -> Tensor:
        """Return the log-softmax over the levels of each cell, (R, C, L)."""
        return outputs_RP[:, self.index_CL].masked_fill(self.beyond_CL, -math.inf).log_softmax(-1)


@final
class OrdinalLikelihood(LevelLikelihood):
    """Cumulative logit, for levels with an order; one output per cell and learned, ordered cutpoints.

    P(x <= k) = sigmoid(c_k - output), c_0 < c_1 < ...; at output 0, `start` makes them the training rows' fractions.
    """

    def __init__(self, block: CellBlock) -> None:
        super().__init__(block)
        self.n_outputs = block.n_cells
        self.first_C = nn.Parameter(torch.zeros(block.n_cells))
        self.raw_gap_CG = nn.Parameter(torch.zeros(block.n_cells, max(self.most - 2, 1)))

    @torch.no_grad()
    def start(self, x_NC: Tensor) -> None:
        """Set the cutpoints to the logits of the fractions of training rows up to each level."""
        for cell, n_levels in enumerate(self.block.levels):
            x_N = x_NC[:, cell]
            count_L = torch.bincount(x_N[~x_N.isnan()].long().cpu(), minlength=n_levels)[:n_levels] + PRIOR_ROWS
            cutpoint_K = (count_L.double().cumsum(0) / count_L.sum())[:-1].logit()
            gap_G = (cutpoint_K.diff() - MIN_GAP).clamp_min(MIN_GAP)
            self.first_C[cell] = cutpoint_K[0]
            self.raw_gap_CG[cell, : n_levels - 2] = (gap_G + torch.log(-torch.expm1(-gap_G))).to(self.raw_gap_CG)

    def level_log_prob(self, outputs_RP: Tensor) -> Tensor:
        """Return log[sigmoid(u) - sigmoid(l)], (R, C, L), for the cutpoints u above and l below each level.

        It is log sigmoid(u) + log sigmoid(-l) + log(1 - exp(l - u)), where no digits cancel.
        """
        gap_CG = functional.softplus(self.raw_gap_CG[:, : self.most - 2]) + MIN_GAP
        first_C1 = self.first_C.unsqueeze(-1)
        cutpoint_CK = torch.cat([first_C1, first_C1 + gap_CG.cumsum(-1)], -1)
        distance_RCK = cutpoint_CK - outputs_RP.unsqueeze(-1)
        below_RCK, above_RCK = functional.logsigmoid(distance_RCK), functional.logsigmoid(-distance_RCK)
        no_cutpoint_CK = self.beyond_CL[:, 1:]
        upper_RCL = functional.pad(below_RCK.masked_fill(no_cutpoint_CK, 0.0), (0, 1))
        lower_RCL = functional.pad(above_RCK, (1, 0))
        between_CG = torch.log(-torch.expm1(-gap_CG)).masked_fill(no_cutpoint_CK[:, 1:], 0.0)
        log_prob_RCL = upper_RCL + lower_RCL + functional.pad(between_CG, (1, 1))
        return log_prob_RCL.masked_fill(self.beyond_CL, -math.inf)
