"""Preparation of an experiment: everything is checked before a run folder is made."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from deepmix.data import Split, arrange_rows, with_known_labels
from deepmix.errors import UsageError, option
from deepmix.experiment.assembly import check_heads, check_images, model_likelihood, n_clusters
from deepmix.experiment.config import IN_MEMORY, ExperimentConfig
from deepmix.experiment.dataset import load_data
from deepmix.experiment.guards import try_model
from deepmix.experiment.parts import Parts, n_labelled, resolve
from deepmix.training import choose_device


@dataclass(frozen=True)
class Experiment:
    """A checked configuration, with its loaded plugins, its data and K."""

    config: ExperimentConfig
    parts: Parts
    split: Split
    n_components: int
    device: torch.device


def prepare_experiment(
    config: ExperimentConfig,
    x: Any = None,
    columns: list[str] | None = None,
    labels: Any = None,
    *,
    parts: Parts | None = None,
) -> Experiment:
    """Return an experiment, after every check that is possible before a run folder is made; nothing is written.

    Args:
        config: the requested configuration.
        x: rows in memory, (N, D), dense or sparse, in place of the data set that the configuration names.
        columns: the names of the columns of `x`, if any.
        labels: the labels of `x`, (N,), used only by a model that learns from labels.
        parts: the parts of the run to be resumed; None: load those that the configuration names.

    Raises:
        UsageError: the configuration or the data can't be used.
        DeepmixError: a plugin or a file is damaged.

    """
    if x is not None:
        config = dataclasses.replace(config, dataset=IN_MEMORY)
    elif Path(config.dataset).is_file():  # made absolute, so that the run can be resumed from anywhere
        config = dataclasses.replace(config, dataset=str(Path(config.dataset).resolve()))
    if config.data_dir is not None:
        config = dataclasses.replace(config, data_dir=str(Path(config.data_dir).resolve()))
    parts = resolve(config) if parts is None else parts
    device = choose_device(config.device)
    check_heads(config, parts)
    if x is None:
        split = load_data(config, parts)
    else:
        split = arrange_rows(x, labels if n_labelled(parts) else None, parts.options["data"], columns=columns)
    split = with_known_labels(split, n_labelled(parts), parts.options["size"].components)
    model_likelihood(parts, split)
    check_images(parts, split)
    n_components = n_clusters(parts, split)
    for head in config.heads:
        if parts.classes[f"head.{head}"].refits and len(split.test) <= n_components:
            raise UsageError(
                f"head '{head}' fits {n_components} clusters to the test rows, but there are only {len(split.test)}; "
                f"use {option('head', 'gmm')}, which is fitted to the training rows"
            )
    try_model(config, parts, split, n_components)
    return Experiment(config, parts, split, n_components, device)
