"""Data files that plugins read: which plugin reads a file, and its rows, for training or for new rows."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from deepmix.contracts import FileRows, registry
from deepmix.data import Split, SplitOptions, StoredRows, TableOptions, arrange_rows, arrange_table
from deepmix.errors import DeepmixError, UsageError, option
from deepmix.experiment.selection import format_of


def read_format(path: Path, options: Any, label_column: str | None) -> FileRows:
    """Return the rows of a file that a plugin reads.

    Args:
        path: the file; its name ends as one of the installed formats says.
        options: the options of that format; None: its defaults.
        label_column: name of the labels in the file; None: none are wanted.

    Raises:
        UsageError: there is no such file, or the plugin refuses it.
        DeepmixError: the file is damaged, or the plugin breaks its contract.

    """
    plugin = format_of(path.name)
    assert plugin is not None
    if not path.exists():
        raise UsageError(f"there is no file '{path}'")
    kind = registry.load_plugin("formats", plugin.identity)
    try:
        rows = kind(kind.Options() if options is None else options).read(path, label_column)
    except DeepmixError:
        raise
    except Exception as error:  # code that is not ours may fail in any way, and so may the file
        raise DeepmixError(
            f"'{path.name}' can't be read by {plugin.identity} ({type(error).__name__}: {error}); check the file, or "
            f"update {plugin.distribution}"
        ) from error
    _check(rows, plugin)
    return rows


def _check(rows: Any, plugin: registry.Plugin) -> None:
    """Raise a DeepmixError unless a format returned what its contract says."""
    complaint = None
    if not isinstance(rows, FileRows):
        complaint = f"must return FileRows, got {type(rows).__name__}"
    elif not hasattr(rows.x, "shape") or len(rows.x.shape) < 2:
        complaint = f"must return rows (N, D), got {type(rows.x).__name__}"
    elif rows.labels is not None and np.shape(rows.labels) != (rows.x.shape[0],):
        complaint = f"must return one label per row, ({rows.x.shape[0]},), got {np.shape(rows.labels)}"
    elif rows.columns is not None and len(rows.columns) != rows.x.shape[1]:
        complaint = f"must return one name per column, {rows.x.shape[1]}, got {len(rows.columns)}"
    elif rows.row_names is not None and len(rows.row_names) != rows.x.shape[0]:
        complaint = f"must return one name per row, {rows.x.shape[0]}, got {len(rows.row_names)}"
    if complaint:
        raise DeepmixError(f"file format {plugin.identity} breaks its contract: read(path) {complaint}; fix the plugin")


def load_format(
    path: Path,
    format_options: Any,
    options: SplitOptions,
    label_column: str | None,
    table: TableOptions | None,
    *,
    as_array: bool = False,
) -> Split:
    """Return a file that a plugin reads as a data set for training.

    Args:
        path: the file.
        format_options: the options of its format.
        options: scaling and split.
        label_column: name of the labels in the file; None: there are none.
        table: what the user says about the columns of a table; None: nothing.
        as_array: whether the columns of a DataFrame stay numbers, as in runs that recorded no schema.

    Raises:
        UsageError: the rows can't be used.
        DeepmixError: the file is damaged, or the plugin breaks its contract.

    """
    rows = read_format(path, format_options, label_column)
    if label_column is not None and rows.labels is None:
        raise UsageError(f"'{path.name}' has no labels '{label_column}'; leave out {option('label_column')}")
    rows = _placed(rows, options, path)
    if hasattr(rows.x, "iloc"):
        if not as_array:
            name = f"'{path.name}'"
            return arrange_table(
                rows.x, options, table or TableOptions(), labels=rows.labels, n_train=rows.n_train, name=name
            )
        rows = dataclasses.replace(rows, x=rows.x.to_numpy(), columns=list(map(str, rows.x.columns)))
    if table is not None:
        raise UsageError(
            f"'{path.name}' is read as an array of numbers, whose columns have no kinds; leave out {option('columns')} "
            "and the other options for columns"
        )
    columns = None if rows.columns is None else list(rows.columns)
    split = arrange_rows(rows.x, rows.labels, options, n_train=rows.n_train, columns=columns)
    return split if rows.row_names is None else dataclasses.replace(split, row_names=np.array(rows.row_names))


def _placed(rows: FileRows, options: SplitOptions, path: Path) -> FileRows:
    """Return rows in memory, or on disk where they are to stay there."""
    if not isinstance(rows.x, StoredRows):
        if options.storage == "disk":
            raise UsageError(
                f"the rows of '{path.name}' can't stay on disk, because its format reads them into memory; leave out "
                f"{option('storage')}"
            )
        return rows
    if options.stays_on_disk(math.prod(rows.x.array_shape)):
        return rows
    return dataclasses.replace(rows, x=rows.x.whole())
