"""The command `deepmix anndata-write`."""

from __future__ import annotations

from pathlib import Path

import click

BLOCK_CELLS = 4096
"""Cells that are read together."""


@click.command("anndata-write")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--head", help="Head whose clusters are written.  [default: the run's first]")
@click.option("--key", default="deepmix", show_default=True, help="Name of the new column of obs.")
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
@click.option("--device", default="auto", help="cpu, cuda, ... or auto.  [default: auto]")
def anndata_write(
    run: Path, source: Path, target: Path, head: str | None, key: str, overwrite: bool, device: str
) -> None:
    """Write the clusters and latents of the cells of an .h5ad file into a copy of it.

    RUN is a finished run's folder, and IN a file with the genes that it was trained on. OUT is a copy of IN with two
    columns in obs: KEY has the clusters (missing: noise), and KEY_probability the largest q(y|x). X_KEY in obsm has the
    latents.
    """
    import numpy as np

    from deepmix import load
    from deepmix.errors import UsageError

    from .writing import write_results

    if target.exists() and not overwrite:
        raise UsageError(f"'{target}' exists; choose another name, or add --overwrite")
    if target.resolve() == source.resolve():
        raise UsageError(f"'{target}' is the file that is read; choose another name")
    fitted = load(run, device).run_
    rows = fitted.read_format(source, None)
    clusters, probabilities, latents = [], [], []
    for first, x, _ in rows.blocks(BLOCK_CELLS):
        inference = fitted.infer(fitted.prepare(x, rows.columns, first), first)
        clusters.append(fitted.clusters(inference, head))
        probabilities.append(np.exp(inference.log_q_NK.max(axis=1).astype(np.float64)))
        latents.append(inference.latent_NM.astype(np.float32))
    cluster_N = np.concatenate(clusters)
    write_results(
        source,
        target,
        {key: cluster_N, f"{key}_probability": np.concatenate(probabilities)},
        {f"X_{key}": np.concatenate(latents)},
    )
    n_clusters = len(np.unique(cluster_N[cluster_N >= 0]))
    click.echo(f"{len(cluster_N):,} cells in {n_clusters} clusters: {target}")
