"""The pictures that commands draw."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from deepmix.maths import Array

PIXEL = 4
"""Dots per pixel of a generated image, in each direction."""


DOTS = 100
"""Dots per inch."""


GAP = 1
"""Pixels between images."""


def draw_images(images: Array, components: tuple[int, ...], limits: tuple[float, float], path: Path) -> None:
    """Draw images (components, n, height, width[, channels]), one line per component; a single one fills a square."""
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


def draw_comparison(rows: list[dict[str, Any]], metric: str, path: Path) -> None:
    """Draw the seeds' scores and, beside them, the differences from the first with their intervals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [f"{row['run']}\n{row['head']}" for row in rows]
    figure, (left, right) = pyplot.subplots(
        1, 2, sharey=True, figsize=(10, 1.4 + 0.6 * len(rows)), layout="constrained", width_ratios=(3, 2)
    )
    for place, row in enumerate(rows):
        values = row[metric]["values"]
        left.plot(values, [place] * len(values), "o", color="#0072b2", alpha=0.5)
        left.plot(row[metric]["mean"], place, "|", color="black", markersize=20, markeredgewidth=2)
        if "difference" in row:
            gap = row["difference"]
            if gap["low"] is not None:
                right.plot((gap["low"], gap["high"]), (place, place), color="#0072b2", linewidth=2)
            right.plot(gap["mean"], place, "|", color="black", markersize=14, markeredgewidth=2)
    right.axvline(0.0, color="gray", linewidth=0.8)
    left.set_yticks(range(len(rows)), names, fontsize=8)
    left.invert_yaxis()
    left.margins(y=0.3)
    left.set_xlabel(f"{metric}, test rows: seeds and mean")
    right.set_xlabel("minus the first, 95 % interval")
    figure.savefig(path, format="png", dpi=120)
    pyplot.close(figure)
