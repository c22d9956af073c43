"""What a finished training is measured by, and the table of assignments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sklearn.neighbors import KNeighborsClassifier

from deepmix import metrics, runs
from deepmix.data import Split
from deepmix.maths import Array, Inference

BASELINE_NEIGHBOURS = 5
"""Neighbours that vote when the initial labels are carried to the test rows, the baseline of every run."""


def count_parameters(model: torch.nn.Module) -> int:
    """Return how many numbers are learned (supplement's Table 2)."""
    return sum(parameter.numel() for parameter in model.parameters())


def measure_heads(
    split: Split,
    clusters: Mapping[str, Mapping[str, Array]],
    inferences: Mapping[str, Inference],
    n_components: int,
    seed: int,
) -> dict[str, Any]:
    """Return {'heads': {head: {side: metrics}}}."""
    heads: dict[str, Any] = {}
    for name, sides in clusters.items():
        heads[name] = {}
        for side, found in sides.items():
            labels, scored = None, split.scored(getattr(split, side))
            if split.labels is not None and scored.any():
                labels = split.labels[getattr(split, side)]
            measured = metrics.measure(inferences[side].latent_NM, found, labels, n_components, seed, scored)
            heads[name][side] = measured
    return {"heads": heads}


def neighbour_errors(split: Split, inferences: Mapping[str, Inference]) -> dict[str, float]:
    """Return the error of kNN from the training latents to the test ones, by k; none without labels on both."""
    assert split.labels is not None
    train, test = split.scored(split.train), split.scored(split.test)
    if not (train.any() and test.any()):
        return {}
    return metrics.neighbour_errors(
        inferences["train"].latent_NM[train],
        split.labels[split.train][train],
        inferences["test"].latent_NM[test],
        split.labels[split.test][test],
    )


def initial_baseline(split: Split, initial: Array) -> dict[str, Any]:
    """Return how good the initial clustering is by itself, and carried to the test rows by neighbours."""
    if split.labels is None:
        return {"sizes": np.bincount(initial).tolist()}
    neighbours = KNeighborsClassifier(min(BASELINE_NEIGHBOURS, len(initial))).fit(split.x[split.train], initial)
    carried = neighbours.predict(split.x[split.test])
    return {
        "train": metrics.against_labels(split.labels[split.train], initial),
        "test": metrics.against_labels(split.labels[split.test], carried),
    }


def write_assignments(
    folder: runs.RunStore,
    split: Split,
    clusters: Mapping[str, Mapping[str, Array]],
    inferences: Mapping[str, Inference],
) -> None:
    """Write each row's cluster by every head, its probability under the model and its label, in the data's order."""
    order = np.argsort(np.concatenate([split.train, split.test]))
    sides = np.repeat(["train", "test"], [len(split.train), len(split.test)])[order]
    probability = np.exp(np.concatenate([inferences[side].log_q_NK.max(axis=1) for side in ("train", "test")]))[order]
    columns = [np.concatenate([found["train"], found["test"]])[order] for found in clusters.values()]
    header = ["row", "split", *clusters, "probability"]
    columns += [np.round(probability, 6)]
    if split.labels is not None:
        header.append("label")
        columns.append(split.labels)
    numbers = range(1, len(sides) + 1)
    folder.write_table(runs.ASSIGNMENTS, header, zip(numbers, sides, *columns, strict=True))
