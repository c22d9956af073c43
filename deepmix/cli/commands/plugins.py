"""`deepmix plugins`: which plugins are installed, and whether they work."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import textwrap
from collections.abc import Sequence

import click

from deepmix import experiment
from deepmix.cli.terminal import echo
from deepmix.contracts import registry
from deepmix.data import write_atomically
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

    No plugin is imported: the summaries come from the file that --describe writes. Plugins without such a file, or
    with sources that have changed since, are listed without a summary.
    """
    if distribution is not None:
        if check:
            raise UsageError("--check and --describe exclude each other; give one")
        _describe(distribution, as_json)
        return
    rows = registry.checked_rows(experiment.check_plugin) if check else registry.rows()
    problems = [f"Passed over: {problem}" for problem in registry.read_entry_points().problems]
    if as_json:
        echo(json.dumps([dataclasses.asdict(row) for row in rows], indent=2))
    else:
        _show(rows, with_state=check)
        owners = sorted({row.distribution for row in rows if row.summary is None})
        if owners:
            echo(
                f"No valid description of some plugins of {', '.join(owners)}: 'deepmix plugins --check' imports them."
            )
    for problem in problems:
        echo(problem, err=as_json)


def _show(rows: Sequence[registry.PluginRow], *, with_state: bool) -> None:
    """Print the rows in columns; on a terminal, long rows are wrapped."""
    headings = ("kind", "name", "distribution", "version", *(("state",) if with_state else ()), "summary")
    lines = [headings, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for cells in lines:
        line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        if sys.stdout.isatty():
            line = textwrap.fill(line, shutil.get_terminal_size().columns, subsequent_indent="    ")
        echo(line)


def _cells(row: registry.PluginRow) -> tuple[str, ...]:
    """Return a row's cells; the details of a clash or an error replace the summary."""
    state: tuple[str, ...] = ()
    text = row.summary or "-"
    if isinstance(row, registry.CheckedRow):
        word, _, details = row.state.partition(": ")
        state, text = (word,), details or text
    return (row.kind, row.name, row.distribution, row.version, *state, text)


def _describe(distribution: str, as_json: bool) -> None:
    """Write a distribution's description files and print their paths."""
    texts = experiment.describe_distribution(distribution)
    for path, text in texts.items():
        write_atomically(path, text.encode())
    echo(json.dumps([str(path) for path in texts]) if as_json else "\n".join(f"Written: {path}" for path in texts))
