"""The results of a run whose rows stay on disk: every row is assigned, a sample is measured."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from deepmix import metrics, runs
from deepmix.contracts import ClusteringHead, Model
from deepmix.data import Rows, Split, numbers_within, spreadsheet_safe
from deepmix.errors import UsageError, option
from deepmix.experiment.guards import checked_clusters
from deepmix.experiment.parts import Parts, n_labelled
from deepmix.experiment.results import DECIMALS, bounds_of
from deepmix.maths import Array, Inference
from deepmix.runs import HeadFigures
from deepmix.training import ALONE, Ranks, gathered, infer_rows, pack, unpack

BLOCK_ROWS = 16_384
"""Rows that are inferred, assigned and written together."""

Sizes = Mapping[str, Mapping[str, Array]]
"""Rows of each cluster by head and side, (K,) each."""


def check_stored(parts: Parts, heads: tuple[str, ...]) -> None:
    """Raise a UsageError if a part needs all rows in memory."""
    cure = f"keep them in memory with {option('storage', 'memory')}"
    if n_labelled(parts):
        raise UsageError(f"a model that learns from labels does not take rows that stay on disk; {cure}")
    for head in heads:
        if parts.classes[f"head.{head}"].refits:
            raise UsageError(
                f"head '{head}' clusters all rows of a side together, which does not work with rows that stay on "
                f"disk; use {option('head', 'gmm')}, or {cure}"
            )


def sample_note(sample: Split) -> str:
    """Return a sentence about the rows that are analysed."""
    return (
        f"the rows stay on disk; the initial clustering, the heads and the figures use a sample of {len(sample.train)} "
        f"training and {len(sample.test)} test rows, and every row is trained on and assigned to a cluster"
    )


def infer_stored(
    model: Model, split: Split, device: torch.device, precision: str, ranks: Ranks = ALONE
) -> Iterator[tuple[Array, Inference]]:
    """Give the model's inference on all rows in the data's order, block by block, with the rows' numbers.

    Each rank infers a range of the rows, and the first one gets the inference on all of them; the others get none.
    """
    n_rows = len(split.x)
    own = ranks.readers.share.consecutive(-(-n_rows // BLOCK_ROWS))

    def messages() -> Iterator[tuple[int, bytes]]:
        for block in own:
            one = infer_rows(model, Rows(split.rows, _numbers(block, n_rows), device), precision)
            assert one.bound_N is not None
            arrays = {"log_q_NK": one.log_q_NK, "latent_NM": one.latent_NM, "bound_N": one.bound_N}
            yield block, pack(arrays, block)

    for message in gathered(ranks, messages()):
        arrays, block = unpack(message)
        numbers = _numbers(block, n_rows)
        yield numbers, Inference(**arrays, weight_N=split.weights_of(numbers))


def _numbers(block: int, n_rows: int) -> Array:
    """Return the numbers of the rows of a block."""
    return np.arange(block * BLOCK_ROWS, min((block + 1) * BLOCK_ROWS, n_rows))


def write_stored_assignments(
    folder: runs.RunStore,
    split: Split,
    heads: Mapping[str, ClusteringHead],
    infer: Callable[[], Iterator[tuple[Array, Inference]]],
    training: Inference,
    *,
    proba: bool = False,
    stability: Callable[[Array, Array], Array] | None = None,
) -> tuple[Sizes, runs.TableChecksum]:
    """Write the table of assignments block by block, and return the sizes of the clusters and the table's checksum.

    Its columns are those of `write_assignments`.

    Args:
        folder: the run's folder.
        split: the data set.
        heads: the fitted heads, by name.
        infer: gives the inference on all rows, in order.
        training: the inference on the training rows of the sample; outlier scores compare with its bounds.
        proba: whether all K probabilities are written too, as p0, p1, ...
        stability: returns the rows' stability from their numbers and latents, if it was measured.

    """
    quantiles = metrics.bound_quantiles(bounds_of(training))
    sizes: dict[str, dict[str, Array]] = {head: {"train": _none(), "test": _none()} for head in heads}

    def columns(numbers: Array, inference: Inference) -> dict[str, Any]:
        is_test = np.zeros(len(numbers), dtype=bool)
        is_test[numbers_within(split.test, int(numbers[0]), int(numbers[-1]) + 1)] = True
        table: dict[str, Any] = {"row": numbers + 1}
        if split.row_names is not None:
            table["name"] = [spreadsheet_safe(name) for name in split.row_names[numbers]]
        table["split"] = np.where(is_test, "test", "train")
        for name, head in heads.items():
            table[name] = checked_clusters(head.predict(inference), len(numbers), None, f"head '{name}'")
            for side, chosen in (("train", ~is_test), ("test", is_test)):
                own = table[name][chosen]
                sizes[name][side] = _added(sizes[name][side], np.bincount(own[own >= 0]))
        table["probability"] = np.round(np.exp(inference.log_q_NK.max(axis=1)).astype(np.float64), DECIMALS)
        table["outlier"] = np.round(metrics.outlier_scores(bounds_of(inference), quantiles), DECIMALS)
        if stability is not None:
            table["stability"] = np.round(stability(numbers, inference.latent_NM), DECIMALS)
        if split.weights is not None:
            table["weight"] = split.weights[numbers]
        if split.labels is not None:
            known = split.scored(numbers)
            table["label"] = [
                spreadsheet_safe(str(label)) if is_known else ""
                for label, is_known in zip(split.labels[numbers], known, strict=True)
            ]
        if proba:
            q_NK = np.round(np.exp(inference.log_q_NK).astype(np.float64), DECIMALS)
            table |= {f"p{k}": column for k, column in enumerate(q_NK.T)}
        return table

    blocks = (columns(numbers, inference) for numbers, inference in infer())
    first = next(blocks)

    def lines() -> Iterator[tuple[Any, ...]]:
        for block in itertools.chain([first], blocks):  # lists, whose numbers are written in half the time
            yield from zip(*(np.asarray(column).tolist() for column in block.values()), strict=True)

    checksum = folder.write_table(runs.ASSIGNMENTS, list(first), lines())
    return sizes, checksum


def with_sizes(
    figures: Mapping[str, Mapping[str, HeadFigures]], sizes: Sizes, n_components: int
) -> dict[str, dict[str, HeadFigures]]:
    """Return the figures of a sample with the sizes of the clusters of all rows."""
    return {
        head: {
            side: dataclasses.replace(
                one, sizes=_added(sizes[head][side], np.zeros(n_components, dtype=np.int64)).tolist()
            )
            for side, one in sides.items()
        }
        for head, sides in figures.items()
    }


def _none() -> Array:
    return np.zeros(0, dtype=np.int64)


def _added(one: Array, other: Array) -> Array:
    """Return the sum of two vectors, the shorter of which is filled up with zeros."""
    longer, shorter = (one, other) if len(one) >= len(other) else (other, one)
    total = longer.copy()
    total[: len(shorter)] += shorter
    return total
