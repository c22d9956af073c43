"""`deepmix embed`: latents of new rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from deepmix.cli.output import KINDS, Table, check_out, report, write_tables
from deepmix.cli.streaming import inferences, rows_in


@click.command()
@rows_in
def embed(
    folder: Path, data: Path, out: Path, overwrite: bool, label_column: str | None, device: str, as_json: bool
) -> None:
    """Give each row of DATA its latent: the posterior mean of its most probable component.

    RUN is a finished run's folder; DATA is as for predict. Writes each row's number and the columns z1, z2, ...; a .npz
    file has one array z instead.
    """
    import numpy as np

    from deepmix.inference import open_run

    check_out(out, KINDS, overwrite=overwrite)
    run = open_run(folder, device)
    whole = out.suffix.lower() == ".npz"

    def tables() -> Iterator[Table]:
        for block in inferences(run, data, label_column):
            z_NM = block.inference.latent_NM
            table: dict[str, Any] = {"row": np.arange(block.first + 1, block.first + 1 + len(z_NM))}
            if block.names is not None:
                table["name"] = np.array(block.names, dtype=object)
            table |= {"z": z_NM} if whole else {f"z{i + 1}": z_NM[:, i] for i in range(z_NM.shape[1])}
            yield table

    n_rows = write_tables(out, tables(), as_json=as_json)
    summary = {"rows": n_rows, "latent_dim": run.model.latent_dim, "out": str(out)}
    report(summary, f"{n_rows:,} rows, {run.model.latent_dim} latent dimensions: {out}", out, as_json=as_json)
