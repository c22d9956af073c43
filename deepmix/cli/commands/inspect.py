"""`deepmix inspect`: what the columns of a table are, before any training."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deepmix.cli.progress import UNWRAPPED
from deepmix.cli.schema_view import describe_schema, describe_training
from deepmix.cli.table_flags import table_flags
from deepmix.cli.terminal import echo
from deepmix.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from deepmix.data import TableOptions, TableSchema


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@table_flags
@click.option("--label-column", help="Column that holds labels; for scoring only.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--toml", "as_toml", is_flag=True, help="Print a file for --columns, to change and use.")
def inspect(file: Path, table_options: TableOptions, label_column: str | None, as_json: bool, as_toml: bool) -> None:
    """Show what the columns of FILE are, and what training would do with them.

    Kinds come from names and values of the columns alone, never from labels. Change one with --column, or all of them
    with --toml and --columns.
    """
    import numpy as np

    from deepmix.data import infer_schema, read_frame, schema_toml

    if as_json and as_toml:
        raise UsageError("--json and --toml exclude each other; give one")
    names = table_options.names(label_column)
    frame = read_frame(file, table_options.missing, names=names, text_columns=table_options.drop)
    for note in frame.attrs.get("notes", ()):
        echo(note, err=True)
    schema = infer_schema(frame, np.arange(len(frame)), table_options, label_column)
    if as_toml:
        echo(schema_toml(schema), nl=False)
        return
    facts = row_facts(frame, schema)
    if as_json:
        echo(json.dumps(_as_json(schema, facts), indent=2))
        return
    _show(schema, facts)


def row_facts(frame: pd.DataFrame, schema: TableSchema) -> dict[str, int]:
    """Return the numbers of rows, of rows in which no modelled column has a value, and of repeats of earlier rows.

    Identifiers do not count when rows are compared.
    """
    import numpy as np

    cells_NC, _ = schema.cells(frame)
    identifiers = {column.name for column in schema.columns if column.kind == "identifier"}
    compared = frame[[name for name in frame.columns if str(name) not in identifiers]]
    return {
        "rows": len(frame),
        "rows_with_nothing": int(np.isnan(cells_NC).all(axis=1).sum()),
        "duplicated_rows": int(compared.duplicated().sum()),
    }


def _as_json(schema: TableSchema, facts: dict[str, int]) -> dict[str, Any]:
    return {
        **facts,
        "features": len(schema.feature_columns),
        "cells": len(schema.cell_columns),
        "blocks": [dataclasses.asdict(block) for block in schema.blocks],
        "columns": [dataclasses.asdict(column) for column in schema.columns],
    }


def _show(schema: TableSchema, facts: dict[str, int]) -> None:
    """Print the table of columns and the facts below it."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else UNWRAPPED).print(describe_schema(schema))
    echo(
        f"{facts['rows']:,} rows; {facts['rows_with_nothing']:,} without a value in the modelled columns; "
        f"{facts['duplicated_rows']:,} repeat an earlier row."
    )
    for kind in ("constant", "empty", "duplicate"):
        names = [column.name for column in schema.columns if column.kind == kind]
        if names:
            echo(f"Left out as {kind}: {', '.join(names)}")
    echo(describe_training(schema))
