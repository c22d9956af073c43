"""`deepmix plugins`: which plugins are installed, and whether they work."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import click
from rich import box
from rich.table import Table
from rich.text import Text

from deepmix import experiment, runs
from deepmix.cli.progress import table_console
from deepmix.contracts import registry
from deepmix.errors import UsageError


@click.command()
@click.option("--check", is_flag=True, help="Import each plugin and show its state: ok, clash or broken.")
@click.option(
    "--describe", "distribution", metavar="DISTRIBUTION",
    help="Write the file that summaries and help come from, into the distribution's package.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plugins(check: bool, distribution: str | None, as_json: bool) -> None:
    """List the installed plugins: kind, name, distribution, version, summary.

    Nothing is imported: the summaries come from the file that --describe writes. Plugins without one, or with sources
    that have changed since, are listed without a summary.
    """
    if distribution is not None:
        if check:
            raise UsageError("--check and --describe exclude each other; give one")
        _describe(distribution, as_json)
        return
    rows = registry.checked_rows() if check else registry.rows()
    problems = [f"Passed over: {problem}" for problem in registry.read_entry_points().problems]
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(row) for row in rows], indent=2))
    else:
        _show(rows, [field.name for field in dataclasses.fields(registry.CheckedRow if check else registry.PluginRow)])
        owners = sorted({row.distribution for row in rows if row.summary is None})
        if owners:
            click.echo(
                f"No valid description of some plugins of {', '.join(owners)}: 'deepmix plugins --check' imports them."
            )
    for problem in problems:
        click.echo(problem, err=as_json)


def _show(rows: Sequence[registry.PluginRow], headings: Sequence[str]) -> None:
    """Print the table."""
    table = Table(box=box.SIMPLE_HEAD)
    for heading in headings:
        table.add_column(heading, no_wrap=heading in ("name", "version"))
    for row in rows:
        table.add_row(*(Text("-" if value is None else str(value)) for value in dataclasses.astuple(row)))
    table_console().print(table)


def _describe(distribution: str, as_json: bool) -> None:
    """Write a distribution's description files and print their paths."""
    texts = experiment.describe_distribution(distribution)
    for path, text in texts.items():
        runs.write_atomically(path, text.encode())
    click.echo(
        json.dumps([str(path) for path in texts]) if as_json else "\n".join(f"Written: {path}" for path in texts)
    )
