"""The report's section on how the columns of a table were used."""

from __future__ import annotations

from deepmix.data import ColumnSchema
from deepmix.report.html import plots
from deepmix.report.html.markup import Child, details, join, paragraph, table
from deepmix.report.html.page import Section
from deepmix.report.material import Material
from deepmix.report.phrases import percent_text

NAMED = 10
"""Columns that are named in a sentence; the table below it lists them all."""


MOST_LISTED = 500
"""Columns in the table."""


NAME_LENGTH = 60
"""Characters of a column's name."""


ROLES = ("label", "weight", "condition")
"""Kinds of columns that are not modelled and yet used."""


def used_columns(material: Material) -> Section | None:
    """Return the section on what each column is, what was done with it, and how many cells are missing."""
    schema, frame = material.schema, material.frame
    if schema is None or frame is None:
        return None
    others = [column for column in schema.columns if not column.is_modelled]
    roles = [column for column in others if column.kind in ROLES]
    left_out = [column for column in others if column.kind not in ROLES]
    n_missing = int(frame.isna().to_numpy().sum())
    n_rows = int(frame.isna().any(axis=1).sum())
    parts: list[Child] = [
        paragraph(f"The model sees {len(schema.modelled)} of the table's {_columns(len(schema.columns))}.")
    ]
    if n_missing:
        cells = "cell is" if n_missing == 1 else "cells are"
        rows = "row" if n_rows == 1 else "rows"
        parts.append(
            paragraph(
                f"{n_missing:,} of their {frame.size:,} {cells} missing, in {n_rows:,} {rows}. A missing cell is left "
                "out of the likelihood; nothing was filled in."
            )
        )
    else:
        parts.append(paragraph("None of their cells is missing."))
    if roles:
        parts.append(paragraph(f"Not modelled, but used: {_reasons(roles)}."))
    parts.append(paragraph(f"Left out: {_reasons(left_out)}." if left_out else "No column was left out."))
    rows_of_table: list[list[Child]] = [
        [
            plots.short(column.name, NAME_LENGTH),
            column.kind,
            column.likelihood or "-",
            percent_text(column.missing),
            column.reason,
        ]
        for column in schema.columns[:MOST_LISTED]
    ]
    listed = table(
        "The table's columns; missing: share of the training rows",
        ["column", "kind", "likelihood", "missing", "why"],
        rows_of_table,
        text_columns=(0, 1, 2, 4),
    )
    more = len(schema.columns) - len(rows_of_table)
    rest = paragraph(f"{_columns(more)} more are not listed.") if more else None
    parts.append(details("Every column: its kind, its likelihood, and why", listed, rest))
    return Section("How the columns were used", join(parts))


def _columns(n: int) -> str:
    return f"{n:,} column{'' if n == 1 else 's'}"


def _reasons(columns: list[ColumnSchema]) -> str:
    named = [f"{plots.short(one.name, NAME_LENGTH)} ({one.reason.rstrip('.')})" for one in columns[:NAMED]]
    more = [f"and {len(columns) - NAMED} more"] if len(columns) > NAMED else []
    return "; ".join([*named, *more])
