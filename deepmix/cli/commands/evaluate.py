"""`deepmix evaluate`: metrics of a run's heads, or of others, on its own data or other data."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click
from rich import box
from rich.table import Table

from deepmix import metrics, training
from deepmix.cli.progress import table_console
from deepmix.cli.streaming import DEVICE, RUN
from deepmix.cli.terminal import echo, table_text


@click.command()
@RUN
@click.option("--dataset", help="A data set's name or a file.  [default: the run's own data]")
@click.option("--label-column", help="Column (or key) of the file that holds labels.  [default: as in training]")
@click.option("--data-dir", help="Folder of prepared data sets.  [default: DEEPMIX_DATA, or as in training]")
@click.option(
    "--head", "heads", multiple=True, help="May be repeated; heads that the run does not have are fitted to its data."
)
@DEVICE
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def evaluate(
    folder: Path,
    dataset: str | None,
    label_column: str | None,
    data_dir: str | None,
    heads: tuple[str, ...],
    device: str,
    as_json: bool,
) -> None:
    """Measure a finished run: scores against labels where there are any, silhouette, ELBO.

    Processes that torchrun starts share the rows.
    """
    from deepmix.inference import evaluate_run, open_run

    data_dir = data_dir or os.environ.get("DEEPMIX_DATA")
    with training.joined_ranks() as ranks:
        run = open_run(folder, str(training.choose_device(device, ranks)))
        results = evaluate_run(run, heads, dataset, label_column, data_dir, ranks)
    if not ranks.is_first:
        return
    for note in results.notes:
        echo(f"Note: {note}", err=True)
    if as_json:
        echo(json.dumps(results.to_json(), indent=2))
        return
    figures = [figures for sides in results.heads.values() for figures in sides.values()]
    names = [name for name in metrics.METRICS if any(name in one.scores for one in figures)]
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("head", "rows", *names):
        table.add_column(heading, justify="left" if heading in ("head", "rows") else "right")
    for head, sides in results.heads.items():
        for side, one in sides.items():
            table.add_row(table_text(head), side, *(score_text(one.scores.get(name)) for name in names))
    table_console().print(table)
    for side, nats in results.elbo.items():
        echo(f"ELBO, {side} rows: {nats:.2f} nats per row")


def score_text(value: float | None) -> str:
    """Return a metric as the table shows it."""
    return "-" if value is None else f"{value:.4f}"
