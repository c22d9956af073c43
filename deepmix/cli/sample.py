"""`deepmix sample`: rows that a run generates."""

from __future__ import annotations

import json
import math
from pathlib import Path

import click
import numpy as np

from deepmix import loading
from deepmix.cli.output import STANDARD_OUTPUT, check_out, replacing, write_tables
from deepmix.cli.rows import DEVICE, OVERWRITE, RUN
from deepmix.errors import UsageError
from deepmix.types import Array

PIXEL = 4
"""Dots a pixel of a generated image is drawn with, each way."""
DOTS = 100
"""An inch."""
GAP = 1
"""Pixels between images."""


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
    for path, kind in ((png, ".png"), (npz, ".npz")):
        if path is not None:
            check_out(path, (kind,), overwrite=overwrite)
    run = loading.load(folder, device)
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
            _draw(x_ND.reshape(len(chosen), n_rows, *image_shape), chosen, limits, path)
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


def _image_shape(run: loading.LoadedRun, asked: str | None) -> tuple[int, ...]:
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


def _draw(images: Array, components: tuple[int, ...], limits: tuple[float, float], path: Path) -> None:
    """Draw images (components, n, height, width[, channels]), a line each; one component fills a square."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    n_lines, n_columns, height, width, *channels = images.shape
    if n_lines == 1:
        n_images, n_columns = n_columns, math.ceil(math.sqrt(n_columns))
        n_lines = math.ceil(n_images / n_columns)
        padded = np.full((n_lines * n_columns, *images.shape[2:]), limits[1], images.dtype)
        padded[:n_images] = images[0]
        images = padded.reshape(n_lines, n_columns, *images.shape[2:])
    down, across = height + GAP, width + GAP
    mosaic = np.full((n_lines * down - GAP, n_columns * across - GAP, *channels), limits[1], np.float64)
    for line in range(n_lines):
        for column in range(n_columns):
            mosaic[line * down :, column * across :][:height, :width] = images[line, column]
    mosaic = ((mosaic - limits[0]) / max(limits[1] - limits[0], np.finfo(np.float64).tiny)).clip(0.0, 1.0)
    one = len(components) == 1
    left, below, above = (0.1 if one else 0.4), 0.1, (0.3 if one else 0.1)  # inches
    across_inches, down_inches = (size * PIXEL / DOTS for size in (mosaic.shape[1], mosaic.shape[0]))
    size = (left + across_inches + 0.1, below + down_inches + above)
    figure = pyplot.figure(figsize=size, dpi=DOTS)
    axes = figure.add_axes((left / size[0], below / size[1], across_inches / size[0], down_inches / size[1]))
    axes.imshow(mosaic, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest", aspect="auto")
    axes.set_xticks([])
    axes.set_yticks([] if one else [line * down + height / 2 - 0.5 for line in range(n_lines)])
    if one:
        axes.set_title(f"component {components[0]}", fontsize=9)
    else:
        axes.set_yticklabels([str(k) for k in components])
        axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.savefig(path, format="png")
    pyplot.close(figure)
