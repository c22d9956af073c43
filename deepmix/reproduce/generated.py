"""The classes of generated rows (VaDE Figure 4), as a classifier sees them that was trained on the data's labels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from sklearn.neighbors import KNeighborsClassifier

from deepmix import runs
from deepmix.inference import open_run

ROWS_PER_CLUSTER = 100
"""Number of rows generated for each cluster."""


NEIGHBOURS = 5
"""Number of labelled training rows that vote on the class of a generated row."""


MOST_LABELLED_ROWS = 10_000
"""Number of labelled training rows that the classifier keeps; of more, the run's seed draws a sample."""


@dataclass(frozen=True)
class SampleClasses:
    """The classes that a classifier gives to the rows generated for each cluster; None without labels."""

    purity: float | None
    """Per cent of a cluster's rows that are in the cluster's most frequent class, averaged over the clusters."""
    n_classes: float | None
    """Number of classes that are the most frequent one of some cluster."""


def recognise_samples(path: Path) -> SampleClasses:
    """Generate rows of each of a finished run's components at z drawn from p(z|y), and classify them."""
    return _recognised(path, (path / runs.METRICS).stat().st_mtime_ns)


@cache
def _recognised(path: Path, finished: int) -> SampleClasses:
    """Do what `recognise_samples` does, once for each finished run."""
    run = open_run(path)
    split = run.training_data()
    if split.labels is None:
        return SampleClasses(None, None)
    labelled = split.train[split.scored(split.train)]
    sample = np.random.default_rng(run.config.seed).permutation(labelled)[:MOST_LABELLED_ROWS]
    classes, number_N = np.unique(split.labels[sample], return_inverse=True)
    classifier = KNeighborsClassifier(min(NEIGHBOURS, len(sample))).fit(split.x[sample], number_N)
    generator = torch.Generator(run.device).manual_seed(run.config.seed)
    count_KC = np.zeros((run.model.n_components, len(classes)), dtype=np.int64)
    for k in range(len(count_KC)):
        rows, _ = run.draw(ROWS_PER_CLUSTER, k, generator, from_prior=True)
        count_KC[k] = np.bincount(classifier.predict(rows), minlength=len(classes))
    purity = 100.0 * float(np.mean(count_KC.max(axis=1) / ROWS_PER_CLUSTER))
    return SampleClasses(purity, float(len(np.unique(count_KC.argmax(axis=1)))))
