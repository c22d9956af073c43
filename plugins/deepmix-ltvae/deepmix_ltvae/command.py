"""The command `deepmix facets`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="The .csv file to write.")
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")
@click.option("--device", default="auto", help="cpu, cuda, ... or auto.  [default: auto]")
def facets(run: Path, out: Path, overwrite: bool, device: str) -> None:
    """Write the partitions of a run's rows by the facets of its latent tree.

    RUN is the folder of a finished run with the prior latent-tree, as the model ltvae has. Writes each row's number,
    and for each facet its most probable state and that state's probability. Facet 0 is that of the clusters.
    """
    import pandas as pd
    import torch

    from deepmix import load
    from deepmix.data import write_atomically
    from deepmix.errors import UsageError

    from .prior import LatentTreePrior

    if out.exists() and not overwrite:
        raise UsageError(f"'{out}' exists; choose another name, or add --overwrite")
    fitted = load(run, device).run_
    prior = getattr(fitted.model, "prior", None)
    if not isinstance(prior, LatentTreePrior):
        raise UsageError(f"the run '{run}' has no latent tree; train one with --model ltvae or --prior latent-tree")
    split = fitted.training_data()
    latent_NM = fitted.infer(split.take(slice(None))).latent_NM
    with torch.no_grad():
        log_NFS = prior.log_facets(torch.from_numpy(latent_NM).to(prior.mean_SM.device)).cpu()
    table: dict[str, Any] = {"row": range(1, len(latent_NM) + 1)}
    for facet in prior.used_facets():
        probability_N, state_N = log_NFS[:, facet].exp().max(1)
        table |= {f"facet{facet}": state_N, f"facet{facet}_probability": probability_N.double().numpy().round(6)}
        click.echo(prior.describe(facet))
    write_atomically(out, pd.DataFrame(table).to_csv(index=False).encode())
    click.echo(f"{len(latent_NM):,} rows: {out}")
