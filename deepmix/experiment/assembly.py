"""Assembly of a model from loaded parts, and the sizes that depend on the data."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy import sparse

from deepmix.contracts import ClusteringHead, Model, source_of
from deepmix.data import CellBlock, Split, StoredRows, TableSchema, channels_first_cure, is_channels_first
from deepmix.errors import DeepmixError, UsageError, option
from deepmix.experiment.clusterer import HeadPlugin
from deepmix.experiment.config import ExperimentConfig
from deepmix.experiment.parts import LIKELIHOOD, Parts, likelihood_class, with_likelihoods
from deepmix.maths import Array, Dims, seeded_draws
from deepmix.models import Composite

LATENT_DIM = 10
"""M for data with at least this many columns (VaDE, section 4.2)."""

STARTING_ROWS = 20_000
"""Most rows of an array, or of a table on disk, that likelihoods start from."""


def n_clusters(requested: int | None, split: Split) -> int:
    """Return K: the requested number of clusters, or else the number of classes.

    Raises:
        UsageError: neither number is known, or there are fewer training rows than clusters.

    """
    number = split.n_classes if requested is None else requested
    if number is None:
        raise UsageError(
            f"the number of clusters is unknown, as there are no labels; give {option('components', 'K')}, or "
            f"{option('components', 'auto')} to choose it from the rows"
        )
    if requested is None and number < 2:
        raise UsageError(
            f"the labels have only one class; give the number of clusters with {option('components', 'K')}"
        )
    if number > len(split.train):
        if requested is None:
            raise UsageError(
                f"the labels have {number} classes for {len(split.train)} training rows; "
                f"give {option('components', 'K')}"
            )
        raise UsageError(
            f"{number} clusters can't be made of {len(split.train)} training rows; "
            f"give a smaller {option('components')}"
        )
    return number


def latent_dim(parts: Parts, n_features: int) -> int:
    """Return M: the requested number of latent dimensions, or else the default, at most the number of columns."""
    requested: int | None = parts.options["size"].latent_dim
    return min(LATENT_DIM, n_features) if requested is None else requested


def model_likelihood(parts: Parts, split: Split) -> str:
    """Return the name of the observation model in use."""
    requested = parts.plan.likelihood_name(parts.options["model"])
    if split.schema is not None:
        if requested != "auto":
            raise UsageError(
                f"a table has one likelihood per column, so {option('likelihood', requested)} does not fit; name a "
                f"column's own with {option('column', f'NAME=KIND:{requested}')}"
            )
        return split.likelihood
    if requested == "auto":
        return split.likelihood
    if requested != split.likelihood:
        _check_support(parts, requested, split.x)
    return requested


def _check_support(parts: Parts, name: str, x: Any) -> None:
    """Raise a UsageError if rows, dense, sparse or stored, have values that a likelihood does not take."""
    recorded = parts.classes.get(f"{LIKELIHOOD}{name}")
    support = (recorded or likelihood_class(name)).support
    blocks = (
        [(float(x.min()), float(x.max()), _is_whole(x))]
        if not isinstance(x, StoredRows)
        else [(float(block.min()), float(block.max()), _is_whole(block)) for _, block in x.blocks()]
    )
    low, high = min(block[0] for block in blocks), max(block[1] for block in blocks)
    valid = {
        "real": True,
        "unit": low >= 0.0 and high <= 1.0,
        "positive": low > 0.0,
        "count": low >= 0.0 and all(block[2] for block in blocks),
        "level": False,
    }
    if not valid[support]:
        words = {"unit": "data in 0..1", "positive": "data above 0", "count": "whole numbers from 0", "level": "levels"}
        raise UsageError(
            f"likelihood '{name}' needs {words[support]} but these data range from {low:g} to {high:g}; "
            "leave likelihood at auto, or scale the data"
        )


def _is_whole(x: Any) -> bool:
    """Whether all values of rows, dense or sparse, are whole numbers."""
    return not np.mod(getattr(x, "data", x), 1.0).any()


def check_images(parts: Parts, split: Split) -> None:
    """Raise a UsageError if a part needs images and the rows are not images."""
    for role in ("encoder", "decoder"):
        if role in parts.classes and parts.classes[role].needs_images and split.image_shape is None:
            row_shape = split.preparation.row_shape
            if row_shape is not None and is_channels_first(row_shape):
                raise UsageError(channels_first_cure(row_shape))
            raise UsageError(
                f"this {role} is for images, and the rows are not known to be images; "
                f"give their height and width with {option('image_shape', '28x28')}"
            )


def check_heads(config: ExperimentConfig, parts: Parts) -> None:
    """Raise a UsageError if a head needs a mixture and the model is not one."""
    if parts.plan.single_component:
        for head in config.heads:
            if parts.classes[f"head.{head}"].needs_mixture:
                raise UsageError(
                    f"head '{head}' takes the clusters from a mixture, but model '{config.model}' has one component; "
                    f"use {option('head', 'gmm')} or {option('head', 'kmeans')} with it"
                )


@dataclass(frozen=True)
class RowLayout:
    """What a model must know of its rows to be built."""

    n_features: int
    """F, the number of inputs of the encoder that are features, which initial clusterings take."""
    blocks: tuple[CellBlock, ...]
    """The values that the likelihoods take."""
    is_table: bool = False
    """Whether values may be missing."""
    image_shape: tuple[int, int, int] | None = None
    n_flags: int = 0
    n_conditions: int = 0
    cell_of_feature: tuple[int, ...] | None = None


def layout_of(parts: Parts, split: Split) -> RowLayout:
    """Return the layout of a data set's rows."""
    n_features = int(split.x.shape[1])
    if split.schema is None:
        return array_layout(n_features, model_likelihood(parts, split), split.image_shape)
    n_flags = 0 if split.flags is None else split.flags.shape[1]
    return table_layout(n_features, split.schema, n_flags, split.rows.n_conditions)


def table_layout(n_features: int, schema: TableSchema, n_flags: int, n_conditions: int) -> RowLayout:
    """Return the layout of a table's rows."""
    return RowLayout(
        n_features,
        schema.blocks,
        is_table=True,
        n_flags=n_flags,
        n_conditions=n_conditions,
        cell_of_feature=schema.cell_of_feature,
    )


def array_layout(n_features: int, likelihood: str, image_shape: tuple[int, int, int] | None) -> RowLayout:
    """Return the layout of an array's rows, whose columns share one likelihood."""
    return RowLayout(n_features, (CellBlock(likelihood, n_features),), image_shape=image_shape)


def build_model(parts: Parts, split: Split, n_components: int, seed: int) -> Model:
    """Assemble the model for a data set; its initial weights depend only on the seed.

    Raises:
        UsageError: there are conditions, and the model does not use them.

    """
    if split.conditions is not None and not parts.plan.takes_conditions:
        raise UsageError(
            f"model '{parts.plugins['model'].name}' does not use conditions; "
            f"leave out {option('condition')}, or use another model"
        )
    return assemble(parts, layout_of(parts, split), n_components, seed, partial(_starting_cells, split))


def _starting_cells(split: Split) -> Array:
    """Return the values of training rows that likelihoods start from, (n, C), float32."""
    values: Any = split.x if split.cells is None else split.cells
    rows = values[_starting_rows(split)]
    return np.asarray(rows.toarray() if sparse.issparse(rows) else rows, dtype=np.float32)


def _starting_rows(split: Split) -> Array:
    """Return the numbers of the training rows that likelihoods start from: all of a table in memory, else a sample."""
    if (split.cells is not None and not split.is_stored) or len(split.train) <= STARTING_ROWS:
        return split.train[:]
    positions = np.random.default_rng(0).choice(len(split.train), STARTING_ROWS, replace=False)
    return split.train[np.sort(positions)]


def assemble(
    parts: Parts,
    layout: RowLayout,
    n_components: int,
    seed: int,
    training_cells: Callable[[], Array] | None = None,
) -> Model:
    """Assemble the model for rows of a layout; its initial weights depend only on the seed.

    Args:
        parts: the parts, with the likelihoods that the layout names.
        layout: the layout of the rows.
        n_components: K.
        seed: decides the initial weights.
        training_cells: returns values from which the likelihoods start, (N, C); None: they stay as built, to be loaded.

    """
    options = parts.options["model"]
    parts = with_likelihoods(parts, [block.likelihood for block in layout.blocks])
    n_components = 1 if parts.plan.single_component else n_components
    with seeded_draws(seed):
        likelihood = Composite(
            [_construct(parts.classes[f"{LIKELIHOOD}{block.likelihood}"], block) for block in layout.blocks],
            masked=layout.is_table,
        )
        if training_cells is not None and likelihood.starts_from_rows:
            likelihood.start(torch.from_numpy(training_cells()))
        dims = dims_of(parts, layout, likelihood.n_outputs, n_components)
        sizes = part_sizes(parts, dims)
        built = {role: _construct(parts.classes[role], sizes[role], parts.options[role]) for role in sizes}
        terms = [f"term.{name}" for name in parts.plan.terms]
        built |= {term: _construct(parts.classes[term], parts.options[term]) for term in terms}
        model: Model = _construct(parts.plan.build, dims, built, likelihood, options, source=parts.plan.source)
        return model


def dims_of(parts: Parts, layout: RowLayout, n_outputs: int, n_components: int) -> Dims:
    """Return the sizes of a model for rows of a layout."""
    return Dims(
        layout.n_features + layout.n_flags + layout.n_conditions,
        n_outputs,
        n_components,
        1 if parts.plan.shared_latent else n_components,
        latent_dim(parts, layout.n_features),
        layout.image_shape,
        layout.n_conditions,
        layout.n_flags,
        layout.cell_of_feature,
    )


def part_sizes(parts: Parts, dims: Dims) -> dict[str, Dims]:
    """Return the sizes that each part of a recipe is built from, by role; a decoder takes z and the conditions."""
    sizes = dict.fromkeys(parts.plan.part_names, dims)
    if "decoder" in sizes:
        sizes["decoder"] = replace(dims, latent_dim=dims.latent_dim + dims.n_conditions)
    return sizes


def make_head(name: str, parts: Parts) -> ClusteringHead:
    """Return the head that a configuration calls `name`, not yet fitted."""
    plugin: HeadPlugin = parts.classes[f"head.{name}"]
    return plugin.make(parts.options[f"head.{name}"])


def _construct(plugin: Any, *arguments: Any, source: str | None = None) -> Any:
    """Return a plugin, built; raise a DeepmixError that names it if its constructor fails."""
    try:
        return plugin(*arguments)
    except DeepmixError:
        raise
    except Exception as error:  # code that is not ours may fail in any way
        # torch raises RuntimeError or TypeError for want of memory, and for sizes beyond 64 bits
        if isinstance(error, MemoryError) or re.search("memory|overflow", str(error), re.IGNORECASE):
            raise DeepmixError(
                "a model of these sizes does not fit into memory; choose a smaller "
                f"{option('latent_dim')}, encoder.hidden or decoder.hidden"
            ) from error
        raise DeepmixError(
            f"{source or source_of(plugin)} can't be built ({type(error).__name__}: {error}); fix the plugin"
        ) from error
