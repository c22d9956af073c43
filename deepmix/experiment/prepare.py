"""Preparation of an experiment: everything is checked before a run folder is made."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from deepmix.data import Split, with_known_labels
from deepmix.errors import UsageError, option
from deepmix.experiment.assembly import check_heads, check_images, model_likelihood, n_clusters
from deepmix.experiment.component_count import choose_components
from deepmix.experiment.component_range import ComponentRange
from deepmix.experiment.config import IN_MEMORY, ExperimentConfig
from deepmix.experiment.dataset import load_data, rows_in_memory
from deepmix.experiment.guards import try_data, try_model, try_parts
from deepmix.experiment.parts import Parts, n_labelled, resolve, with_likelihoods
from deepmix.experiment.plugin_metrics import declare_installed
from deepmix.experiment.selection import is_registered
from deepmix.experiment.stored_results import check_stored
from deepmix.kernels import loader
from deepmix.maths import Array
from deepmix.runs import ComponentChoice
from deepmix.training import ALONE, Ranks, TrainingOptions, choose_device


@dataclass(frozen=True)
class Experiment:
    """A checked configuration, with its loaded plugins, its data and K."""

    config: ExperimentConfig
    parts: Parts
    split: Split
    n_components: int
    device: torch.device
    choice: ComponentChoice | None = None
    """How K was chosen from the rows; None where it was not, or by the run that is resumed."""
    ranks: Ranks = ALONE
    """The current process among those that train together."""


def prepare_experiment(
    config: ExperimentConfig,
    x: Any = None,
    columns: list[str] | None = None,
    labels: Any = None,
    *,
    weights: Array | None = None,
    parts: Parts | None = None,
    split: Split | None = None,
    ranks: Ranks = ALONE,
) -> Experiment:
    """Return an experiment, after every check that is possible before a run folder is made; nothing is written.

    Args:
        config: the requested configuration.
        x: rows in memory, (N, D), dense, sparse or a pandas DataFrame, in place of the data set that the configuration
            names.
        columns: the names of the columns of an array, if any.
        labels: the labels of `x`, (N,), used only by a model that learns from labels.
        weights: the weights of the rows of `x`, (N,), positive.
        parts: the parts of the run to be resumed; None: load those that the configuration names.
        split: the data of that run; None: load those that the configuration names.
        ranks: the processes that train together; the first one alone chooses K.

    Raises:
        UsageError: the configuration or the data can't be used.
        DeepmixError: a plugin or a file is damaged.

    """
    if x is not None:
        config = dataclasses.replace(config, dataset=IN_MEMORY)
    elif not config.dataset.strip():
        raise UsageError(f"{option('dataset')} must name a data set, a file or a folder, got '{config.dataset}'")
    elif not is_registered(config.dataset) and Path(config.dataset).exists():  # absolute: it is found from anywhere
        config = dataclasses.replace(config, dataset=str(Path(config.dataset).resolve()))
    if config.data_dir is not None:
        config = dataclasses.replace(config, data_dir=str(Path(config.data_dir).resolve()))
    parts = resolve(config) if parts is None else parts
    declare_installed()
    if loader.choice() != "auto":
        loader.load_kernels()  # DEEPMIX_BUILD may ask for what this machine can't do
    device = choose_device(config.device, ranks)
    _check_batches(parts, ranks)
    check_heads(config, parts)
    if x is None:
        split = load_data(config, parts, readers=ranks.readers) if split is None else split
        try_data(parts, split)
    else:
        labels = labels if n_labelled(parts) else None
        split = rows_in_memory(x, columns, labels, weights, config.table, parts.options["data"])
    if split.is_stored:
        check_stored(parts, config.heads)
    requested: int | ComponentRange | None = parts.options["size"].components
    if isinstance(requested, ComponentRange) and n_labelled(parts):
        raise UsageError(
            f"a model that learns from labels can't choose the number of clusters; give {option('components', 'K')}, "
            "or leave it out to have one cluster per class"
        )
    split = with_known_labels(split, n_labelled(parts), requested if isinstance(requested, int) else None)
    name = model_likelihood(parts, split)
    parts = with_likelihoods(
        parts, [name] if split.schema is None else [block.likelihood for block in split.schema.blocks]
    )
    check_images(parts, split)
    choice = None
    if isinstance(requested, ComponentRange):
        request = requested
        if ranks.is_first:
            choice = choose_components(split, request, config.seed)
        requested = int(ranks.value(lambda: choice and choice.n_components))
    n_components = n_clusters(requested, split)
    for head in config.heads:
        if parts.classes[f"head.{head}"].refits and len(split.test) <= n_components:
            raise UsageError(
                f"head '{head}' fits {n_components} clusters to the test rows, but there are only {len(split.test)}; "
                f"use {option('head', 'gmm')}, which is fitted to the training rows"
            )
    try_parts(parts, split, n_components, config.seed)
    try_model(config, parts, split, n_components)
    return Experiment(config, parts, split, n_components, device, choice, ranks)


def _check_batches(parts: Parts, ranks: Ranks) -> None:
    """Raise a UsageError if a batch has fewer rows than there are processes to share them."""
    training: TrainingOptions = parts.options["training"]
    batch_rows = training.rows_per_update(0)  # data are not read yet; an automatic batch has no fewer rows than this
    if batch_rows < ranks.size:
        raise UsageError(
            f"{ranks.size} processes can't share updates of {batch_rows} rows; use "
            f"{option('batch_size', ranks.size)} or more, or start fewer processes"
        )
