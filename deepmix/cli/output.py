"""Writing of result rows to standard output, .csv, .parquet or .npz; a file is written whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from deepmix.cli.terminal import echo
from deepmix.errors import DeepmixError, UsageError, printable

if TYPE_CHECKING:
    import pandas as pd

    from deepmix.maths import Array

KINDS = (".csv", ".parquet", ".npz")


STANDARD_OUTPUT = Path("-")


Table = Mapping[str, "Array"]
"""Columns of equal length, by name."""


def check_out(out: Path, kinds: Iterable[str], *, overwrite: bool) -> None:
    """Check, before any work, that a file can be written.

    Raises:
        UsageError: the file exists or has another suffix, or its folder does not exist.

    """
    if out == STANDARD_OUTPUT:
        return
    if out.suffix.lower() not in kinds:
        raise UsageError(f"'{out}' does not have a suffix that can be written here; use one of: {', '.join(kinds)}")
    if out.exists() and not overwrite:
        raise UsageError(f"'{out}' exists; choose another name or add --overwrite")
    if not out.parent.is_dir():
        raise UsageError(f"there is no folder '{out.parent}'; create it first")


@contextlib.contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """Yield a path beside `out`; the file there replaces `out` at the end, or is deleted after an error."""
    temporary = out.with_name(out.name + ".part")
    try:
        yield temporary
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)


def write_tables(out: Path, tables: Iterable[Table], *, as_json: bool) -> int:
    """Write tables that have the same columns, one below the other.

    Args:
        out: the file, or '-' for standard output.
        tables: blocks of rows, at least one.
        as_json: write lines of JSON, not CSV, if `out` is standard output.

    Returns:
        The number of rows written.

    """
    if out == STANDARD_OUTPUT:
        return _stream(_json_text if as_json else _printable_csv_text, tables, sys.stdout)
    with replacing(out) as path:
        if out.suffix.lower() == ".npz":
            return _npz(path, tables)
        if out.suffix.lower() == ".parquet":
            return _parquet(path, tables)
        with path.open("w", encoding="utf-8") as file:
            return _stream(_csv_text, tables, file)


def _stream(text: Callable[[Table, bool], Iterator[str]], tables: Iterable[Table], file: IO[str]) -> int:
    n_rows = 0
    for table in tables:
        file.writelines(text(table, n_rows == 0))
        n_rows += len(next(iter(table.values())))
    file.flush()
    return n_rows


def _csv_text(table: Table, first: bool) -> Iterator[str]:
    from deepmix.data import spreadsheet_safe

    if first:
        yield _csv_line([spreadsheet_safe(name) for name in table])
    texts = [map(_cell_text(column), column.tolist()) for column in table.values()]
    if any(column.dtype.kind in "OU" for column in table.values()):  # a cell may hold a comma or a quote
        yield from (_csv_line(cells) for cells in zip(*texts, strict=True))
    else:
        yield from (",".join(cells) + "\n" for cells in zip(*texts, strict=True))


def _printable_csv_text(table: Table, first: bool) -> Iterator[str]:
    """Yield a CSV for the terminal, with control characters made visible; files receive them unchanged."""
    return map(printable, _csv_text(table, first))


def _cell_text(column: Array) -> Callable[[Any], str]:
    """Return what writes a column's cells: numbers with all their digits, of which a float32 has 9."""
    is_short = column.dtype.kind == "f" and column.dtype.itemsize <= 4
    return "{:.9g}".format if is_short else _csv_cell


def _csv_line(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def _csv_cell(cell: Any) -> str:
    """Return a cell as text: empty where it is missing, never a formula, and a number with all its digits."""
    from deepmix.data import spreadsheet_safe

    if cell is None or cell != cell:  # NaN differs from itself
        return ""
    if isinstance(cell, float):
        return repr(cell).removesuffix(".0")
    return spreadsheet_safe(cell) if isinstance(cell, str) else str(cell)


def _json_text(table: Table, first: bool) -> Iterator[str]:
    for cells in zip(*(column.tolist() for column in table.values()), strict=True):
        values = [None if cell != cell else cell for cell in cells]
        yield json.dumps(dict(zip(table, values, strict=True))) + "\n"


def frame_table(frame: pd.DataFrame) -> Table:
    """Return a data frame's columns as arrays; dates are text, and None stands for a missing text or truth value."""
    table = {}
    for name, column in frame.items():
        if column.dtype.kind == "M":
            column = column.dt.strftime("%Y-%m-%d %H:%M:%S").str.removesuffix(" 00:00:00")
        values = column.to_numpy()
        if values.dtype.kind not in "biufU":
            values = column.astype(object).where(column.notna(), None).to_numpy()
        table[str(name)] = values
    return table


def _npz(path: Path, tables: Iterable[Table]) -> int:
    import numpy as np

    blocks = list(tables)
    whole = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    whole = {  # text must not be pickled
        name: np.array(["" if cell is None else str(cell) for cell in column]) if column.dtype == object else column
        for name, column in whole.items()
    }
    with path.open("wb") as file:
        np.savez(file, **whole)  # type: ignore[arg-type]
    return len(next(iter(whole.values())))


def _parquet(path: Path, tables: Iterable[Table]) -> int:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DeepmixError("writing .parquet needs pyarrow; install it with: pip install 'deepmix[parquet]'") from error
    n_rows = 0
    with contextlib.ExitStack() as stack:
        writer = None
        for table in tables:
            batch = pyarrow.table({name: pyarrow.array(column) for name, column in table.items()})
            writer = writer or stack.enter_context(parquet.ParquetWriter(path, batch.schema))
            writer.write_table(batch)
            n_rows += batch.num_rows
    return n_rows


def report(summary: Mapping[str, Any], sentence: str, out: Path, *, as_json: bool) -> None:
    """Report on a finished command, unless its rows went to standard output.

    The report is JSON on standard output if `as_json`, else a sentence on standard error.
    """
    if as_json and out != STANDARD_OUTPUT:
        echo(json.dumps(summary))
    elif out != STANDARD_OUTPUT:
        echo(sentence, err=True)
