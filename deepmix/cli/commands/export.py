"""`deepmix export`: a run's model for use without deepmix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import click

from deepmix.cli.output import check_out, replacing
from deepmix.cli.streaming import OVERWRITE, RUN
from deepmix.cli.terminal import echo


@click.command()
@RUN
@click.option("--format", "kind", type=click.Choice(["onnx", "torch-export"]), required=True)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="[default: model.onnx or model.pt2 in RUN]")
@OVERWRITE
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def export(
    folder: Path, kind: Literal["onnx", "torch-export"], out: Path | None, overwrite: bool, as_json: bool
) -> None:
    """Export a run's model, which maps rows in the units of the data (float32) to log q(y|x) and latents.

    The exported model includes the scaling and takes any number of rows. It is checked against the original on random
    rows before it is kept.
    """
    from deepmix.inference import SUFFIXES, export_run, open_run

    run = open_run(folder, device="cpu")
    suffix = SUFFIXES[kind]
    out = out or folder / f"model{suffix}"
    check_out(out, (suffix,), overwrite=overwrite)
    with replacing(out) as path:
        difference = export_run(run, kind, path)
    if as_json:
        echo(json.dumps({"out": str(out), "format": kind, "largest_difference": difference}))
    else:
        echo(f"{out}: differs from the original by at most {difference:.1e} on random rows", err=True)
