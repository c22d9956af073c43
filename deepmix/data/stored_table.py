"""Tables of any length: encoded once, block by block, into arrays of a cache folder, where training reads them."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepmix.data.arrange import split_rows, unlabelled_note
from deepmix.data.arrange_table import TABLE_LIKELIHOOD, encode_table
from deepmix.data.block_share import ONE_READER, Readers
from deepmix.data.checks import check_labels
from deepmix.data.frame_arrays import frame_labels, label_position
from deepmix.data.frames import open_frames
from deepmix.data.numpy_files import NUMBERS, read_header
from deepmix.data.preparation import Preparation
from deepmix.data.row_set import RowSet
from deepmix.data.schema import TableSchema
from deepmix.data.schema_inference import infer_schema
from deepmix.data.split import Split
from deepmix.data.split_options import SplitOptions
from deepmix.data.stored_rows import StoredArray
from deepmix.data.stored_texts import StoredTexts, TextsWriter, has_texts
from deepmix.data.table_file import LabelColumn
from deepmix.data.table_options import TableOptions
from deepmix.data.whole_files import naming_file
from deepmix.errors import DeepmixError, UsageError, option
from deepmix.maths import Array

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_ROWS = 50_000
"""Training rows that a schema and its statistics come from at most."""

PARTS = ("x", "cells", "flags", "conditions")
"""The arrays of a `RowSet` that lie in files of their own."""

WRITTEN = b"with the names of rows"
"""Changes when other files are written for a table, so that those of earlier versions are not taken for them."""


@dataclasses.dataclass(frozen=True)
class _Survey:
    """What a first look at a table's rows finds."""

    n_rows: int
    labels: Array | None
    label_column: str | None
    text_columns: tuple[str, ...]
    """Columns that hold text in some blocks, so that all of them are read as text."""
    notes: tuple[str, ...]


def arrange_stored_table(
    path: Path,
    options: SplitOptions,
    table: TableOptions,
    label_column: str | None,
    readers: Readers = ONE_READER,
) -> Split:
    """Return a table's rows as they stay on disk, encoded, in the cache folder.

    The file is read twice, and a third time if its encoded rows are not in the cache: for the number of rows and the
    labels, for a sample of training rows that the schema comes from, and to encode all rows.

    Args:
        path: the file, or a folder of Parquet files.
        options: the split, and where the cache is.
        table: what the user says about columns.
        label_column: the column of labels, by name or number.
        readers: the processes that load the table; on each machine, the first one encodes it for all.

    Raises:
        UsageError: the table can't be used.
        DeepmixError: it is damaged, or the cache can't be written.

    """
    survey = _survey(path, table, label_column)
    if survey.n_rows < 2:
        raise UsageError(f"'{path.name}' has {survey.n_rows} row(s); at least 2 are needed")
    train, test = split_rows(survey.n_rows, None, options, compact=True)
    labels, known, notes = None, None, list(survey.notes)
    if survey.labels is not None:
        labels, known = check_labels(survey.labels, survey.n_rows)
        notes += [] if known is None else [unlabelled_note(known)]
    random = np.random.default_rng(options.split_seed)
    sampled_rows = train[np.sort(random.choice(len(train), min(SCHEMA_ROWS, len(train)), replace=False))]
    sample = _rows_at(path, table, survey, sampled_rows)
    schema = infer_schema(sample, np.arange(len(sample)), table, survey.label_column)
    if not schema.modelled:
        raise UsageError(f"'{path.name}' has no column to tell clusters apart by; see: deepmix inspect")
    if len(sampled_rows) < len(train):
        notes.append(f"the kinds and statistics of the columns come from a sample of {len(sampled_rows)} training rows")
    names = tuple(dict.fromkeys((*survey.text_columns, *schema.text_columns)))
    blocks = _frames(path, table, survey.label_column, names)
    parts, gaps = _encoded(_folder_for(path, schema, options), schema, blocks, survey.n_rows, readers)
    return Split(
        x=parts["x"],
        train=train,
        test=test,
        labels=labels,
        likelihood=TABLE_LIKELIHOOD,
        preprocessing=f"{len(schema.modelled)} columns, encoded once",
        warnings=tuple(notes),
        preparation=Preparation(columns=tuple(column.name for column in schema.modelled)),
        known=known,
        schema=schema,
        cells=parts["cells"],
        flags=parts.get("flags"),
        conditions=parts.get("conditions"),
        weights=parts.get("weights"),
        gaps=gaps,
        row_names=parts.get("names"),
    )


def _frames(
    path: Path, table: TableOptions, label_column: str | None, text_columns: Sequence[str]
) -> Iterator[pd.DataFrame]:
    as_text = {*table.drop, *text_columns, *(() if table.id_column is None else (table.id_column,))}
    with ExitStack() as stack:
        yield from open_frames(stack, path, table.missing, names=table.names(label_column), text_columns=tuple(as_text))


def _survey(path: Path, table: TableOptions, label_column: str | None) -> _Survey:
    """Return the number of rows, the labels, and the columns that are text in some blocks only."""
    n_rows, labels, position, notes = 0, [], None, ()
    kinds: dict[str, set[bool]] = {}
    name = label_column
    for frame in _frames(path, table, label_column, ()):
        if not n_rows:
            position = label_position(frame, LabelColumn(label_column))
            name = label_column if position is None else str(frame.columns[position])
        if position is not None:
            labels.append(frame_labels(frame, position))
        for column, values in frame.items():
            if not values.isna().all():
                kinds.setdefault(str(column), set()).add(values.dtype.kind == "O")
        n_rows += len(frame)
        notes = frame.attrs["notes"]
    mixed = tuple(column for column, are_text in kinds.items() if len(are_text) > 1)
    return _Survey(n_rows, np.concatenate(labels) if labels else None, name, mixed, tuple(notes))


def _rows_at(path: Path, table: TableOptions, survey: _Survey, numbers: Array) -> pd.DataFrame:
    """Return the rows with these ascending numbers as one frame."""
    import pandas as pd

    parts, start = [], 0
    for frame in _frames(path, table, survey.label_column, survey.text_columns):
        first, end = np.searchsorted(numbers, [start, start + len(frame)])
        parts.append(frame.iloc[numbers[first:end] - start])
        start += len(frame)
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


def _folder_for(path: Path, schema: TableSchema, options: SplitOptions) -> Path:
    """Return the folder of a table's encoded rows, whose name depends on its files and its schema."""
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        status = file.stat()
        digest.update(f"{file.resolve()}\n{status.st_size}\n{status.st_mtime_ns}\n".encode(errors="surrogatepass"))
    digest.update(WRITTEN)
    digest.update(repr(schema).encode(errors="surrogatepass"))
    if options.cache_dir:
        return Path(options.cache_dir) / digest.hexdigest()
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:
        raise DeepmixError(
            f"you have no home folder to keep encoded rows in; name a folder with {option('cache_dir', 'FOLDER')}"
        ) from error
    return home / "deepmix" / "rows" / digest.hexdigest()


def _encoded(
    folder: Path, schema: TableSchema, blocks: Iterator[pd.DataFrame], n_rows: int, readers: Readers
) -> tuple[dict[str, Any], Any]:
    """Return the arrays of a table's encoded rows by name, written now if they are not in the folder."""
    first, gaps = next(blocks), None
    rows, _ = encode_table(schema, first)
    gaps = rows.gaps
    if readers.is_first_here and not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=folder.name, dir=folder.parent))
        try:
            with naming_file(folder):
                _write(temporary, rows, schema, first, blocks, n_rows)
                if not folder.is_dir():  # another process may have been faster
                    os.replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    readers.each(np.zeros(1))  # the others wait until it is there
    parts: dict[str, Any] = {
        name: stored for name in PARTS if getattr(rows, name) is not None and (stored := _open(folder / f"{name}.npy"))
    }
    if rows.weights is not None:
        parts["weights"] = _open(folder / "weights.npy")[:].ravel().astype(np.float64)
    if has_texts(folder):
        parts["names"] = StoredTexts(folder)
    return parts, gaps


def _write(
    folder: Path, rows: RowSet, schema: TableSchema, first: pd.DataFrame, blocks: Iterator[pd.DataFrame], n_rows: int
) -> None:
    """Write the arrays and names of all rows; `first` is the first block, and `rows` are its rows encoded."""
    start, names = len(first), schema.row_names(first)
    with ExitStack() as stack:
        writer = None if names is None else TextsWriter(stack, folder)
        if writer is not None and names is not None:
            writer.add(names.tolist())
        files: dict[str, Any] = {}
        for name in (*PARTS, "weights"):
            part = getattr(rows, name)
            if part is not None:
                file = files[name] = stack.enter_context((folder / f"{name}.npy").open("wb"))
                width = part.shape[1] if part.ndim > 1 else 1
                dtype = "<f8" if name == "weights" else "<f4"
                header = {"descr": dtype, "fortran_order": False, "shape": (n_rows, width)}
                np.lib.format.write_array_header_1_0(file, header)
                file.write(part.astype(dtype).tobytes())
        for frame in blocks:
            later, _ = encode_table(schema, frame, first_row=start)
            for name, file in files.items():
                file.write(getattr(later, name).astype("<f8" if name == "weights" else "<f4").tobytes())
            if writer is not None:
                names = schema.row_names(frame)
                writer.add([""] * len(frame) if names is None else names.tolist())
            start += len(frame)


def _open(path: Path) -> StoredArray:
    """Return the rows of a file of the cache."""
    with path.open("rb") as file:
        header = read_header(file, path.stat().st_size, f"'{path.name}'", NUMBERS)
        return StoredArray(path, file.tell(), header.shape, header.dtype)
