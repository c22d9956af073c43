"""A schema for people: a table with one line per column, and what training does with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deepmix.cli.terminal import table_text

if TYPE_CHECKING:
    from rich.table import Table

    from deepmix.data import ColumnSchema, TableSchema

SHOWN_LEVELS = 4
"""Levels that one line of the table shows."""


def describe_schema(schema: TableSchema) -> Table:
    """Return a table of a schema's columns for a terminal."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("column", "kind", "likelihood"):
        table.add_column(heading, overflow="fold")
    for heading in ("distinct", "missing"):
        table.add_column(heading, justify="right")
    for heading in ("range or levels", "why"):
        table.add_column(heading, overflow="fold")
    for column in schema.columns:
        cells = (
            *(column.name, column.kind, column.likelihood or "-", f"{column.distinct:,}"),
            *(percent(column.missing), span(column), column.reason),
        )
        table.add_row(*map(table_text, cells), style="" if column.is_modelled else "dim")
    return table


def percent(fraction: float) -> str:
    """Return a fraction as per cent; '-' for 0, so that missing values catch the eye."""
    if fraction == 0.0:
        return "-"
    return f"{100.0 * fraction:.1f} %" if fraction >= 0.0005 else "< 0.1 %"


def span(column: ColumnSchema) -> str:
    """Return a column's levels, or its least and greatest value."""
    if column.levels is not None:
        text = ", ".join(column.levels[:SHOWN_LEVELS])
        n_more = len(column.levels) - SHOWN_LEVELS
        return text + (f" and {n_more} more" if n_more > 0 else "")
    if column.low is None:
        return "-"
    return f"{_value(column.low)} to {_value(column.high)}"


def _value(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def describe_training(schema: TableSchema) -> str:
    """Return what training does with a table, in one sentence."""
    blocks = ", ".join(f"{block.n_cells} {block.likelihood}" for block in schema.blocks)
    return (
        f"Training models {len(schema.modelled)} of {len(schema.columns)} columns: "
        f"{len(schema.feature_columns)} features, {len(schema.cell_columns)} cells ({blocks})."
    )
