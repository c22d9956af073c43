"""Comparison of runs over seeds, with paired bootstrap intervals of their differences."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepmix import runs
from deepmix.errors import UsageError, option
from deepmix.maths import Array
from deepmix.metrics import METRICS, Clustering
from deepmix.runs import Metrics, RunConfig, RunFolder, over_seeds

ELBO = "elbo"
"""The ELBO can be compared too: in nats per row, the larger the better; it needs no labels."""


def comparable() -> list[str]:
    """Return what runs can be compared by: the names of the metrics that need no latents, and the ELBO."""
    return [*(name for name, metric in METRICS.items() if not metric.needs_latents), ELBO]


RESAMPLES = 1000
"""Bootstrap samples: enough for two digits of a 95 % interval."""


LEVEL = 0.95


@dataclass(frozen=True)
class Compared:
    """One side of a comparison: a single run, or the runs of several seeds."""

    name: str
    head: str
    clusters: dict[int, Array]
    """The clusters of the test rows, by seed."""
    labels: Array | None
    """Labels of the test rows, (N,), empty where one is unknown; None if there are none."""
    weights: Array | None
    """Weights of the test rows, (N,); None if every row has weight 1."""
    rows: Array
    """Numbers of the test rows in the data, (N,)."""
    elbo: dict[int, float]
    """The ELBO of the test rows in nats per row, by seed."""
    fingerprint: str
    """Fingerprint of the data as the model saw it."""


def read_compared(path: Path, head: str | None) -> Compared:
    """Read the assignments of a run, or of a folder with the runs of several seeds.

    Args:
        path: the folder.
        head: the head whose clusters are read; None takes each run's first.

    Raises:
        UsageError: there is no finished run, or it has no such head.

    """
    folders = [path]
    if (path / runs.SUMMARY).is_file() and not (path / runs.CONFIG).is_file():
        folders = sorted(path.glob("seed-*"), key=lambda folder: int(folder.name.removeprefix("seed-")))
        if not folders:
            raise UsageError(f"'{path}' contains no runs yet; finish it with: deepmix train --resume --out {path}")
    clusters: dict[int, Array] = {}
    elbo: dict[int, float] = {}
    for folder in folders:
        store = RunFolder.open(folder)
        if not store.has(runs.METRICS):
            raise UsageError(
                f"the run in '{folder}' is not finished; finish it with: deepmix train --resume --out {path}"
            )
        config = store.read(RunConfig)
        table = runs.read_assignments(store, config)
        seed, heads = config.requested.seed, config.requested.heads
        chosen = head or heads[0]
        if chosen not in heads:
            raise UsageError(f"'{folder}' has no head '{chosen}'; choose one of: {', '.join(heads)}")
        test = table["split"] == "test"
        clusters[seed] = table[chosen][test]
        elbo[seed] = store.read(Metrics).elbo["test"]
        labels = table["label"][test] if "label" in table else None
        weights = table["weight"][test] if "weight" in table else None
        rows, fingerprint = table["row"][test], config.data.fingerprint
    return Compared(str(path), chosen, clusters, labels, weights, rows, elbo, fingerprint)


def compare_runs(compared: Sequence[Compared], metric: str) -> list[dict[str, Any]]:
    """Return one table row per entry: its score over seeds on the test rows, and how it differs from the first.

    For metrics of clusters, the bootstrap draws test rows with replacement, the same for both runs (paired), and also
    seeds where there are several: the same draw if both runs have the same seeds, else one for each. For the ELBO it
    draws only seeds, so there is no interval where a run has one seed. Intervals are percentile intervals. Rows without
    a label are left out where a metric needs labels, and rows count by their weights.

    Raises:
        UsageError: the runs have no labels to be scored by, or were not tested on the same rows with the same weights.

    """
    first = compared[0]
    _check_same_rows(compared, metric)
    random = np.random.default_rng(0)
    numbers = np.zeros(0) if first.labels is None else np.unique(first.labels, return_inverse=True)[1]
    scored = _scored_rows(first, metric)
    samples = scored[random.integers(len(scored), size=(RESAMPLES, len(scored)))]
    replicates = [
        {seed: np.array([_score(run, seed, metric, numbers, rows) for rows in samples]) for seed in run.clusters}
        for run in map(_with_weights, compared)
    ]
    table: list[dict[str, Any]] = []
    for run, own in zip(compared, replicates, strict=True):
        values = [_score(run, seed, metric, numbers, scored) for seed in run.clusters]
        score = over_seeds(metric, values)
        row: dict[str, Any] = {
            "run": run.name,
            "head": run.head,
            "seeds": list(run.clusters),
            metric: dataclasses.asdict(score),
        }
        if run is not first:
            gap = row[metric]["mean"] - table[0][metric]["mean"]
            row["difference"] = {"mean": gap, "low": None, "high": None}
            if metric != ELBO or min(len(own), len(replicates[0])) > 1:
                difference = _over_seeds(own, random, paired=replicates[0])
                low, high = np.quantile(difference, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
                row["difference"] |= {"low": float(low), "high": float(high)}
        table.append(row)
    return table


def _with_weights(run: Compared) -> Compared:
    """Return the run with weights of 1 if it has none: the scores are the same and take a tenth of the time."""
    return dataclasses.replace(run, weights=np.ones(len(run.rows))) if run.weights is None else run


def _scored_rows(run: Compared, metric: str) -> Array:
    """Return the positions of the test rows that a metric takes: those with a label, where it needs labels.

    Raises:
        UsageError: no test row has a label.

    """
    if metric == ELBO or not METRICS[metric].needs_labels:
        return np.arange(len(run.rows))
    scored = np.flatnonzero(np.asarray(run.labels) != "")
    if not len(scored):
        raise UsageError(f"no test row of '{run.name}' has a label to compare by; use {option('metric', 'elbo')}")
    return scored


def _check_same_rows(compared: Sequence[Compared], metric: str) -> None:
    first = compared[0]
    for run in compared:
        if metric != ELBO and METRICS[metric].needs_labels and run.labels is None:
            raise UsageError(
                f"'{run.name}' has no labels to compare by; train with {option('label_column')}, "
                f"or use {option('metric', 'elbo')}"
            )
        same = np.array_equal(run.rows, first.rows)
        if metric == ELBO:
            same = same and run.fingerprint == first.fingerprint
        else:
            same = same and np.array_equal(np.asarray(run.labels), np.asarray(first.labels))
        if not same:
            raise UsageError(
                f"'{run.name}' and '{first.name}' were tested on different rows; compare runs of one data set"
            )
        if metric != ELBO and not _same_weights(run.weights, first.weights):
            raise UsageError(
                f"'{run.name}' and '{first.name}' weigh their test rows differently; train them with the same "
                f"{option('weight_column')}, or both without one"
            )


def _same_weights(one: Array | None, other: Array | None) -> bool:
    return np.array_equal(one, other) if one is not None and other is not None else one is other


def _score(run: Compared, seed: int, metric: str, numbers: Array, rows: Array) -> float:
    """Return one seed's score on a choice of the test rows; `numbers` are their labels, and the ELBO takes all rows."""
    if metric == ELBO:
        return run.elbo[seed]
    labels = numbers[rows] if METRICS[metric].needs_labels else None
    weights = None if run.weights is None else run.weights[rows]
    value = METRICS[metric].compute(Clustering(run.clusters[seed][rows], labels, weight_N=weights))
    return math.nan if value is None else value


def _over_seeds(own: dict[int, Array], random: np.random.Generator, paired: dict[int, Array]) -> Array:
    """Return bootstrap samples of mean(own) - mean(paired), (RESAMPLES,), drawing seeds with replacement."""
    draws = []
    same = own.keys() == paired.keys()
    order = random.integers(len(own), size=(RESAMPLES, len(own)))
    for number, replicates in enumerate((own, paired)):
        if number and not same:
            order = random.integers(len(replicates), size=(RESAMPLES, len(replicates)))
        by_seed = np.stack([replicates[seed] for seed in sorted(replicates)])
        draws.append(np.take_along_axis(by_seed.T, order, axis=1).mean(axis=1))
    return np.asarray(draws[0] - draws[1])
