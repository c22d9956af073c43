"""`deepmix impute`: a table's missing cells, filled by a run's model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deepmix import training
from deepmix.cli.divided import Piece, share_of, write_pieces
from deepmix.cli.output import STANDARD_OUTPUT, check_out, frame_table, report
from deepmix.cli.streaming import DEVICE, OVERWRITE, RUN, SEED

if TYPE_CHECKING:  # importing these takes seconds, and --help must not wait for that
    import pandas as pd

    from deepmix.data import BlockShare
    from deepmix.inference import LoadedRun
    from deepmix.training import Ranks

KINDS = (".csv", ".parquet")


@click.command()
@RUN
@click.argument("data", metavar="DATA", type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), default=STANDARD_OUTPUT,
    help="A .csv or .parquet file, or - for CSV on standard output.  [default: -]",
)  # fmt: skip
@click.option(
    "--interval", type=float, metavar="PROBABILITY",
    help="Add columns NAME_low and NAME_high: where each filled number lies with this probability, such as 0.9.",
)  # fmt: skip
@SEED
@DEVICE
@OVERWRITE
@click.option("--json", "as_json", is_flag=True, help="Print lines of JSON; with --out, a summary.")
def impute(
    folder: Path,
    data: Path,
    out: Path,
    interval: float | None,
    seed: int,
    device: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Fill the missing cells of DATA, a table with the columns that the run was trained on.

    Numbers are filled with their mean given the rest of the row, levels with the most probable one. Other cells and
    columns do not change. A file too large for memory is filled block by block. Processes that torchrun starts
    share the rows.
    """
    from deepmix.data import SplitOptions, count_values, first_row, open_frames, read_frame
    from deepmix.errors import UsageError
    from deepmix.inference import open_run

    n_filled = 0

    def pieces(run: LoadedRun, share: BlockShare, ranks: Ranks) -> Iterator[Piece]:
        assert run.schema is not None
        names = [column.name for column in run.schema.columns]
        marks, as_text = run.schema.missing_marks, run.schema.text_columns
        with ExitStack() as stack:
            frames: Iterable[pd.DataFrame]
            is_large = SplitOptions().stays_on_disk(count_values(data))
            if is_large:
                frames = open_frames(stack, data, marks, names=names, text_columns=as_text, share=share)
            else:
                frames = [read_frame(data, marks, names=names, text_columns=as_text)]
            for frame in frames:
                imputation = run.impute(
                    frame, interval=interval, seed=seed, ranks=training.ALONE if is_large else ranks
                )
                table = dict(frame_table(imputation.frame))
                for suffix, ends in (("low", imputation.low), ("high", imputation.high)):
                    if ends is not None:
                        table |= {f"{name}_{suffix}": column for name, column in frame_table(ends).items()}
                if is_large or ranks.is_first:
                    yield Piece(first_row(frame), table, imputation.notes, imputation.n_filled)

    def count(piece: Piece) -> None:
        nonlocal n_filled
        n_filled += piece.n_filled

    with training.joined_ranks() as ranks:
        share = share_of(ranks, data)
        if ranks.is_first:
            check_out(out, KINDS, overwrite=overwrite)
        run = open_run(folder, str(training.choose_device(device, ranks)))
        if run.schema is None:
            raise UsageError("the run was trained on an array without missing values; train on a table to impute")
        n_rows = write_pieces(out, pieces(run, share, ranks), ranks, as_json=as_json, watch=count)
    if n_rows is None:
        return
    summary = {"rows": n_rows, "filled": n_filled, "out": str(out)}
    report(summary, f"{n_filled:,} cells of {n_rows:,} rows filled: {out}", out, as_json=as_json)
