"""Runs beside each other, over seeds, with paired bootstrap intervals of their differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import metrics as scores

from deepmix import runs
from deepmix.errors import UsageError, option
from deepmix.maths import Array
from deepmix.metrics import clustering_accuracy, spread
from deepmix.runs import RunFolder

METRICS: dict[str, Callable[[Array, Array], float]] = {
    "acc": clustering_accuracy,
    "nmi": scores.normalized_mutual_info_score,
    "ari": scores.adjusted_rand_score,
    "homogeneity": scores.homogeneity_score,
    "completeness": scores.completeness_score,
    "v_measure": scores.v_measure_score,
}
"""What can be compared: (labels, clusters) -> a score, 1 at best."""


ELBO = "elbo"
"""Can be compared too: nats a row, the larger the better; no labels needed."""


RESAMPLES = 1000
"""Bootstrap samples: enough for two digits of a 95 % interval."""


LEVEL = 0.95


@dataclass(frozen=True)
class Compared:
    """One of the runs compared: a single one, or one a seed."""

    name: str
    head: str
    clusters: dict[int, Array]
    """Each seed's clusters of the test rows."""
    labels: Array | None
    """(N,) of the test rows, where there are any."""
    rows: Array
    """(N,) their numbers in the data."""
    elbo: dict[int, float]
    """Each seed's, of the test rows, nats a row."""
    fingerprint: str | None
    """Of the data as the model saw it."""


def read_compared(path: Path, head: str | None) -> Compared:
    """Read the assignments of a run, or of a folder of runs of several seeds.

    Args:
        path: the folder.
        head: whose clusters; None is the run's first.

    Raises:
        UsageError: there is no finished run, or it has no such head.

    """
    folders = [path]
    if (path / runs.SUMMARY).is_file() and not (path / runs.CONFIG).is_file():
        folders = sorted(path.glob("seed-*"), key=lambda folder: int(folder.name.removeprefix("seed-")))
        if not folders:
            raise UsageError(f"'{path}' holds no runs yet; finish it with: deepmix train --resume --out {path}")
    clusters: dict[int, Array] = {}
    elbo: dict[int, float] = {}
    for folder in folders:
        store = RunFolder.open(folder)
        if not store.has(runs.METRICS):
            raise UsageError(
                f"the run in '{folder}' is not finished; finish it with: deepmix train --resume --out {path}"
            )
        config, table = store.read_json(runs.CONFIG), store.read_table(runs.ASSIGNMENTS)
        chosen = head or config["heads"][0]
        if chosen not in config["heads"]:
            raise UsageError(f"'{folder}' has no head '{chosen}'; choose one of: {', '.join(config['heads'])}")
        test = np.array(table["split"]) == "test"
        clusters[int(config["seed"])] = np.array(table[chosen])[test].astype(np.int64)
        elbo[int(config["seed"])] = float(store.read_json(runs.METRICS)["elbo"]["test"])
        labels = np.array(table["label"])[test] if "label" in table else None
        rows, known = np.array(table["row"])[test], config.get("resolved", {}).get("data", {}).get("fingerprint")
    return Compared(str(path), chosen, clusters, labels, rows, elbo, known)


def compare_runs(compared: Sequence[Compared], metric: str) -> list[dict[str, Any]]:
    """Return a row for each: its score over seeds on the test rows, and how it differs from the first.

    For scores against labels, test rows are drawn with replacement, the same for both runs (paired), and seeds too
    where there are several: the same where both runs have them, else each its own. For the ELBO seeds alone are drawn,
    so it has no interval where a run has one. Intervals are of percentiles.

    Raises:
        UsageError: the runs have no labels to be scored by, or were not tested on the same rows.

    """
    first = compared[0]
    _check_same_rows(compared, metric)
    random = np.random.default_rng(0)
    numbers = np.zeros(0) if first.labels is None else np.unique(first.labels, return_inverse=True)[1]
    samples = random.integers(len(first.rows), size=(RESAMPLES, len(first.rows)))
    replicates = [
        {seed: np.array([_score(run, seed, metric, numbers, rows) for rows in samples]) for seed in run.clusters}
        for run in compared
    ]
    table: list[dict[str, Any]] = []
    for run, own in zip(compared, replicates, strict=True):
        values = [_score(run, seed, metric, numbers, np.arange(len(first.rows))) for seed in run.clusters]
        row: dict[str, Any] = {"run": run.name, "head": run.head, "seeds": list(run.clusters), metric: spread(values)}
        if run is not first:
            gap = row[metric]["mean"] - table[0][metric]["mean"]
            row["difference"] = {"mean": gap, "low": None, "high": None}
            if metric != ELBO or min(len(own), len(replicates[0])) > 1:
                difference = _over_seeds(own, random, paired=replicates[0])
                low, high = np.quantile(difference, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
                row["difference"] |= {"low": float(low), "high": float(high)}
        table.append(row)
    return table


def _check_same_rows(compared: Sequence[Compared], metric: str) -> None:
    first = compared[0]
    for run in compared:
        if metric != ELBO and run.labels is None:
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
            raise UsageError(f"'{run.name}' and '{first.name}' were tested on other rows; compare runs of one data set")


def _score(run: Compared, seed: int, metric: str, numbers: Array, rows: Array) -> float:
    """Return one seed's score on a choice of the test rows, whose labels are `numbers`; the ELBO's is of all rows."""
    if metric == ELBO:
        return run.elbo[seed]
    return float(METRICS[metric](numbers[rows], run.clusters[seed][rows]))


def _over_seeds(own: dict[int, Array], random: np.random.Generator, paired: dict[int, Array]) -> Array:
    """Return the bootstrap of mean(own) - mean(paired), (RESAMPLES,), seeds drawn with replacement."""
    draws = []
    same = own.keys() == paired.keys()
    order = random.integers(len(own), size=(RESAMPLES, len(own)))
    for number, replicates in enumerate((own, paired)):
        if number and not same:
            order = random.integers(len(replicates), size=(RESAMPLES, len(replicates)))
        by_seed = np.stack([replicates[seed] for seed in sorted(replicates)])
        draws.append(np.take_along_axis(by_seed.T, order, axis=1).mean(axis=1))
    return np.asarray(draws[0] - draws[1])
