"""Writing the report.html of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from deepmix import runs
from deepmix.contracts import Model
from deepmix.data import Split, write_atomically
from deepmix.maths import Array, Inference
from deepmix.metrics import bound_quantiles, outlier_scores
from deepmix.models import ClusterLatents, generate_means
from deepmix.report import (
    clusters as clusters_part,
    curves,
    how_many,
    looks,
    rivals,
    sections,
    strange_rows,
    table_cards,
    used_columns,
)
from deepmix.report.analysis import label_text
from deepmix.report.cluster_table import cluster_table
from deepmix.report.html.page import page
from deepmix.report.material import SHOWN, Material
from deepmix.report.plugin_sections import plugin_sections

FEWEST_PIXELS = 16
"""Rows with fewer columns are not taken for images, whatever their type."""


@contextmanager
def forgiven(note: Callable[[str], None], path: Path) -> Iterator[None]:
    """Turn any failure inside into a note, so that a finished run is not lost because its report failed."""
    try:
        yield
    except Exception as error:
        note(
            f"Warning: report.html could not be written ({type(error).__name__}: {error}); the rest of the run is "
            f"complete. Try: deepmix report {path}"
        )


def write_report(
    folder: runs.RunFolder,
    split: Split,
    model: Model,
    inferences: Mapping[str, Inference],
    clusters: Mapping[str, Array],
    *,
    with_umap: bool = False,
) -> None:
    """Write a finished run's report.html and, for a table, its clusters.csv.

    Args:
        folder: the run's folder, which holds everything but the report.
        split: the data that the run was trained on.
        model: the trained model.
        inferences: the model's inference on the training and the test rows, by side.
        clusters: the clusters of the run's first head, by side.
        with_umap: also draw the latent map by UMAP.

    Raises:
        DeepmixError: a file of the run is missing or damaged.

    """
    material = collect(folder, split, model, inferences, clusters, with_umap=with_umap)
    document = render(material).encode()
    if material.profiles is not None:
        write_atomically(folder.path / runs.CLUSTERS, cluster_table(material))
    write_atomically(folder.path / runs.REPORT, document)


def collect(
    folder: runs.RunFolder,
    split: Split,
    model: Model,
    inferences: Mapping[str, Inference],
    clusters: Mapping[str, Array],
    *,
    with_umap: bool = False,
) -> Material:
    """Return the material for a run's report; the arguments are those of `write_report`."""
    order = np.argsort(np.concatenate([split.train, split.test]))

    def joined(parts: Mapping[str, Array]) -> Array:
        return np.concatenate([parts["train"], parts["test"]])[order]

    config = folder.read(runs.RunConfig)
    shape = image_shape(split, from_file="data" not in config.parts)
    latents = cluster_latents(folder)
    return Material(
        folder=str(folder.path),
        config=config,
        metrics=folder.read(runs.Metrics),
        epochs=folder.read_epochs(),
        x_ND=split.x,
        label_N=None if split.labels is None else np.array([label_text(label) for label in split.labels]),
        test_N=np.isin(np.arange(len(order)), split.test),
        cluster_N=joined(clusters),
        latent_NM=joined({side: inference.latent_NM for side, inference in inferences.items()}),
        log_q_NK=joined({side: inference.log_q_NK for side, inference in inferences.items()}),
        generate=None if shape is None else _Generator(model, latents, config.requested.seed),
        generates_from_rows=latents is not None,
        undo=split.preparation.undo,
        columns=split.preparation.columns,
        image_shape=shape,
        with_umap=with_umap,
        known_N=split.known,
        schema=split.schema,
        frame=None if split.schema is None or split.cells is None else split.schema.frame(split.cells),
        weight_N=split.weights,
        row_names=split.row_names,
        outlier_N=_outlier_scores(inferences, order),
    )


def cluster_latents(folder: runs.RunStore) -> ClusterLatents | None:
    """Return the latents of each component's rows that a run stored; None where it generates from p(z|y)."""
    tensors, _ = folder.read_weights(runs.InferenceHeader)
    return ClusterLatents.from_arrays({name: tensor.numpy() for name, tensor in tensors.items()})


def _outlier_scores(inferences: Mapping[str, Inference], order: Array) -> Array | None:
    """Return the rows' outlier scores in the data's order; None where bounds were not computed."""
    bounds = [inferences[side].bound_N for side in ("train", "test")]
    if bounds[0] is None or bounds[1] is None:
        return None
    return outlier_scores(np.concatenate([bounds[0], bounds[1]])[order], bound_quantiles(bounds[0]))


def render(material: Material) -> str:
    """Return a run's report as an HTML document."""
    parts = (
        sections.cautions(material),
        sections.results(material),
        how_many.how_many(material),
        rivals.plain_methods(material),
        clusters_part.sizes(material),
        looks.looks(material) if material.profiles is None else table_cards.table_looks(material),
        clusters_part.latent_map(material),
        clusters_part.confusion(material),
        clusters_part.certainty(material),
        strange_rows.strange_rows(material),
        used_columns.used_columns(material),
        rivals.initial_choice(material),
        curves.training({"this run": material.epochs}, is_mixture=material.is_mixture),
        *plugin_sections(material),
        sections.again(material),
    )
    title = f"{material.data}: {sections.cluster_count(material)} by {material.config.requested.model}"
    return page(title, sections.lead(material), [part for part in parts if part is not None])


def image_shape(split: Split, *, from_file: bool) -> tuple[int, ...] | None:
    """Return the shape of the rows if they are images, else None.

    They are images if the data's image shape is known and has 1 or 3 colours. Flat rows without column names are taken
    for square images if they were bytes, or if they belong to a named data set and lie in 0..1.
    """
    if not isinstance(split.x, np.ndarray):
        return None
    if split.image_shape is not None:
        return split.image_shape if split.image_shape[2] in (1, 3) else None
    side = math.isqrt(split.x.shape[1])
    known = split.preparation.scale == "bytes" or (not from_file and split.likelihood == "bernoulli")
    square = side * side == split.x.shape[1] >= FEWEST_PIXELS
    return (side, side) if known and square and split.preparation.columns is None else None


class _Generator:
    """A function that draws a few rows of a component, the same ones each time."""

    def __init__(self, model: Model, latents: ClusterLatents | None, seed: int) -> None:
        self._model, self._latents, self._seed = model, latents, seed

    def __call__(self, component: int) -> Array:
        device = next(self._model.parameters()).device
        generator = torch.Generator(device).manual_seed(self._seed)
        return np.asarray(generate_means(self._model, self._latents, SHOWN, component, generator).cpu())
