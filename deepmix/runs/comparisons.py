"""What a run was compared with: the candidates of its initial clustering, plain methods, and refits of its clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Scores = Mapping[str, float | None]
"""Metrics by name; None where a clustering has no such figure."""


INITIAL = "initial"
"""The initial clustering's name beside those of the heads."""


TOTAL = "total"
"""The criterion that decides between candidates, where there is one: the sum of the others."""


SIMPLEST = "simplest"
"""The criterion of which the simplest candidate has 1 where the others disagree, so that it was chosen."""


@dataclass(frozen=True)
class Candidate:
    """One of the partitions that an initial clustering compared."""

    criteria: Mapping[str, float]
    """The values that it was judged by, without labels; larger is better."""
    agreement: float
    """Adjusted Rand index with the partition that was chosen."""
    ari: float | None = None
    """Adjusted Rand index with the labels, which nothing saw; None without labels."""


@dataclass(frozen=True)
class InitialChoice:
    """What an initial clustering compared and what it chose."""

    method: str
    """The method whose partition was chosen."""
    n_rows: int
    """Training rows that the methods clustered."""
    candidates: Mapping[str, Candidate]
    """By method, best first."""

    @property
    def is_simplest(self) -> bool:
        """Whether the method was chosen because the candidates disagree, and it is the simplest."""
        return self.candidates[self.method].criteria.get(SIMPLEST) == 1.0


@dataclass(frozen=True)
class Baseline:
    """What a plain method's clusters are measured by."""

    n_clusters: int
    cohesion: float
    """Without labels, on the rows that it clustered; see `deepmix.metrics.cohesion`."""
    seconds: float
    train: Scores | None = None
    """Of the training rows that it clustered; None where there are no labels."""
    test: Scores | None = None
    """Of the held-out rows, to which their nearest training rows carry it."""
    total: float | None = None
    """The sum of the criteria by which `auto` chooses, without labels; None where they were not compared."""

    def side(self, name: str) -> Scores:
        """Return the metrics of one side, 'train' or 'test'; none where there are no labels."""
        return {"train": self.train, "test": self.test}.get(name) or {}


@dataclass(frozen=True)
class Baselines:
    """The methods that a user would try first, beside the run."""

    n_rows: int
    """Training rows that they clustered."""
    methods: Mapping[str, Baseline]
    cohesion: Mapping[str, float]
    """The cohesion of the run's own clusters on the same rows, by head; that of its initial clustering as `initial`."""
    totals: Mapping[str, float] = field(default_factory=dict)
    """The total of the run's own clusters by the same names; empty where they were not compared so."""


@dataclass(frozen=True)
class Stability:
    """How far a run's clusters come back when a cheap method clusters samples of the rows."""

    method: str
    """The method, of those tried, that agrees best with the run's clusters."""
    n_rows: int
    """Training rows that were sampled from."""
    n_refits: int
    agreement: float
    """Fraction of the rows that a refit puts in the matching cluster, on average."""
    resemblance: float
    """Adjusted Rand index of the method's clusters of all these rows with the run's."""
    space: Literal["features", "latents"]
    """What the method clustered. Latents were arranged by training, so that the stability is an upper bound there."""
    clusters: Sequence[float | None]
    """Mean Jaccard index of each cluster with the most similar cluster of a refit; None for an empty cluster."""
    whole_agreement: float | None = None
    """Fraction of all these rows that the method puts in the matching cluster when it clusters them all, which no
    sample of them is expected to exceed; None in earlier runs."""

    @property
    def title(self) -> str:
        """The method's name in a sentence."""
        return "spectral clustering" if self.method == "spectral" else self.method
