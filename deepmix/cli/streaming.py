"""Options and streaming that `predict` and `embed` share: they pass new rows through a run, block by block."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from deepmix.cli.output import STANDARD_OUTPUT, STANDARD_OUTPUT as STANDARD_INPUT

if TYPE_CHECKING:  # importing these would import torch, and --help must not wait for that
    import numpy as np

    from deepmix.inference import LoadedRun
    from deepmix.maths import Inference

Command = TypeVar("Command", bound=Callable[..., Any])


RUN = click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))


DEVICE = click.option("--device", default="auto", help="cpu, cuda, ... or auto.  [default: auto]")


OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")


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


def inferences(run: LoadedRun, data: Path, label_column: str | None) -> Iterator[tuple[int, Inference]]:
    """Yield the number of each block's first row, from 0, and the model's inference for the block.

    A file without rows yields one empty block.
    """
    import numpy as np

    from deepmix.data import open_blocks

    label_column = run.config.label_column if label_column is None else label_column
    text = io.TextIOWrapper(sys.stdin.buffer, "utf-8-sig", newline="") if data == STANDARD_INPUT else None
    n_rows = 0
    with contextlib.ExitStack() as stack:
        name = Path("standard input") if text is not None else data
        blocks = open_blocks(stack, name, run.n_features, label_column, text)
        for x in blocks.rows:
            inference = run.infer(run.prepare(x, blocks.columns, n_rows), n_rows)
            yield n_rows, inference
            n_rows += len(inference.log_q_NK)
        if not n_rows:
            yield 0, run.infer(run.prepare(np.zeros((0, run.n_features))))


def entropy(inference: Inference) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the entropy of q(y|x) in nats, (N,)."""
    import numpy as np

    log_q_NK = inference.log_q_NK.astype(np.float64)
    q_NK = np.exp(log_q_NK)
    return np.asarray(-np.where(q_NK > 0.0, q_NK * np.where(q_NK > 0.0, log_q_NK, 0.0), 0.0).sum(axis=1)).clip(0.0)
