"""`deepmix plugin`: write a new plugin, and test installed ones."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deepmix.cli.scaffold import KINDS, write_plugin
from deepmix.cli.terminal import echo
from deepmix.errors import UsageError

if TYPE_CHECKING:
    from deepmix.testing import ClauseResult

INSTALL = "pip install --no-deps --no-build-isolation --editable"


@click.group()
def plugin() -> None:
    """Write a new plugin, or test installed ones against the contract."""


@plugin.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(list(KINDS)), required=True, help="What the plugin is.")
def new(name: str, kind: str) -> None:
    """Write a distribution with a working plugin to edit, into the new folder deepmix-NAME.

    It has the entry point, one module, one test and a README with the next steps.
    """
    folder = write_plugin(name, kind, Path())
    echo(f"Written: {folder}; install it with: {INSTALL} {folder}")


@plugin.command()
@click.argument("name", required=False)
@click.option("--fast", is_flag=True, help="Leave out the clause that runs commands, which takes most of the time.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def check(ctx: click.Context, name: str | None, fast: bool, as_json: bool) -> None:
    """Test each clause of the contract on installed plugins, and print a table.

    NAME is the name of a plugin or of a distribution; without it, every plugin that is not built in is tested. The exit
    status is 1 if a clause failed.
    """
    results = []
    for result in _expected(name, ("command-line",) if fast else ()):
        results.append(result)
        if not as_json:
            state = result.state + (f": {result.text}" if result.text else "")
            echo(f"{result.kind}  {result.name}  {result.clause}  {state}")
    failures = sum(result.state == "failed" for result in results)
    if as_json:
        echo(json.dumps([dataclasses.asdict(result) for result in results], indent=2))
    elif not results:
        echo("No plugin is installed besides the built-in ones; write one with: deepmix plugin new NAME --kind prior")
    else:
        echo(f"{len(results) - failures} of {len(results)} clauses are ok or skipped, {failures} failed")
    ctx.exit(1 if failures else 0)


def _expected(name: str | None, without: Collection[str]) -> Iterator[ClauseResult]:
    """Return the results of a plugin or a distribution, which may also be named by its folder."""
    from deepmix.experiment import kit_results

    try:
        return kit_results(name, without)
    except UsageError:
        folders = (Path(str(name)), Path(f"deepmix-{name}"))
        folder = next((folder for folder in folders if (folder / "pyproject.toml").is_file()), None)
        if folder is None:
            raise
    try:
        return kit_results(folder.resolve().name, without)
    except UsageError:
        raise UsageError(f"'{name}' is not installed; install it with: {INSTALL} {folder}") from None
