"""consensus.json: how the clusters of several seeds were put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deepmix.runs import names
from deepmix.runs.comparisons import Scores
from deepmix.runs.records import Record, damaged
from deepmix.runs.store import RunStore


@dataclass(frozen=True)
class Consensus(Record):
    """The consensus of several seeds: each row is in the cluster that most seeds put it in."""

    FILE = names.CONSENSUS

    seeds: Sequence[int]
    head: str
    """The head whose clusters were put together."""
    central: int
    """The seed that agrees best with the others; their clusters were matched to its clusters."""
    clusters: Mapping[str, Sequence[int]]
    """By seed, the cluster of the central seed that each of its clusters is matched to."""
    sizes: Sequence[int]
    """Rows of each consensus cluster, training and held-out rows together."""
    certainty: Sequence[float | None]
    """Mean certainty of each cluster's rows; None for an empty cluster."""
    mean_certainty: float
    """Mean over the rows of the fraction of the seeds that put a row in its cluster."""


def read_consensus_scores(store: RunStore) -> Scores | None:
    """Return a consensus' metrics on the held-out rows; None where there are no labels.

    Raises:
        DeepmixError: its metrics.json is damaged.

    """
    if not store.has(names.METRICS):
        return None
    try:
        values = store.read_json(names.METRICS)["heads"]["consensus"]["test"]
        return {name: float(value) for name, value in values.items() if name != "sizes" and value is not None}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(str(store.path / names.METRICS), error) from error
