"""Assembly of a model from loaded parts, and the sizes that depend on the data."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from deepmix.contracts import ClusteringHead, Model, source_of
from deepmix.data import Split
from deepmix.errors import DeepmixError, UsageError, option
from deepmix.experiment.clusterer import HeadPlugin
from deepmix.experiment.config import ExperimentConfig
from deepmix.experiment.parts import Parts
from deepmix.maths import Dims
from deepmix.models import Likelihood

LATENT_DIM = 10
"""M for data with at least this many columns (VaDE, section 4.2)."""


def n_clusters(parts: Parts, split: Split) -> int:
    """Return K: the requested number of clusters, or else the number of classes.

    Raises:
        UsageError: neither number is known, or there are fewer training rows than clusters.

    """
    requested: int | None = parts.options["size"].components
    if requested is None and split.labels is None:
        raise UsageError(f"the number of clusters is unknown, as there are no labels; give {option('components', 'K')}")
    number = requested
    if number is None:
        labels = np.asarray(split.labels)
        number = len(np.unique(labels if split.known is None else labels[split.known]))
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
    if requested == "bernoulli" and split.likelihood != "bernoulli" and not (split.x.min() >= 0 and split.x.max() <= 1):
        raise UsageError(
            f"a Bernoulli likelihood needs data in 0..1 but these range from {split.x.min():g} to {split.x.max():g}; "
            "leave likelihood at auto, or scale the data"
        )
    return split.likelihood if requested == "auto" else requested


def check_images(parts: Parts, split: Split) -> None:
    """Raise a UsageError if a part needs images and the rows are not images."""
    for role in ("encoder", "decoder"):
        if role in parts.classes and parts.classes[role].needs_images and split.image_shape is None:
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


def build_model(parts: Parts, split: Split, n_components: int, seed: int) -> Model:
    """Assemble the model for a data set; its initial weights depend only on the seed."""
    n_features, likelihood = int(split.x.shape[1]), model_likelihood(parts, split)
    return assemble(parts, n_features, split.image_shape, likelihood, n_components, seed)


def assemble(
    parts: Parts,
    n_features: int,
    image_shape: tuple[int, int, int] | None,
    likelihood_name: str,
    n_components: int,
    seed: int,
) -> Model:
    """Assemble the model for rows of `n_features` columns; its initial weights depend only on the seed."""
    options = parts.options["model"]
    likelihood = Likelihood(likelihood_name, n_features)
    n_components = 1 if parts.plan.single_component else n_components
    dims = Dims(
        n_features,
        likelihood.n_outputs,
        n_components,
        1 if parts.plan.shared_latent else n_components,
        latent_dim(parts, n_features),
        image_shape,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = {role: _construct(parts.classes[role], dims, parts.options[role]) for role in parts.plan.part_names}
        terms = [f"term.{name}" for name in parts.plan.terms]
        built |= {term: _construct(parts.classes[term], parts.options[term]) for term in terms}
        model: Model = _construct(parts.plan.build, dims, built, likelihood, options, source=parts.plan.source)
        return model


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
        raise DeepmixError(
            f"{source or source_of(plugin)} can't be built ({type(error).__name__}: {error}); fix the plugin"
        ) from error
