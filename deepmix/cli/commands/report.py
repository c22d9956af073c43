"""`deepmix report`: write a run's report.html again."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import click

from deepmix.cli.terminal import echo


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--dataset", help="Where the data that RUN was trained on are now.  [default: where they were]")
@click.option("--data-dir", help="Folder of prepared data sets.  [default: DEEPMIX_DATA, or as in training]")
@click.option("--umap", is_flag=True, help="Also draw the latent maps by UMAP; takes half a minute more.")
@click.option("--json", "as_json", is_flag=True, help="Print the path, bytes written and seconds taken as JSON.")
def report(run: Path, dataset: str | None, data_dir: str | None, umap: bool, as_json: bool) -> None:
    """Write RUN/report.html again and print its path.

    RUN is a finished run's folder, or the folder of several seeds; then each seed's report is written too.
    """
    from deepmix.report import rewrite

    started = time.perf_counter()
    data_dir = data_dir or os.environ.get("DEEPMIX_DATA")
    path = rewrite(run, with_umap=umap, dataset=dataset, data_dir=data_dir)
    if as_json:
        seconds = round(time.perf_counter() - started, 3)
        echo(json.dumps({"report": str(path), "bytes": path.stat().st_size, "seconds": seconds}))
    else:
        echo(path)
