"""`deepmix impute`: a table's missing cells, filled by a run's model."""

from __future__ import annotations

from pathlib import Path

import click

from deepmix.cli.output import STANDARD_OUTPUT, check_out, frame_table, report, write_tables
from deepmix.cli.streaming import DEVICE, OVERWRITE, RUN, SEED
from deepmix.cli.terminal import echo

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
    columns do not change.
    """
    from deepmix.data import read_frame
    from deepmix.errors import UsageError
    from deepmix.inference import open_run

    check_out(out, KINDS, overwrite=overwrite)
    run = open_run(folder, device)
    if run.schema is None:
        raise UsageError("the run was trained on an array without missing values; train on a table to impute")
    names = [column.name for column in run.schema.columns]
    frame = read_frame(data, run.schema.missing_marks, names=names, text_columns=run.schema.text_columns)
    imputation = run.impute(frame, interval=interval, seed=seed)
    for note in imputation.notes:
        echo(f"Note: {note}", err=True)
    table = dict(frame_table(imputation.frame))
    for suffix, ends in (("low", imputation.low), ("high", imputation.high)):
        if ends is not None:
            table |= {f"{name}_{suffix}": column for name, column in frame_table(ends).items()}
    write_tables(out, [table], as_json=as_json)
    summary = {"rows": len(frame), "filled": imputation.n_filled, "out": str(out)}
    report(summary, f"{imputation.n_filled:,} cells of {len(frame):,} rows filled: {out}", out, as_json=as_json)
