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
    NoOptions,
    PosteriorEstimator,
    Prior,
    build_options,
    registry,
)
from deepmix.data import SplitOptions
from deepmix.errors import DeepmixError, UsageError
from deepmix.experiment.config import ExperimentConfig
from deepmix.models import ObjectiveOptions, Recipe
from deepmix.training import TrainingOptions

CONTRACTS = {"encoder": Encoder, "decoder": Decoder, "prior": Prior, "posterior": PosteriorEstimator}


PARTS = tuple(CONTRACTS)
"""The four parts of a recipe."""


KINDS = {"encoder": "encoders", "decoder": "decoders", "prior": "priors", "posterior": "posteriors"}
"""The kind of plugin that each of them is."""


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
            raise UsageError(f"components must be at least 1, got {self.components}")
        if self.latent_dim is not None and self.latent_dim < 1:
            raise UsageError(f"latent_dim must be at least 1, got {self.latent_dim}")


@dataclass(frozen=True)
class Parts:
    """The plugins a configuration names, loaded, and every option resolved."""

    model: Any
    """A Recipe, or a Model class."""
    classes: Mapping[str, Any]
    """Classes of encoder, decoder, prior, posterior, initializer, data and each head (head.NAME), by part name."""
    options: Mapping[str, Any]
    """An options instance by part name; also size, model, objective and training."""
    plugins: Mapping[str, registry.Plugin] = field(default_factory=dict)
    """Which plugin each part and the model is, by the same names; a data set that is a file is none."""


def resolve(config: ExperimentConfig) -> Parts:
    """Load the plugins a configuration names and check every setting; nothing is read or written.

    Raises:
        UsageError: a name or a setting is unknown or does not fit.
        DeepmixError: a plugin can't be loaded.

    """
    plugins = {"model": registry.find("models", config.model)}
    model = plugins["model"].load()
    if not isinstance(model, Recipe):
        _check_contract(model, Model)
    for part in PARTS:
        if isinstance(model, Recipe):
            plugins[part] = registry.find(KINDS[part], getattr(config, part) or getattr(model, part))
        elif getattr(config, part) is not None:
            raise UsageError(f"model '{config.model}' has its own {part}; leave out --{part}")
    plugins["initializer"] = registry.find("initializers", config.init or model.init)
    if is_registered(config.dataset):
        plugins["data"] = registry.find("datasets", config.dataset)
    for head in config.heads:
        plugins[f"head.{head}"] = registry.find("heads", head)
    classes = load_classes(plugins)

    defaults: dict[str, Any] = {"size": SizeOptions(), "training": TrainingOptions()}
    defaults["objective"] = model.objective if isinstance(model, Recipe) else ObjectiveOptions()
    defaults["model"] = model.options if isinstance(model, Recipe) else model.Options()
    defaults |= {part: options_class(loaded)() for part, loaded in classes.items()}
    return Parts(model, classes, build_options(defaults, config.settings), plugins)


def load_classes(plugins: Mapping[str, registry.Plugin]) -> dict[str, Any]:
    """Load every plugin but the model, by part name, and check its contract; without a data set's, rows are a file's.

    Raises:
        DeepmixError: a plugin can't be loaded, or is not a class of its interface.

    """
    heads = (part for part in plugins if part.startswith("head."))
    classes: dict[str, Any] = {}
    for part in (*PARTS, "initializer", "data", *heads):
        if part in plugins:
            classes[part] = plugins[part].load()
        elif part == "data":
            classes[part] = FromFile
    for part, contract in (*CONTRACTS.items(), ("initializer", Initializer)):
        if part in classes:
            _check_contract(classes[part], contract)
    return classes


def n_labelled(parts: Parts) -> int:
    """Return how many training rows' labels the model learns from: its option `labelled`, if it has one."""
    return int(getattr(parts.options["model"], "labelled", 0))


def _check_contract(loaded: Any, contract: type) -> None:
    """Raise a DeepmixError unless a plugin is a class of the interface it is registered for."""
    if not (isinstance(loaded, type) and issubclass(loaded, contract)):
        name = getattr(loaded, "__qualname__", repr(loaded))
        raise DeepmixError(f"plugin {name} is no subclass of deepmix.contracts.{contract.__name__}; mend the plugin")


def options_class(loaded: Any) -> type:
    """Return a plugin's options; a scikit-learn clusterer has none of ours."""
    options: type = getattr(loaded, "Options", NoOptions)
    if not dataclasses.is_dataclass(options):
        raise DeepmixError(f"the Options of plugin {loaded.__qualname__} are no dataclass; mend the plugin")
    return options


class FromFile:
    """Stands for a data set that is no plugin."""

    Options = SplitOptions


def is_registered(name: str) -> bool:
    """Whether a plugin has registered a data set of this name."""
    return name.rpartition(":")[2] in registry.names("datasets")
