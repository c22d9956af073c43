"""`deepmix compare`: runs beside each other."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.table import Table
from rich.text import Text

from deepmix import comparing
from deepmix.cli.output import check_out, replacing
from deepmix.cli.progress import table_console
from deepmix.cli.rows import OVERWRITE
from deepmix.errors import UsageError


@click.command()
@click.argument("folders", metavar="RUN RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--metric", type=click.Choice([*comparing.METRICS, comparing.ELBO]), default="acc", show_default=True)
@click.option("--head", help="Whose clusters.  [default: each run's first head]")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw every seed, the means and intervals: a .png file.")
@OVERWRITE
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(
    folders: tuple[Path, ...], metric: str, head: str | None, plot: Path | None, overwrite: bool, as_json: bool
) -> None:
    """Compare finished runs on their test rows: by scores against labels, or by the ELBO.

    Each RUN is a run's folder, or the folder of several seeds. Differences are from the first, with 95 % intervals of
    a paired bootstrap: the same test rows (and seeds) drawn for both, 1000 times; for the ELBO seeds alone.
    """
    if plot is not None:
        check_out(plot, (".png",), overwrite=overwrite)
        if importlib.util.find_spec("matplotlib") is None:
            raise UsageError("--plot needs matplotlib; install it with: pip install 'deepmix[plots]'")
    rows = comparing.compare([comparing.read(folder, head) for folder in folders], metric)
    if as_json:
        click.echo(json.dumps({"metric": metric, "split": "test", "runs": rows}, indent=2))
    else:
        table_console().print(_table(rows, metric))
    if plot is not None:
        with replacing(plot) as path:
            _plot(rows, metric, path)


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
            known = gap["low"] is not None
            cells += [f"{gap['mean']:+.4f}", f"{gap['low']:+.4f} to {gap['high']:+.4f}" if known else "-"]
        table.add_row(Text(row["run"]), Text(row["head"]), *cells)
    return table


def _plot(rows: list[dict[str, Any]], metric: str, path: Path) -> None:
    """Draw the seeds' scores and, beside them, the differences from the first with their intervals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [f"{row['run']}\n{row['head']}" for row in rows]
    figure, (left, right) = pyplot.subplots(
        1, 2, sharey=True, figsize=(10, 1.4 + 0.6 * len(rows)), layout="constrained", width_ratios=(3, 2)
    )
    for place, row in enumerate(rows):
        values = row[metric]["values"]
        left.plot(values, [place] * len(values), "o", color="#0072b2", alpha=0.5)
        left.plot(row[metric]["mean"], place, "|", color="black", markersize=20, markeredgewidth=2)
        if "difference" in row:
            gap = row["difference"]
            if gap["low"] is not None:
                right.plot((gap["low"], gap["high"]), (place, place), color="#0072b2", linewidth=2)
            right.plot(gap["mean"], place, "|", color="black", markersize=14, markeredgewidth=2)
    right.axvline(0.0, color="gray", linewidth=0.8)
    left.set_yticks(range(len(rows)), names, fontsize=8)
    left.invert_yaxis()
    left.margins(y=0.3)
    left.set_xlabel(f"{metric}, test rows: seeds and mean")
    right.set_xlabel("minus the first, 95 % interval")
    figure.savefig(path, format="png", dpi=120)
    pyplot.close(figure)
