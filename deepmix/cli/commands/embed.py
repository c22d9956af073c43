"""`deepmix embed`: latents of new rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deepmix import training
from deepmix.cli.divided import Piece, share_of, write_pieces
from deepmix.cli.output import KINDS, check_out, report
from deepmix.cli.streaming import inferences, rows_in

if TYPE_CHECKING:  # importing these would import torch, and --help must not wait for that
    from deepmix.data import BlockShare
    from deepmix.inference import LoadedRun


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

    whole = out.suffix.lower() == ".npz"

    def pieces(run: LoadedRun, share: BlockShare) -> Iterator[Piece]:
        for block in inferences(run, data, label_column, share):
            z_NM = block.inference.latent_NM
            table: dict[str, Any] = {"row": np.arange(block.first + 1, block.first + 1 + len(z_NM))}
            if block.names is not None:
                table["name"] = np.array(block.names, dtype=object)
            table |= {"z": z_NM} if whole else {f"z{i + 1}": z_NM[:, i] for i in range(z_NM.shape[1])}
            yield Piece(block.first, table, block.notes)

    with training.joined_ranks() as ranks:
        share = share_of(ranks, data)
        if ranks.is_first:
            check_out(out, KINDS, overwrite=overwrite)
        run = open_run(folder, str(training.choose_device(device, ranks)))
        n_rows = write_pieces(out, pieces(run, share), ranks, as_json=as_json)
    if n_rows is None:
        return
    summary = {"rows": n_rows, "latent_dim": run.model.latent_dim, "out": str(out)}
    report(summary, f"{n_rows:,} rows, {run.model.latent_dim} latent dimensions: {out}", out, as_json=as_json)
