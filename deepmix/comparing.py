"""Runs beside each other, over seeds, with paired bootstrap intervals of their differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import metrics as scores

from deepmix import runs
from deepmix.errors import UsageError
from deepmix.experiment import spread
from deepmix.metrics import clustering_accuracy
from deepmix.runs import RunFolder
from deepmix.types import Array

METRICS: dict[str, Callable[[Array, Array], float]] = {
    "acc": clustering_accuracy,
    "nmi": scores.normalized_mutual_info_score,
    "ari": scores.adjusted_rand_score,
    "homogeneity": scores.homogeneity_score,
    "completeness": scores.completeness_score,
    "v_measure": scores.v_measure_score,
}
"""What can be compared: (labels, clusters) -> a score, 1 at best."""
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
    labels: Array
    """(N,) of the test rows."""
    rows: Array
    """(N,) their numbers in the data."""
    config: dict[str, Any]


def read(path: Path, head: str | None) -> Compared:
    """Read the assignments of a run, or of a folder of runs of several seeds.

    Args:
        path: the folder.
        head: whose clusters; None is the run's first.

    Raises:
        UsageError: there is no finished run, or it has no labels or no such head.

    """
    folders = [path]
    if (path / runs.SUMMARY).is_file() and not (path / runs.CONFIG).is_file():
        folders = sorted(path.glob("seed-*"), key=lambda folder: int(folder.name.removeprefix("seed-")))
        if not folders:
            raise UsageError(f"'{path}' holds no runs yet; finish it with: deepmix train --resume --out {path}")
    clusters: dict[int, Array] = {}
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
        if "label" not in table:
            raise UsageError(f"'{folder}' has no labels to compare by; train with --label-column")
        test = np.array(table["split"]) == "test"
        clusters[int(config["seed"])] = np.array(table[chosen])[test].astype(np.int64)
        labels, rows = np.array(table["label"])[test], np.array(table["row"])[test]
    return Compared(str(path), chosen, clusters, labels, rows, config)


def compare(compared: Sequence[Compared], metric: str) -> list[dict[str, Any]]:
    """Return a row for each: its score over seeds on the test rows, and how it differs from the first.

    Test rows are drawn with replacement, the same for both runs (paired), and seeds too where there are several: the
    same where both runs have them, else each its own. The interval is of percentiles.

    Raises:
        UsageError: the runs were not tested on the same rows.

    """
    first = compared[0]
    for other in compared[1:]:
        if not (np.array_equal(other.rows, first.rows) and np.array_equal(other.labels, first.labels)):
            raise UsageError(
                f"'{other.name}' and '{first.name}' were tested on other rows; compare runs of one data set"
            )
    score = METRICS[metric]
    numbers = np.unique(first.labels, return_inverse=True)[1]
    random = np.random.default_rng(0)
    samples = random.integers(len(numbers), size=(RESAMPLES, len(numbers)))
    replicates = []
    for run in compared:
        replicates.append(
            {
                seed: np.array([score(numbers[chosen], found[chosen]) for chosen in samples])
                for seed, found in run.clusters.items()
            }
        )
    table = []
    for run, own in zip(compared, replicates, strict=True):
        values = [float(score(numbers, found)) for found in run.clusters.values()]
        row: dict[str, Any] = {"run": run.name, "head": run.head, "seeds": list(run.clusters), metric: spread(values)}
        if run is not first:
            difference = _over_seeds(own, random, paired=replicates[0])
            low, high = np.quantile(difference, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
            base = float(np.mean([score(numbers, found) for found in first.clusters.values()]))
            row["difference"] = {"mean": float(np.mean(values)) - base, "low": float(low), "high": float(high)}
        table.append(row)
    return table


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
