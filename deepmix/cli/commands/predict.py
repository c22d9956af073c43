"""`deepmix predict`: clusters of new rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deepmix import training
from deepmix.cli.divided import Piece, share_of, write_pieces
from deepmix.cli.output import KINDS, check_out, report
from deepmix.cli.streaming import entropy, inferences, rows_in

if TYPE_CHECKING:  # importing these would import torch, and --help must not wait for that
    from deepmix.data import BlockShare
    from deepmix.inference import ConsensusRun, LoadedRun

DECIMALS = 6
"""Decimals of probabilities and entropies, as in assignments.csv."""


@click.command()
@rows_in
@click.option("--head", help="Head of the run that gives the clusters.  [default: its first]")
@click.option("--proba", is_flag=True, help="Write the probability of every component too, as p0, p1, ...")
@click.option(
    "--outliers",
    type=float,
    metavar="FRACTION",
    help="Give the cluster -1 to rows less probable than all but this fraction of the training rows, such as 0.01.",
)
@click.option("--id-column", help="Column that names the rows.  [default: as in training]")
def predict(
    folder: Path,
    data: Path,
    out: Path,
    overwrite: bool,
    label_column: str | None,
    device: str,
    as_json: bool,
    head: str | None,
    proba: bool,
    outliers: float | None,
    id_column: str | None,
) -> None:
    """Give each row of DATA its cluster.

    RUN is a finished run's folder, or the folder `consensus` of several seeds, whose models then vote. DATA is a file
    with the columns the run was trained on (matched by name if both have names; further columns are left out), or -
    for CSV on standard input. Writes each row's number and name, its cluster (-1: it fits none), its largest q(y|x),
    the entropy of q(y|x) in nats, and its outlier score: the fraction of the training rows that the model finds more
    probable. Of a consensus, q(y|x) is the fraction of the seeds that vote for the cluster. Rows are read in blocks, so
    any number of them fits in memory. Processes that torchrun starts share the blocks.
    """
    import numpy as np

    from deepmix.inference import open_clusters

    sizes, n_outliers = np.zeros(0, dtype=np.int64), 0

    def pieces(run: LoadedRun | ConsensusRun, share: BlockShare) -> Iterator[Piece]:
        for block in inferences(run, data, label_column, share, id_column, flag_strange=True):
            inference = block.inference
            cluster = run.clusters(inference, head, outliers)
            table: dict[str, Any] = {"row": np.arange(block.first + 1, block.first + 1 + len(cluster))}
            if block.names is not None:
                table["name"] = np.array(block.names, dtype=object)
            table |= {
                "cluster": cluster,
                "probability": np.exp(inference.log_q_NK.max(axis=1)).astype(np.float64).round(DECIMALS),
                "entropy": entropy(inference).round(DECIMALS),
            }
            scores = run.outlier_scores(inference)
            if scores is not None:
                table["outlier"] = scores.round(DECIMALS)
            if proba:
                q_NK = np.exp(inference.log_q_NK).astype(np.float64).round(DECIMALS)
                table |= {f"p{k}": column for k, column in enumerate(q_NK.T)}
            yield Piece(block.first, table, block.notes)

    def count(piece: Piece) -> None:
        nonlocal sizes, n_outliers
        cluster = piece.table["cluster"]
        n_outliers += int((cluster < 0).sum())
        counts = np.bincount(cluster[cluster >= 0], minlength=len(sizes))
        counts[: len(sizes)] += sizes
        sizes = counts

    with training.joined_ranks() as ranks:
        share = share_of(ranks, data)
        if ranks.is_first:
            check_out(out, KINDS, overwrite=overwrite)
        run = open_clusters(folder, str(training.choose_device(device, ranks)))
        run.head(head)
        sizes = np.zeros(run.n_components, dtype=np.int64)
        n_rows = write_pieces(out, pieces(run, share), ranks, as_json=as_json, watch=count)
    if n_rows is None:
        return
    summary: dict[str, Any] = {
        "rows": n_rows,
        "head": head or run.config.heads[0],
        "sizes": sizes.tolist(),
        "out": str(out),
    }
    in_use = np.count_nonzero(sizes)
    text = f"{n_rows:,} rows in {in_use} of {len(sizes)} clusters"
    if n_outliers:
        summary["outliers"] = n_outliers
        text += f", {n_outliers:,} in no cluster (-1)"
    report(summary, f"{text}: {out}", out, as_json=as_json)
