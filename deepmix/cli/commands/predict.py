"""`deepmix predict`: clusters of new rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from deepmix.cli.output import KINDS, Table, check_out, report, write_tables
from deepmix.cli.streaming import entropy, inferences, rows_in

DECIMALS = 6
"""Decimals of probabilities and entropies, as in assignments.csv."""


@click.command()
@rows_in
@click.option("--head", help="Head of the run that gives the clusters.  [default: its first]")
def predict(
    folder: Path,
    data: Path,
    out: Path,
    overwrite: bool,
    label_column: str | None,
    device: str,
    as_json: bool,
    head: str | None,
) -> None:
    """Give each row of DATA its cluster.

    RUN is a finished run's folder. DATA is a .npy, .npz, .csv, .csv.gz or .parquet file with the columns the run was
    trained on (matched by name if both have names), or - for CSV on standard input. Writes each row's number, its
    cluster, its largest q(y|x) and the entropy of q(y|x) in nats. Rows are read in blocks, so any number of them fits
    in memory.
    """
    import numpy as np

    from deepmix.inference import open_run

    check_out(out, KINDS, overwrite=overwrite)
    run = open_run(folder, device)
    run.head(head)
    sizes = np.zeros(run.n_components, dtype=np.int64)

    def tables() -> Iterator[Table]:
        nonlocal sizes
        for first, inference in inferences(run, data, label_column):
            cluster = run.clusters(inference, head)
            counts = np.bincount(cluster, minlength=len(sizes))
            counts[: len(sizes)] += sizes
            sizes = counts
            yield {
                "row": np.arange(first + 1, first + 1 + len(cluster)),
                "cluster": cluster,
                "probability": np.exp(inference.log_q_NK.max(axis=1)).astype(np.float64).round(DECIMALS),
                "entropy": entropy(inference).round(DECIMALS),
            }

    n_rows = write_tables(out, tables(), as_json=as_json)
    summary = {"rows": n_rows, "head": head or run.config.heads[0], "sizes": sizes.tolist(), "out": str(out)}
    in_use = np.count_nonzero(sizes)
    report(summary, f"{n_rows:,} rows in {in_use} of {len(sizes)} clusters: {out}", out, as_json=as_json)
