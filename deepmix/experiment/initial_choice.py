"""What an initial clustering compared before it chose, as a run records it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from deepmix.data import Split
from deepmix.maths import Array
from deepmix.metrics import METRICS, Clustering
from deepmix.runs import TOTAL, Candidate, InitialChoice


@runtime_checkable
class Choice(Protocol):
    """What an initializer that compares partitions has as its attribute `choice` after a call."""

    method: str
    """The method whose clusters were chosen."""
    row_M: Array
    """Numbers of the training rows that were clustered, (M,)."""
    label_M: Mapping[str, Array]
    """The labels of those rows, (M,), by method."""
    criteria: Mapping[str, Mapping[str, float]]
    """Values by method and criterion, larger is better."""
    agreement: Mapping[str, float]
    """Adjusted Rand index of each method's clusters with the chosen ones."""


def choice_record(initializer: Any, split: Split) -> InitialChoice | None:
    """Return what an initializer compared in its last call, with each candidate's agreement with the labels.

    None if it compares nothing, or the rows left no choice.
    """
    choice = getattr(initializer, "choice", None)
    if not isinstance(choice, Choice):
        return None
    rows = split.train[choice.row_M]
    names = sorted(choice.criteria, key=lambda name: -choice.criteria[name].get(TOTAL, 0.0))
    candidates = {
        name: Candidate(
            criteria=dict(choice.criteria[name]),
            agreement=float(choice.agreement[name]),
            ari=_index(split, rows, choice.label_M[name]),
        )
        for name in names
    }
    return InitialChoice(choice.method, len(rows), candidates)


def _index(split: Split, rows: Array, label_M: Array) -> float | None:
    """Return the adjusted Rand index of rows' clusters with their labels; None if none of them has a known label."""
    if split.labels is None:
        return None
    judged = Clustering(label_M, split.labels[rows], weight_N=split.weights_of(rows)).only(split.scored(rows))
    return None if judged.label_N is None else METRICS["ari"].compute(judged)
