"""Options and streaming that `predict` and `embed` share: they pass new rows through a run, block by block."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from deepmix.cli.output import STANDARD_OUTPUT, STANDARD_OUTPUT as STANDARD_INPUT
from deepmix.errors import UsageError
from deepmix.experiment import MAX_SEED, format_of

if TYPE_CHECKING:  # importing these would import torch, and --help must not wait for that
    import numpy as np
    import pandas as pd

    from deepmix.data import BlockShare
    from deepmix.inference import ConsensusRun, LoadedRun
    from deepmix.maths import Array, Inference

Command = TypeVar("Command", bound=Callable[..., Any])


RUN = click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))


DEVICE = click.option("--device", default="auto", help="cpu, cuda, ... or auto.  [default: auto]")


OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")


SEED = click.option("--seed", type=click.IntRange(0, MAX_SEED), default=0, show_default=True)


LABELS = click.option(
    "--label-column", help="Column of labels to leave out, by name or number.  [default: as in training]"
)


def rows_in(command: Command) -> Command:
    """Add the arguments RUN and DATA, and the options that `predict` and `embed` share, to a command."""
    data = click.argument("data", metavar="DATA", type=click.Path(path_type=Path))
    out = click.option(
        "-o", "--out", type=click.Path(path_type=Path), default=STANDARD_OUTPUT,
        help="A .csv, .parquet or .npz file, or - for CSV on standard output.  [default: -]",
    )  # fmt: skip
    json_ = click.option("--json", "as_json", is_flag=True, help="Print lines of JSON; with --out, a summary.")
    decorators: tuple[Any, ...] = (json_, DEVICE, LABELS, OVERWRITE, out, data, RUN)
    for decorate in decorators:
        command = decorate(command)
    return command


@dataclass(frozen=True)
class Block:
    """Some of the new rows, with what the model infers about them."""

    first: int
    """Number of the block's first row in the data, from 0."""
    inference: Inference
    names: Array | None
    """Names of the rows, where they have any."""
    notes: tuple[str, ...] = ()
    """What the user should know about the rows, in words."""


def inferences(
    run: LoadedRun | ConsensusRun,
    data: Path,
    label_column: str | None,
    share: BlockShare,
    id_column: str | None = None,
    *,
    flag_strange: bool = False,
) -> Iterator[Block]:
    """Yield the model's inference on the rows of a file, block by block; a file without rows yields one empty block.

    A file that a plugin reads is one block.

    Args:
        run: the run.
        data: the file, or - for CSV on standard input.
        label_column: the column of labels, which is left out; None: as in training.
        share: the blocks of the file that this process takes.
        id_column: a column that names the rows, which is left out; None: as in training.
        flag_strange: whether a row that the model has no finite answer for is flagged by its bound, not refused.

    """
    import numpy as np

    from deepmix.data import block_rows, open_blocks

    label_column = run.config.label_column if label_column is None else label_column
    text = io.TextIOWrapper(sys.stdin.buffer, "utf-8-sig", newline="") if data == STANDARD_INPUT else None
    with contextlib.ExitStack() as stack:
        name = Path("standard input") if text is not None else data
        if run.schema is not None:
            frames = _frames(run, stack, name, text, label_column, id_column, share)
            yield from _table_inferences(run, frames, name, id_column, flag_strange=flag_strange)
            return
        if id_column is not None:
            raise UsageError("the run was trained on an array, whose rows have no names; leave out --id-column")
        if text is None and format_of(name.name) is not None:
            if not share.has(0):
                return
            rows = run.read_format(name, label_column)
            for first, x, names in rows.blocks(block_rows(run.n_columns)):
                prepared = run.prepare(x, rows.columns, first)
                yield Block(first, run.infer(prepared, first, flag_strange=flag_strange), names)
            return
        is_empty = True
        blocks = open_blocks(stack, name, run.n_columns, label_column, text, share)
        for first_row, x in blocks.numbered:
            inference = run.infer(run.prepare(x, blocks.columns, first_row), first_row, flag_strange=flag_strange)
            yield Block(first_row, inference, None)
            is_empty = False
        if is_empty and share.has(0):
            yield Block(0, run.infer(run.prepare(np.zeros((0, run.n_columns)))), None)


def _frames(
    run: LoadedRun | ConsensusRun,
    stack: contextlib.ExitStack,
    name: Path,
    text: IO[str] | None,
    label_column: str | None,
    id_column: str | None,
    share: BlockShare,
) -> Iterator[pd.DataFrame]:
    """Yield a file's rows as tables, block by block."""
    from deepmix.data import block_rows, is_table_file, open_blocks, open_frames

    assert run.schema is not None
    if text is None and format_of(name.name) is not None:
        if not share.has(0):
            return
        rows = run.read_format(name, label_column)
        for first_row, x, _ in rows.blocks(block_rows(run.n_columns)):
            yield _numbered(x if hasattr(x, "iloc") else run.as_frame(x, rows.columns), first_row)
        return
    if text is None and not is_table_file(name):
        blocks = open_blocks(stack, name, run.n_columns, label_column, share=share)
        yield from (_numbered(run.as_frame(x, blocks.columns), first_row) for first_row, x in blocks.numbered)
        return
    names = [column.name for column in run.schema.columns]
    as_text = list(run.schema.text_columns)
    if id_column is not None:
        names, as_text = [*names, id_column], [*as_text, id_column]
    marks = run.schema.missing_marks
    yield from open_frames(stack, name, marks, text, names=names, text_columns=as_text, share=share)


def _numbered(frame: pd.DataFrame, first_row: int) -> pd.DataFrame:
    """Return a frame that says what number its first row has in the data, as those of `open_frames` do."""
    frame.attrs["first_row"] = first_row
    return frame


def _table_inferences(
    run: LoadedRun | ConsensusRun,
    frames: Iterator[pd.DataFrame],
    name: Path,
    id_column: str | None,
    *,
    flag_strange: bool,
) -> Iterator[Block]:
    """Yield the inference of a table's rows."""
    from deepmix.data import first_row

    assert run.schema is not None
    for frame in frames:
        if id_column is not None and id_column not in frame:
            raise UsageError(f"there is no column '{id_column}' in '{name}'; the columns are: {', '.join(frame)}")
        start = first_row(frame)
        rows, notes = run.encode(frame, start)
        row_names = run.schema.row_names(frame) if id_column is None else frame[id_column].fillna("").to_numpy(str)
        yield Block(start, run.infer(rows, start, flag_strange=flag_strange), row_names, notes)


def entropy(inference: Inference) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the entropy of q(y|x) in nats, (N,)."""
    import numpy as np

    log_q_NK = inference.log_q_NK.astype(np.float64)
    q_NK = np.exp(log_q_NK)
    return np.asarray(-np.where(q_NK > 0.0, q_NK * np.where(q_NK > 0.0, log_q_NK, 0.0), 0.0).sum(axis=1)).clip(0.0)
