"""`deepmix reproduce`: the papers' tables and figures beside ours."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from deepmix.cli.progress import make_reporter
from deepmix.cli.terminal import echo
from deepmix.contracts import registry
from deepmix.errors import UsageError

SEEDS, QUICK_SEEDS = 5, 1
"""Five seeds, as in the supplement's experiments; --quick needs no spread."""


@click.command()
@click.argument("table", required=False)
@click.option("--list", "as_list", is_flag=True, help="List the tables and what they need.")
@click.option("--datasets", multiple=True, metavar="NAME[,NAME]", help="Only these data sets, which may be downloaded.")
@click.option("--models", multiple=True, metavar="NAME[,NAME]", help="Only these models.")
@click.option(
    "--seeds", type=click.IntRange(min=1), help="Runs of each cell, seeds 0, 1, ...  [default: 5; --quick: 1]"
)
@click.option("--quick", is_flag=True, help="Two epochs per stage, to see that a table runs; its figures mean nothing.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("reproduction"), show_default=True, help="Output folder."
)
@click.option("--data-dir", help="Folder of data sets.  [default: DEEPMIX_DATA of the environment]")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, ... or auto.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of Markdown.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def reproduce(
    table: str | None,
    as_list: bool,
    datasets: tuple[str, ...],
    models: tuple[str, ...],
    seeds: int | None,
    quick: bool,
    out: Path,
    data_dir: str | None,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run a table or figure of the papers and set our figures beside theirs.

    Every cell is a run folder below OUT/cells: finished runs are reused, and a stopped table continues where it
    stopped. Missing data and models that are not installed are named in the output; they are not errors.
    """
    from deepmix.reproduce import Request, reproduce as run_table
    from deepmix.training import keep_freed_memory

    if as_list:
        _list(as_json)
        return
    if table is None:
        raise UsageError("no table is named; deepmix reproduce --list lists them all")
    request = Request(
        table=table,
        datasets=_names(datasets),
        models=_names(models),
        n_seeds=seeds or (QUICK_SEEDS if quick else SEEDS),
        quick=quick,
        out=out,
        data_dir=data_dir or os.environ.get("DEEPMIX_DATA"),
        device=device,
    )

    def say(text: str) -> None:
        if not quiet:
            echo(text, err=True)

    keep_freed_memory()
    try:
        content, paths = run_table(request, lambda: make_reporter(quiet), say)
    except (KeyboardInterrupt, OSError):
        echo("Stopped; the same command continues from here.", err=True)
        raise
    echo(json.dumps(content, indent=2) if as_json else paths[0].read_text("utf-8"))
    echo(f"Written: {', '.join(map(str, paths))}", err=True)


def _names(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for value in values for name in value.split(",") if name.strip()))


def _list(as_json: bool) -> None:
    """Print the tables, their data sets and models, and which models are not installed."""
    from deepmix.reproduce import load_tables

    installed = registry.names("models")
    rows = []
    for table in load_tables().values():
        models = sorted({spec.model for cell in table.cells for spec in (cell.spec, cell.protocol_spec)} - {""})
        rows.append(
            {
                "table": table.name,
                "paper": table.cite,
                "title": table.title,
                "datasets": sorted({cell.spec.dataset for cell in table.cells} - {""}),
                "models": models,
                "not_installed": [name for name in models if name not in installed],
            }
        )
    if as_json:
        echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        echo(f"{row['table']:18}{row['paper']}: {row['title']}")
        echo(f"{'':18}data: {', '.join(row['datasets'])}; models: {', '.join(row['models'])}")
        if row["not_installed"]:
            echo(f"{'':18}not installed: {', '.join(row['not_installed'])}")
