"""`deepmix sample`: rows that a run generates."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deepmix.cli.output import STANDARD_OUTPUT, check_out, replacing, write_tables
from deepmix.cli.streaming import DEVICE, OVERWRITE, RUN
from deepmix.errors import UsageError

if TYPE_CHECKING:
    from deepmix.inference import LoadedRun


@click.command()
@RUN
@click.option("--component", "components", type=int, multiple=True, help="May be repeated.  [default: all]")
@click.option("-n", "n_rows", type=int, default=8, show_default=True, help="Rows of each component.")
@click.option("--png", type=click.Path(path_type=Path), help="Draw the rows, which must be images, as a grid.")
@click.option("--npz", type=click.Path(path_type=Path), help="Write arrays x, (rows, columns), and component.")
@click.option("--minimum-posterior", type=float, default=0.0, help="Only rows of at least this q(y|x); VaDE's 0.999.")
@click.option("--shape", help="Height x width, such as 28x28, of images whose shape the run does not know.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@DEVICE
@OVERWRITE
@click.option("--json", "as_json", is_flag=True, help="Print lines of JSON; with --png or --npz, a summary.")
def sample(
    folder: Path,
    components: tuple[int, ...],
    n_rows: int,
    png: Path | None,
    npz: Path | None,
    minimum_posterior: float,
    shape: str | None,
    seed: int,
    device: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Generate rows of a run's components: means of p(x|z) at z drawn from p(z|y), in the units of the data.

    Without --png and --npz the rows go to standard output as CSV. A grid of several components has a line each.
    """
    import numpy as np

    from deepmix.cli.pictures import draw_images
    from deepmix.inference import open_run

    for path, kind in ((png, ".png"), (npz, ".npz")):
        if path is not None:
            check_out(path, (kind,), overwrite=overwrite)
    run = open_run(folder, device)
    image_shape = _image_shape(run, shape) if png is not None else ()
    chosen = components or tuple(range(run.model.n_components))
    drawn = [run.sample(n_rows, k, seed=seed, minimum_posterior=minimum_posterior) for k in chosen]
    x_ND, component = np.concatenate(drawn), np.repeat(chosen, n_rows)
    if npz is not None:
        with replacing(npz) as path, path.open("wb") as file:
            np.savez(file, x=x_ND, component=component)
    if png is not None:
        with replacing(png) as path:
            low, high = run.preparation.undo(np.stack([np.zeros_like(x_ND[0]), np.ones_like(x_ND[0])]))
            limits = (low.min(), high.max()) if run.likelihood == "bernoulli" else (x_ND.min(), x_ND.max())
            draw_images(x_ND.reshape(len(chosen), n_rows, *image_shape), chosen, limits, path)
    files = [str(path) for path in (png, npz) if path is not None]
    if not files:
        names = run.preparation.columns or [f"x{i + 1}" for i in range(run.n_features)]
        table = {"component": component}
        for name, column in zip(map(str, names), x_ND.T, strict=True):
            while name in table:  # columns may be of one name, or called as ours is
                name += "_"
            table[name] = column
        write_tables(STANDARD_OUTPUT, [table], as_json=as_json)
    elif as_json:
        click.echo(json.dumps({"rows": len(x_ND), "components": chosen, "seed": seed, "out": files}))
    else:
        click.echo(f"{n_rows} rows of each of {len(chosen)} component(s): {', '.join(files)}", err=True)


def _image_shape(run: LoadedRun, asked: str | None) -> tuple[int, ...]:
    """Return height and width, and channels where there are 3 or 4."""
    if asked is None:
        known = run.image_shape
        if known is None:
            raise UsageError(
                f"the run does not know its rows of {run.n_features} columns as images; "
                "give their --shape, such as 28x28, or use --npz"
            )
        shape: tuple[int, ...] = known
    else:
        parts = asked.lower().split("x")
        shape = tuple(int(part) for part in parts if part.isdigit())
        if len(shape) != len(parts) or len(shape) not in (2, 3) or math.prod(shape) != run.n_features:
            raise UsageError(f"--shape {asked} is no image of {run.n_features} values; give height x width")
    if len(shape) == 3 and shape[2] == 1:
        shape = shape[:2]
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (3, 4)):
        raise UsageError(f"rows of shape {shape} can't be drawn; images have 1, 3 or 4 channels, the last axis")
    return shape
