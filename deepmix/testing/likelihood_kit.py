"""The kit of a likelihood."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from deepmix.contracts import Likelihood
from deepmix.data import CellBlock
from deepmix.maths import seeded_draws
from deepmix.testing.clauses import clause
from deepmix.testing.likelihood_check import check_likelihood
from deepmix.testing.part_kits import RowsKit

N_ROWS, N_CELLS = 7, 3


class LikelihoodKit(RowsKit):
    """The kit of a likelihood: set `part` to the class."""

    kind = "likelihoods"

    def build(self, seed: int = 0) -> Likelihood:
        """Return the likelihood of three cells."""
        with seeded_draws(seed):
            likelihood: Likelihood = self.part(
                CellBlock("likelihood", N_CELLS, (3, 2, 4) if self.part.support == "level" else ())
            )
        return likelihood

    def example(self) -> Tensor:
        """Return decoder outputs, (R, P)."""
        return torch.linspace(-1.0, 1.0, N_ROWS * self.build().n_outputs).view(N_ROWS, -1)

    def outputs(self, module: Any, rows: Tensor) -> tuple[Tensor, ...]:
        """Return log p(x|z) at x = 1, which every cell may have, and the mean."""
        return module.log_prob(rows.new_ones(len(rows), N_CELLS), rows), module.mean(rows)

    def place(self, module: Any) -> None:
        """Start from rows of ones and zeros, which most likelihoods take, and a variance."""
        module.start(torch.ones(N_ROWS, N_CELLS))
        module.place(0.3)

    def train_words(self, name: str) -> list[str]:
        """Return the words that choose the likelihood for an array, or for a table's columns of levels."""
        if self.part.support == "level":
            return ["--model", "vade", "--init", "kmeans", "--column", f"c0=:{name}"]
        scale = "standard" if self.part.support == "real" else "none"
        return ["--model", "vade", "--init", "kmeans", "--set", f"likelihood={name}", "--set", f"scale={scale}"]

    @property
    def rows(self) -> Any:  # type: ignore[override]
        """Values of the rows of the run: those of the likelihood's support."""
        return self.part.support

    @clause("follow the message; all random numbers come from the generator, and cells are independent")
    def test_contract(self) -> None:
        """The density sums to 1, samples and means are those of the density, and missing cells are harmless."""
        check_likelihood(self.part)
