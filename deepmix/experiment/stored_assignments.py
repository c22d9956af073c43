"""The table of assignments of rows that stay on disk: each rank makes lines, and the first one writes all."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping

import numpy as np

from deepmix import runs
from deepmix.contracts import Model
from deepmix.data import Rows
from deepmix.experiment.assigner import Assigner, shared_assigner
from deepmix.experiment.prepare import Experiment
from deepmix.maths import Array
from deepmix.runs import HeadFigures
from deepmix.training import gathered, infer_rows, pack, unpack

BLOCK_ROWS = 16_384
"""Rows that are inferred, assigned and written together."""

Sizes = Mapping[str, Mapping[str, Array]]
"""Rows of each cluster by head and side, (K,) each."""


def write_stored_assignments(
    folder: runs.RunStore, experiment: Experiment, model: Model, assigner: Assigner
) -> tuple[Sizes, runs.TableChecksum]:
    """Write the table of assignments block by block, and return the sizes of the clusters and the table's checksum.

    Its columns are those of `write_assignments`. The other ranks call `assist_assignments` meanwhile.

    Args:
        folder: the run's folder.
        experiment: the experiment.
        model: the trained model.
        assigner: gives the rows their lines.

    """
    sizes: dict[str, dict[str, Array]] = {head: {"train": _none(), "test": _none()} for head in assigner.heads}
    messages = (unpack(message) for message in _assigned_blocks(experiment, model, assigner))
    first = next(messages)
    header: list[str] = first[1]["columns"]

    def blocks() -> Iterator[runs.TableBlock]:
        for arrays, value in itertools.chain([first], messages):
            for head, by_side in value["sizes"].items():
                for side, size_K in by_side.items():
                    sizes[head][side] = _added(sizes[head][side], np.array(size_K, dtype=np.int64))
            yield runs.TableBlock(arrays["text"].tobytes().decode(), value["hash_sum"])

    checksum = folder.write_blocks(runs.ASSIGNMENTS, header, blocks())
    return sizes, checksum


def assist_assignments(experiment: Experiment, model: Model) -> None:
    """Make this rank's blocks of the table that the first rank writes."""
    for _ in _assigned_blocks(experiment, model, None):
        pass  # the first rank gets them


def _assigned_blocks(experiment: Experiment, model: Model, assigner: Assigner | None) -> Iterator[bytes]:
    """Give the blocks of the table in the data's order, as messages, on the first rank; the others give none.

    Each rank infers, assigns and formats a range of the rows. If a head's state can't be sent, the first one takes all.

    Args:
        experiment: the experiment.
        model: the trained model.
        assigner: the first rank's; None on the others.

    """
    split, ranks = experiment.split, experiment.ranks
    n_blocks = -(-len(split.x) // BLOCK_ROWS)
    assigner = shared_assigner(experiment, assigner)
    own = ranks.readers.share.consecutive(n_blocks)
    if ranks.is_first and assigner is not None and not assigner.is_shared:
        own = range(n_blocks)
    elif assigner is None:
        own = range(0)
    precision = experiment.parts.options["training"].precision

    def messages() -> Iterator[tuple[int, bytes]]:
        for block in own:
            assert assigner is not None
            numbers = np.arange(block * BLOCK_ROWS, min((block + 1) * BLOCK_ROWS, len(split.x)))
            inference = infer_rows(model, Rows(split.rows, numbers, experiment.device), precision)
            table, sizes = assigner.assign(split, numbers, inference, proba=bool(experiment.config.proba))
            columns = [np.asarray(column).tolist() for column in table.values()]  # written in half the time of arrays
            made = runs.TableBlock.of(list(table), zip(*columns, strict=True))
            value = {"columns": list(table), "hash_sum": made.hash_sum, "sizes": sizes}
            yield block, pack({"text": np.frombuffer(made.text.encode(), dtype=np.uint8)}, value)

    yield from gathered(ranks, messages())


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
