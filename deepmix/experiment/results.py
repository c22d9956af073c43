"""The metrics of a finished training, and the table of assignments."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from sklearn.neighbors import KNeighborsClassifier

from deepmix import metrics, runs
from deepmix.data import Split
from deepmix.maths import Array, Inference
from deepmix.runs import HeadFigures, InitialLabels

BASELINE_NEIGHBOURS = 5
"""Number of neighbours that vote when initial labels are carried to the test rows, which is every run's baseline."""


def count_parameters(model: torch.nn.Module) -> int:
    """Return the number of parameters (supplement's Table 2)."""
    return sum(parameter.numel() for parameter in model.parameters())


def measure_heads(
    split: Split,
    clusters: Mapping[str, Mapping[str, Array]],
    inferences: Mapping[str, Inference],
    n_components: int,
    seed: int,
) -> dict[str, dict[str, HeadFigures]]:
    """Return the metrics of every head, by side."""
    heads: dict[str, dict[str, HeadFigures]] = {}
    for name, sides in clusters.items():
        heads[name] = {}
        for side, cluster_N in sides.items():
            rows = getattr(split, side)
            labels = None if split.labels is None else split.labels[rows]
            latent_NM = inferences[side].latent_NM
            heads[name][side] = measure_clusters(
                latent_NM, cluster_N, labels, split.scored(rows), n_components=n_components, seed=seed
            )
    return heads


def measure_clusters(
    latent_NM: Array, cluster_N: Array, label_N: Array | None, scored_N: Array, *, n_components: int, seed: int
) -> HeadFigures:
    """Return the metrics of a head's clusters of some rows.

    Args:
        latent_NM: the rows' latents.
        cluster_N: the rows' clusters.
        label_N: the rows' labels, or None.
        scored_N: whether each label is known, (N,); metrics that need labels use only these rows.
        n_components: K, the least length of the list of cluster sizes.
        seed: makes the metrics that sample rows reproducible.

    """
    scores = metrics.measure(metrics.Clustering(cluster_N, label_N, latent_NM, seed), scored_N)
    return HeadFigures(scores, np.bincount(cluster_N, minlength=n_components).tolist())


def neighbour_errors(split: Split, inferences: Mapping[str, Inference]) -> dict[str, float]:
    """Return the kNN error on the test latents, by k; empty unless both training and test rows have labels."""
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


def initial_baseline(split: Split, initial: Array) -> InitialLabels:
    """Return the metrics of the initial clustering itself, and carried to the test rows by neighbours."""
    if split.labels is None:
        return InitialLabels(sizes=np.bincount(initial).tolist())
    neighbours = KNeighborsClassifier(min(BASELINE_NEIGHBOURS, len(initial))).fit(split.x[split.train], initial)
    carried = neighbours.predict(split.x[split.test])
    return InitialLabels(
        train=metrics.measure(metrics.Clustering(initial, split.labels[split.train])),
        test=metrics.measure(metrics.Clustering(carried, split.labels[split.test])),
    )


def write_assignments(
    folder: runs.RunStore,
    split: Split,
    clusters: Mapping[str, Mapping[str, Array]],
    inferences: Mapping[str, Inference],
) -> None:
    """Write each row's cluster from every head, its probability under the model and its label, in the data's order."""
    order = np.argsort(np.concatenate([split.train, split.test]))
    sides = np.repeat(["train", "test"], [len(split.train), len(split.test)])[order]
    probability = np.exp(np.concatenate([inferences[side].log_q_NK.max(axis=1) for side in ("train", "test")]))[order]
    columns = [np.concatenate([by_side["train"], by_side["test"]])[order] for by_side in clusters.values()]
    header = ["row", "split", *clusters, "probability"]
    columns += [np.round(probability, 6)]
    if split.labels is not None:
        header.append("label")
        columns.append(split.labels)
    numbers = range(1, len(sides) + 1)
    folder.write_table(runs.ASSIGNMENTS, header, zip(numbers, sides, *columns, strict=True))
