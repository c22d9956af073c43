"""`deepmix plugins`: what is installed and how it stands."""

from __future__ import annotations

import dataclasses
import json

import click
from rich import box
from rich.table import Table
from rich.text import Text

from deepmix.cli.progress import table_console
from deepmix.contracts import registry


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plugins(as_json: bool) -> None:
    """List the installed plugins: kind, name, distribution, version, summary, state."""
    rows = registry.states()
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(row) for row in rows], indent=2))
        return
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("kind", "name", "distribution", "version", "summary", "state"):
        table.add_column(heading, no_wrap=heading in ("name", "version"))
    for row in rows:
        table.add_row(*(Text(str(value)) for value in dataclasses.astuple(row)))
    table_console().print(table)
