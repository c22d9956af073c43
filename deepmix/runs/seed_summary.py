"""summary.json: what the runs of several seeds have together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepmix.metrics import METRICS as DECLARED, Spread, spread
from deepmix.runs import names
from deepmix.runs.conversion import to_plain
from deepmix.runs.records import REQUESTED_KEYS, Metrics, Record, Requested


@dataclass(frozen=True)
class Summary(Record):
    """summary.json: the runs of several seeds together, on the held-out rows."""

    FILE = names.SUMMARY

    seeds: Sequence[int]
    config: Requested | None = None
    """What was asked for; its seed means nothing."""
    report: bool = True
    """Whether the runs end with reports."""
    split: str = "test"
    heads: Mapping[str, Mapping[str, Spread]] | None = None
    """Each head's metrics over the seeds; None, as all that follows, until the last run is finished."""
    elbo: Spread | None = None
    seconds: Spread | None = None
    initial_labels: Mapping[str, Spread] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the record as a JSON object."""
        values = super().to_json()
        if self.config is not None:
            values["config"] = {name: to_plain(getattr(self.config, name)) for name in REQUESTED_KEYS}
        return values


def summarize(results: Mapping[int, Metrics], config: Requested, *, report: bool) -> Summary:
    """Return the summary of the finished runs of several seeds.

    Args:
        results: their metrics by seed.
        config: what was asked for.
        report: whether the runs end with reports.

    """
    seeds = sorted(results)
    first = results[seeds[0]]
    heads = {}
    for head, sides in first.heads.items():
        score_names = [name for name, value in sides["test"].scores.items() if value is not None]
        heads[head] = {
            name: over_seeds(name, [results[seed].score(head, name) for seed in seeds]) for name in score_names
        }
    baselines = [results[seed].baseline for seed in seeds]
    initial = {
        name: over_seeds(name, [scores.get(name) for scores in baselines if scores is not None])
        for name in baselines[0] or {}
    }
    return Summary(
        seeds=seeds,
        config=config,
        report=report,
        heads=heads,
        elbo=spread([results[seed].elbo["test"] for seed in seeds]),
        seconds=spread([results[seed].seconds for seed in seeds], best=min),
        initial_labels=initial or None,
    )


def over_seeds(name: str, values: Sequence[float | None]) -> Spread:
    """Return how a metric spreads over runs; the best is the highest or the lowest, as the metric declares."""
    return spread(values, DECLARED[name].best if name in DECLARED else max)
