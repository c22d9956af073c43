"""From options to loaded plugins, checked settings, data and an assembled model; nothing is written here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deepmix.contracts import (
    Decoder,
    Encoder,
    Initializer,
    Model,
    ModelPlan,
    PosteriorEstimator,
    Prior,
    build_options,
    registry,
)
from deepmix.data import SplitOptions
from deepmix.errors import DeepmixError, UsageError, option
from deepmix.experiment.clusterer import head_plugin
from deepmix.experiment.config import ExperimentConfig
from deepmix.models import ObjectiveOptions, Recipe
from deepmix.training import TrainingOptions

CONTRACTS = {"encoder": Encoder, "decoder": Decoder, "prior": Prior, "posterior": PosteriorEstimator}
PARTS = tuple(CONTRACTS)
"""The four parts of a recipe."""


@dataclass(frozen=True)
class SizeOptions:
    """Sizes of the model."""

    components: int | None = field(
        default=None, metadata={"help": "K, the number of clusters; auto: the number of classes where labels exist"}
    )
    latent_dim: int | None = field(
        default=None,
        metadata={"help": "M, the number of latent dimensions; auto: VaDE's 10, or the data's where they have fewer"},
    )

    def __post_init__(self) -> None:
        if self.components is not None and self.components < 1:
            raise UsageError(f"{option('components')} must be at least 1, got {self.components}")
        if self.latent_dim is not None and self.latent_dim < 1:
            raise UsageError(f"latent_dim must be at least 1, got {self.latent_dim}")


@dataclass(frozen=True)
class Parts:
    """The plugins a configuration names, loaded, and every option resolved."""

    plan: ModelPlan
    """What is known of the model before it is built."""
    classes: Mapping[str, Any]
    """Classes of encoder, decoder, prior, posterior, initializer, data, each term and each head, by part name."""
    options: Mapping[str, Any]
    """An options instance by part name; also size, model, objective and training."""


def resolve(config: ExperimentConfig) -> Parts:
    """Load the plugins a configuration names and check every setting; nothing is read or written.

    Raises:
        UsageError: a name or a setting is unknown or does not fit.
        DeepmixError: a plugin can't be loaded.

    """
    plan = _plan(registry.load_plugin("models", config.model))
    classes: dict[str, Any] = {}
    for role, contract in CONTRACTS.items():
        requested = getattr(config, role)
        if plan.part_names:
            name = requested or plan.part_names[role]
            classes[role] = _checked(registry.load_plugin(f"{role}s", name), contract)
        elif requested is not None:
            raise UsageError(f"model '{config.model}' has its own {role}; leave out --{role}")
    classes |= {f"term.{name}": term for name, term in plan.terms.items()}
    classes["initializer"] = _checked(registry.load_plugin("initializers", config.init or plan.init), Initializer)
    classes["data"] = _dataset_class(config)
    for head in config.heads:
        classes[f"head.{head}"] = head_plugin(registry.load_plugin("heads", head))
    defaults: dict[str, Any] = {
        "size": SizeOptions(),
        "training": TrainingOptions(),
        "objective": plan.objective or ObjectiveOptions(),
        "model": plan.options,
    }
    defaults |= {part: _default_options(plugin) for part, plugin in classes.items()}
    return Parts(plan, classes, build_options(defaults, config.settings))


def n_labelled(parts: Parts) -> int:
    """Return how many training rows' labels the model learns from."""
    return parts.plan.n_labelled(parts.options["model"])


def _plan(loaded: Any) -> ModelPlan:
    """Return the plan of a plugin of kind `models`: a Recipe's, or a Model class's."""
    if not isinstance(loaded, Recipe):
        _checked(loaded, Model)
    plan: ModelPlan = loaded.plan()
    return plan


def _checked(loaded: Any, contract: type) -> Any:
    """Return a plugin; raise a DeepmixError unless it is a class of the interface it is registered for."""
    if not (isinstance(loaded, type) and issubclass(loaded, contract)):
        name = getattr(loaded, "__qualname__", repr(loaded))
        raise DeepmixError(f"plugin {name} is not a subclass of deepmix.contracts.{contract.__name__}; mend the plugin")
    return loaded


def _default_options(plugin: Any) -> Any:
    """Return the options of a plugin by default."""
    if not dataclasses.is_dataclass(plugin.Options):
        raise DeepmixError(f"the Options of plugin {plugin.__qualname__} are not a dataclass; mend the plugin")
    options: Any = plugin.Options
    return options()


def _dataset_class(config: ExperimentConfig) -> Any:
    """Return the data set's plugin class, or SplitOptions' holder where it is a file or a prepared archive."""
    if is_registered(config.dataset):
        return registry.load_plugin("datasets", config.dataset)
    return FromFile


class FromFile:
    """Stands for a data set that is no plugin."""

    Options = SplitOptions


def is_registered(name: str) -> bool:
    """Whether a plugin has registered a data set of this name."""
    return name.rpartition(":")[2] in registry.names("datasets")
