"""The metrics of a finished training, and the table of assignments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from sklearn.neighbors import KNeighborsClassifier

from deepmix import metrics, runs
from deepmix.data import Split, spreadsheet_safe
from deepmix.maths import Array, Inference
from deepmix.runs import HeadFigures, InitialLabels, Scores
from deepmix.training import ALONE, Ranks

DECIMALS = 6
"""Decimals of probabilities and outlier scores."""


CARRYING_NEIGHBOURS = 5
"""Number of neighbours that vote when the clusters of training rows are carried to the test rows."""


SEARCHED_ROWS = 1024
"""Rows of the blocks whose nearest rows a rank searches. It is a multiple of scikit-learn's own blocks of 256 rows, so
that the distances have the bits of one process."""


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
                latent_NM,
                cluster_N,
                labels,
                split.scored(rows),
                n_components=n_components,
                seed=seed,
                weight_N=split.weights_of(rows),
            )
    return heads


def measure_clusters(
    latent_NM: Array,
    cluster_N: Array,
    label_N: Array | None,
    scored_N: Array,
    *,
    n_components: int,
    seed: int,
    weight_N: Array | None = None,
) -> HeadFigures:
    """Return the metrics of a head's clusters of some rows; cluster sizes count rows, whatever their weights.

    Args:
        latent_NM: the rows' latents.
        cluster_N: the rows' clusters.
        label_N: the rows' labels, or None.
        scored_N: whether each label is known, (N,); metrics that need labels use only these rows.
        n_components: K, the least length of the list of cluster sizes.
        seed: makes the metrics that sample rows reproducible.
        weight_N: the rows' weights in the metrics; None if every row has weight 1.

    """
    scores = metrics.measure(metrics.Clustering(cluster_N, label_N, latent_NM, seed, weight_N), scored_N)
    return HeadFigures(scores, sizes_of(cluster_N, n_components))


def sizes_of(cluster_N: Array, n_components: int = 0) -> list[int]:
    """Return the number of rows in each cluster, of at least K clusters; noise, -1, is in none."""
    sizes: list[int] = np.bincount(cluster_N[cluster_N >= 0], minlength=n_components).tolist()
    return sizes


def neighbour_errors(split: Split, inferences: Mapping[str, Inference], ranks: Ranks = ALONE) -> dict[str, float]:
    """Return the kNN error on the test latents, by k; empty unless both training and test rows have labels.

    The ranks share the test rows and all get the error; only the first one needs the inferences.
    """
    assert split.labels is not None
    train, test = split.scored(split.train), split.scored(split.test)
    if not (train.any() and test.any()):
        return {}
    latents, _ = ranks.tensors(
        lambda: (
            {
                side: torch.from_numpy(inferences[side].latent_NM[scored])
                for side, scored in (("train", train), ("test", test))
            },
            None,
        )
    )
    own = ranks.blocks_of(len(latents["test"]), SEARCHED_ROWS)
    n_own, wrong = own.stop - own.start, dict.fromkeys(map(str, metrics.NEIGHBOUR_COUNTS), 0.0)
    if n_own:
        errors = metrics.neighbour_errors(
            latents["train"].numpy(),
            split.labels[split.train][train],
            latents["test"][own].numpy(),
            split.labels[split.test][test][own],
        )
        wrong = {k: float(round(error * n_own)) for k, error in errors.items()}
    sums = ranks.sums({k: torch.tensor(count, dtype=torch.float64) for k, count in wrong.items()})
    return {k: float(count) / len(latents["test"]) for k, count in sums.items()}


def initial_baseline(split: Split, initial_N: Array, ranks: Ranks = ALONE) -> InitialLabels:
    """Return the metrics of the initial clustering itself, and carried to the test rows by neighbours.

    The first rank calls this, and the others call `carried_scores` with the same arguments.
    """
    if split.labels is None:
        return InitialLabels(sizes=sizes_of(initial_N))
    scores = carried_scores(split, np.arange(len(initial_N)), initial_N, ranks)
    return InitialLabels(train=scores["train"], test=scores["test"])


def carried_scores(split: Split, chosen: Array, cluster_N: Array, ranks: Ranks = ALONE) -> dict[str, Scores]:
    """Return the metrics of a clustering of some training rows by side, `train` and `test`; none without labels.

    Each test row takes the cluster that most of its nearest among these rows have. Weights count in the metrics; each
    neighbour has one vote. The ranks share the search, and the first one gets the metrics.

    Args:
        split: the data set.
        chosen: the numbers of the rows among the training rows.
        cluster_N: their clusters.
        ranks: the ranks, all of which call this.

    """
    if split.labels is None:
        return {}
    train = split.train[chosen]
    carrier = KNeighborsClassifier(min(CARRYING_NEIGHBOURS, len(train))).fit(split.x[train], cluster_N)
    own = ranks.blocks_of(len(split.test), SEARCHED_ROWS)
    carried = carrier.predict(split.x[split.test[own]]) if own.start < own.stop else cluster_N[:0]
    carried = ranks.joined(torch.from_numpy(carried), len(split.test), SEARCHED_ROWS).numpy()
    if not ranks.is_first:
        return {}
    sides = {"train": (train, cluster_N), "test": (split.test, carried)}
    return {
        side: metrics.measure(
            metrics.Clustering(clusters, split.labels[rows], weight_N=split.weights_of(rows)), split.scored(rows)
        )
        for side, (rows, clusters) in sides.items()
    }


def bounds_of(inference: Inference) -> Array:
    """Return the rows' evidence lower bounds, (N,)."""
    assert inference.bound_N is not None
    return inference.bound_N


def write_assignments(
    folder: runs.RunStore,
    split: Split,
    clusters: Mapping[str, Mapping[str, Array]],
    inferences: Mapping[str, Inference],
    *,
    proba: bool = False,
    stability: Mapping[str, Array] | None = None,
) -> runs.TableChecksum:
    """Write each row's cluster from every head, its probability, outlier score and label, in the data's order.

    Args:
        folder: the run's folder.
        split: the data set.
        clusters: clusters by head and side.
        inferences: the model's inference by side.
        proba: whether all K probabilities are written too, as p0, p1, ...
        stability: the rows' stability by side, if it was measured.

    Returns:
        The checksum of the table.

    """
    order = np.argsort(np.concatenate([split.train, split.test]))
    sides = np.repeat(["train", "test"], [len(split.train), len(split.test)])[order]

    def both(of: Callable[[Inference], Array]) -> Array:
        return np.concatenate([of(inferences["train"]), of(inferences["test"])])[order]

    table: dict[str, Any] = {"row": np.arange(1, len(sides) + 1)}
    if split.row_names is not None:
        table["name"] = [spreadsheet_safe(name) for name in split.row_names]
    table["split"] = sides
    table |= {head: np.concatenate([by_side["train"], by_side["test"]])[order] for head, by_side in clusters.items()}
    table["probability"] = np.round(both(lambda one: np.exp(one.log_q_NK.max(axis=1))), DECIMALS)
    quantiles = metrics.bound_quantiles(bounds_of(inferences["train"]))
    table["outlier"] = np.round(metrics.outlier_scores(both(bounds_of), quantiles), DECIMALS)
    if stability is not None:
        table["stability"] = np.round(np.concatenate([stability["train"], stability["test"]])[order], DECIMALS)
    if split.weights is not None:
        table["weight"] = split.weights
    if split.labels is not None:
        known = split.scored(np.arange(len(split.labels)))
        table["label"] = [
            spreadsheet_safe(str(label)) if is_known else ""
            for label, is_known in zip(split.labels, known, strict=True)
        ]
    if proba:
        q_NK = np.round(both(lambda one: np.exp(one.log_q_NK)), DECIMALS)
        table |= {f"p{k}": column for k, column in enumerate(q_NK.T)}
    return folder.write_table(runs.ASSIGNMENTS, list(table), zip(*table.values(), strict=True))
