"""`deepmix compare`: a comparison of finished runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.table import Table

from deepmix.cli.output import check_out, replacing
from deepmix.cli.pictures import draw_comparison
from deepmix.cli.progress import table_console
from deepmix.cli.streaming import OVERWRITE
from deepmix.cli.terminal import echo, table_text
from deepmix.inference import comparable, compare_runs, read_compared
from deepmix.metrics import ACCURACY


class MetricChoice(click.Choice[str]):
    """A choice among the metrics that are declared when the command runs."""

    def __init__(self) -> None:
        super().__init__(())

    @property
    def choices(self) -> tuple[str, ...]:
        """The names of the metrics."""
        return tuple(comparable())

    @choices.setter
    def choices(self, names: object) -> None:
        """Ignore the choices that click.Choice sets when it is constructed."""


@click.command()
@click.argument("folders", metavar="RUN RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--metric", type=MetricChoice(), default=ACCURACY.name, show_default=True)
@click.option("--head", help="Head whose clusters are compared.  [default: each run's first]")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw every seed, the means and intervals: a .png file.")
@OVERWRITE
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(
    folders: tuple[Path, ...], metric: str, head: str | None, plot: Path | None, overwrite: bool, as_json: bool
) -> None:
    """Compare finished runs on their test rows: by scores against labels, or by the ELBO.

    Each RUN is a run's folder, or the folder of several seeds. Differences are from the first run, with 95 % intervals
    of a paired bootstrap, which draws the same test rows (and seeds) for both runs 1000 times; for the ELBO it draws
    only seeds. Rows without a label are left out, and rows count by their weights.
    """
    if plot is not None:
        check_out(plot, (".png",), overwrite=overwrite)
    rows = compare_runs([read_compared(folder, head) for folder in folders], metric)
    if as_json:
        echo(json.dumps({"metric": metric, "split": "test", "runs": rows}, indent=2))
    else:
        table_console().print(_table(rows, metric))
    if plot is not None:
        with replacing(plot) as path:
            draw_comparison(rows, metric, path)


def _table(rows: list[dict[str, Any]], metric: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=f"{metric}, test rows", title_justify="left")
    for heading in ("run", "head", "seeds", "mean", "std", "best", "minus the first", "95 % interval"):
        table.add_column(heading, justify="left" if heading in ("run", "head") else "right")
    for row in rows:
        score = row[metric]
        cells = [
            str(len(row["seeds"])),
            f"{score['mean']:.4f}",
            f"{score['std']:.4f}" if len(row["seeds"]) > 1 else "-",
            f"{score['best']:.4f}",
        ]
        if "difference" in row:
            gap = row["difference"]
            interval = "-" if gap["low"] is None else f"{gap['low']:+.4f} to {gap['high']:+.4f}"
            cells += [f"{gap['mean']:+.4f}", interval]
        table.add_row(table_text(row["run"]), table_text(row["head"]), *cells)
    return table
