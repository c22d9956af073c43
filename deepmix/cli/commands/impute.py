"""`deepmix impute`: a table's missing cells, filled by a run's model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deepmix.cli.output import STANDARD_OUTPUT, Table, check_out, frame_table, report, write_tables
from deepmix.cli.streaming import DEVICE, OVERWRITE, RUN, SEED
from deepmix.cli.terminal import echo

if TYPE_CHECKING:  # importing it takes a second, and --help must not wait for that
    import pandas as pd

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
    columns do not change. A file too large for memory is filled block by block.
    """
    from deepmix.data import SplitOptions, count_values, open_frames, read_frame
    from deepmix.errors import UsageError
    from deepmix.inference import open_run

    check_out(out, KINDS, overwrite=overwrite)
    run = open_run(folder, device)
    if run.schema is None:
        raise UsageError("the run was trained on an array without missing values; train on a table to impute")
    names = [column.name for column in run.schema.columns]
    marks, as_text = run.schema.missing_marks, run.schema.text_columns
    n_filled, notes = 0, dict[str, None]()

    def tables(frames: Iterable[pd.DataFrame]) -> Iterator[Table]:
        nonlocal n_filled
        for frame in frames:
            imputation = run.impute(frame, interval=interval, seed=seed)
            notes.update(dict.fromkeys(imputation.notes))
            n_filled += imputation.n_filled
            table = dict(frame_table(imputation.frame))
            for suffix, ends in (("low", imputation.low), ("high", imputation.high)):
                if ends is not None:
                    table |= {f"{name}_{suffix}": column for name, column in frame_table(ends).items()}
            yield table

    with ExitStack() as stack:
        frames: Iterable[pd.DataFrame]
        if SplitOptions().stays_on_disk(count_values(data)):
            frames = open_frames(stack, data, marks, names=names, text_columns=as_text)
        else:
            frames = [read_frame(data, marks, names=names, text_columns=as_text)]
        n_rows = write_tables(out, tables(frames), as_json=as_json)
    for note in notes:
        echo(f"Note: {note}", err=True)
    summary = {"rows": n_rows, "filled": n_filled, "out": str(out)}
    report(summary, f"{n_filled:,} cells of {n_rows:,} rows filled: {out}", out, as_json=as_json)
