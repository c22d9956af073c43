"""The plan of a model before it is built: the only thing that the core asks of a plugin of kind `models`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from deepmix.maths import Dims


@dataclass(frozen=True)
class ModelPlan:
    """A model's parts, defaults and needs; `Model.plan()` and `Recipe.plan()` return it."""

    summary: str
    """A one-line summary of the model."""
    source: str
    """The definition of the model, as `module:name`, for messages."""
    options: Any
    """The default options, an instance of a dataclass."""
    build: Callable[[Dims, Mapping[str, Any], Any, Any], Any]
    """Builds the `Model` from sizes, parts by role, likelihood and options."""
    likelihood_name: Callable[[Any], str]
    """Returns the observation model that the options name, or 'auto'."""
    n_labelled: Callable[[Any], int]
    """Returns the number of training rows whose labels the model learns from, given its options."""
    init: str = "auto"
    """Name of the initial clustering that the model starts from unless another is requested."""
    part_names: Mapping[str, str] = field(default_factory=dict)
    """Names of the plugins that fill the roles encoder, decoder, prior and posterior; empty where the model
    has its own parts."""
    terms: Mapping[str, type] = field(default_factory=dict)
    """Classes of `LossTerm`, by name."""
    objective: Any = None
    """The default weights of the objective; None: the core's defaults."""
    single_component: bool = False
    """Whether the model has one component whatever the number of clusters."""
    shared_latent: bool = False
    """Whether all components share one encoder head, and so one latent."""
    takes_conditions: bool = False
    """Whether the model uses covariates."""


def source_of(plugin: Any) -> str:
    """Return where a plugin is defined, as `module:name`."""
    return f"{plugin.__module__}:{plugin.__qualname__}"
