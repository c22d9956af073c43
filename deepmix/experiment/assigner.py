"""What gives rows that stay on disk their lines in the table of assignments, the same on every rank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepmix import metrics
from deepmix.contracts import ClusteringHead
from deepmix.data import Split, numbers_within, spreadsheet_safe
from deepmix.experiment.assembly import make_head
from deepmix.experiment.guards import checked_clusters
from deepmix.experiment.prepare import Experiment
from deepmix.experiment.recorded import with_heads
from deepmix.experiment.results import DECIMALS, bounds_of
from deepmix.experiment.stability import StoredStability
from deepmix.maths import Array, Inference

STABILITY = ("number_n", "latent_nM", "stable_n")
"""The arrays of the stability of rows."""


@dataclass(frozen=True)
class Assigner:
    """The fitted heads of a run, and what its rows are compared with."""

    heads: Mapping[str, ClusteringHead]
    quantiles: Array
    """Quantiles of the training rows' bounds, with which outlier scores compare."""
    stability: StoredStability | None = None
    """The stability of some rows; None if it was not measured."""

    @property
    def is_shared(self) -> bool:
        """Whether other ranks can have it too: a head may have a state that is not numbers."""
        return all(head.state() is not None for head in self.heads.values())

    def assign(
        self, split: Split, numbers: Array, inference: Inference, *, proba: bool
    ) -> tuple[dict[str, Any], dict[str, dict[str, list[int]]]]:
        """Return the columns of the table for some rows, and the sizes of their clusters by head and side.

        Args:
            split: the data set.
            numbers: the numbers of consecutive rows, ascending.
            inference: the model's inference on these rows.
            proba: whether all K probabilities are among the columns, as p0, p1, ...

        """
        is_test = np.zeros(len(numbers), dtype=bool)
        is_test[numbers_within(split.test, int(numbers[0]), int(numbers[-1]) + 1)] = True
        table: dict[str, Any] = {"row": numbers + 1}
        if split.row_names is not None:
            table["name"] = [spreadsheet_safe(name) for name in split.row_names[numbers]]
        table["split"] = np.where(is_test, "test", "train")
        sizes: dict[str, dict[str, list[int]]] = {}
        for name, head in self.heads.items():
            table[name] = checked_clusters(head.predict(inference), len(numbers), None, f"head '{name}'")
            by_side = {"train": table[name][~is_test], "test": table[name][is_test]}
            sizes[name] = {side: np.bincount(own[own >= 0]).tolist() for side, own in by_side.items()}
        table["probability"] = np.round(np.exp(inference.log_q_NK.max(axis=1)).astype(np.float64), DECIMALS)
        table["outlier"] = np.round(metrics.outlier_scores(bounds_of(inference), self.quantiles), DECIMALS)
        if self.stability is not None:
            table["stability"] = np.round(self.stability.of(numbers, inference.latent_NM), DECIMALS)
        if split.weights is not None:
            table["weight"] = split.weights[numbers]
        if split.labels is not None:
            known = split.scored(numbers)
            table["label"] = [
                spreadsheet_safe(str(label)) if is_known else ""
                for label, is_known in zip(split.labels[numbers], known, strict=True)
            ]
        if proba:
            q_NK = np.round(np.exp(inference.log_q_NK).astype(np.float64), DECIMALS)
            table |= {f"p{k}": column for k, column in enumerate(q_NK.T)}
        return table, sizes


def shared_assigner(experiment: Experiment, assigner: Assigner | None) -> Assigner | None:
    """Return the first rank's assigner on every rank; None on the others if it can't be sent.

    Args:
        experiment: the experiment.
        assigner: the first rank's; None on the others.

    """
    ranks = experiment.ranks
    if ranks.size == 1:
        return assigner

    def contents() -> tuple[dict[str, Tensor], list[str] | None]:
        assert assigner is not None
        if not assigner.is_shared:
            return {}, None
        arrays = {"quantiles": assigner.quantiles}
        for name, head in assigner.heads.items():
            arrays |= {f"head.{name}/{key}": array for key, array in (head.state() or {}).items()}
        if assigner.stability is not None:
            arrays |= {name: getattr(assigner.stability, name) for name in STABILITY}
        return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}, list(assigner.heads)

    tensors, names = ranks.tensors(contents)
    if ranks.is_first or names is None:
        return assigner
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    heads, parts = {}, with_heads(experiment.parts, names)
    for name in names:
        heads[name] = make_head(name, parts)
        prefix = f"head.{name}/"
        heads[name].restore({key.removeprefix(prefix): a for key, a in arrays.items() if key.startswith(prefix)})
    measured = STABILITY[0] in arrays
    stability = StoredStability(*(arrays[name] for name in STABILITY)) if measured else None
    return Assigner(heads, arrays["quantiles"], stability)
