"""The flags that say what a table's columns are, which `inspect` and `train` share."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from deepmix.data import ColumnOptions, TableOptions
from deepmix.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])


OPTIONS = (
    click.option(
        "--columns", "columns_file", type=click.Path(path_type=Path),
        help="A .toml file that says what the columns are; `deepmix inspect --toml` writes one.",
    ),
    click.option(
        "--column", "columns", multiple=True, metavar="NAME=KIND[:LIKELIHOOD]",
        help="What one column is, such as age=count or income=:student-t; may be repeated.",
    ),
    click.option("--drop", multiple=True, metavar="NAME", help="Column to leave out; may be repeated."),
    click.option("--id-column", metavar="NAME", help="Column that names the rows."),
    click.option("--weight-column", metavar="NAME", help="Column of row weights."),
    click.option(
        "--condition", "conditions", multiple=True, metavar="NAME",
        help="Column that clusters should not encode, such as batch or site; may be repeated.",
    ),
    click.option("--missing", multiple=True, metavar="MARK", help="Another mark of a missing value; may be repeated."),
)  # fmt: skip


def table_flags(command: Command) -> Command:
    """Add the flags to a command, which gets them as one argument, `table_options`: a TableOptions."""

    @functools.wraps(command)
    def with_options(
        *arguments: Any,
        columns_file: Path | None,
        columns: tuple[str, ...],
        drop: tuple[str, ...],
        id_column: str | None,
        weight_column: str | None,
        conditions: tuple[str, ...],
        missing: tuple[str, ...],
        **others: Any,
    ) -> Any:
        flags = TableOptions(
            dict(map(column_of, columns)), drop, id_column, weight_column, conditions, missing
        )  # a flag overrides the file
        return command(*arguments, table_options=_with_file(flags, columns_file), **others)

    decorated: Any = with_options
    for option in reversed(OPTIONS):
        decorated = option(decorated)
    return decorated


def column_of(text: str) -> tuple[str, ColumnOptions]:
    """Return a column's name and options from `NAME=KIND`, `NAME=KIND:LIKELIHOOD` or `NAME=:LIKELIHOOD`.

    Raises:
        UsageError: the text is written in another way.

    """
    name, equals, value = text.rpartition("=")
    kind, _, likelihood = value.partition(":")
    if not (equals and name and (kind or likelihood)):
        raise UsageError(f"--column '{text}' can't be read; write it as NAME=KIND or NAME=KIND:LIKELIHOOD")
    return name, ColumnOptions(kind or None, likelihood or None)


def _with_file(flags: TableOptions, path: Path | None) -> TableOptions:
    """Return the options of the flags with those of a file; a flag overrides the file, and lists are joined."""
    if path is None:
        return flags
    from deepmix.data import read_table_options

    options = read_table_options(path)
    return dataclasses.replace(
        options,
        columns={**options.columns, **flags.columns},
        drop=_joined(options.drop, flags.drop),
        id_column=flags.id_column or options.id_column,
        weight_column=flags.weight_column or options.weight_column,
        conditions=_joined(options.conditions, flags.conditions),
        missing=_joined(options.missing, flags.missing),
    )


def _joined(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *second)))
