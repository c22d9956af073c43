"""Loading of the plugins that a configuration names, and resolution of their options; nothing is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from deepmix.contracts import (
    Dataset,
    Decoder,
    Encoder,
    Format,
    Initializer,
    Likelihood,
    Model,
    ModelPlan,
    NoOptions,
    PosteriorEstimator,
    Prior,
    Tracker,
    build_options,
    registry,
)
from deepmix.data import SplitOptions
from deepmix.errors import DeepmixError
from deepmix.experiment.clusterer import head_plugin
from deepmix.experiment.config import ExperimentConfig
from deepmix.experiment.selection import selected_plugins
from deepmix.experiment.size_options import SizeOptions
from deepmix.metrics import Metric
from deepmix.models import ObjectiveOptions, Recipe
from deepmix.training import TrainingOptions

LIKELIHOOD = "likelihood."
"""What the part name of a likelihood begins with; its plugin's name follows."""
TRACKER = "tracker."
"""What the part name of a tracker begins with; its plugin's name follows."""


CONTRACTS = {"encoder": Encoder, "decoder": Decoder, "prior": Prior, "posterior": PosteriorEstimator}


@dataclass(frozen=True)
class Parts:
    """The loaded plugins of a configuration, and all options resolved."""

    plan: ModelPlan
    """The plan of the model, known before it is built."""
    classes: Mapping[str, Any]
    """Classes of encoder, decoder, prior, posterior, initializer, data, each term and each head, by part name."""
    options: Mapping[str, Any]
    """An options instance by part name; also size, model, objective and training."""
    plugins: Mapping[str, registry.Plugin] = field(default_factory=dict)
    """The plugin of the model and of each part, by the same names; a data set that is a file has no plugin."""


def resolve(config: ExperimentConfig) -> Parts:
    """Load the plugins that a configuration names and check every setting; no data are read and nothing is written.

    Raises:
        UsageError: a name or a setting is unknown or does not fit.
        DeepmixError: a plugin can't be loaded.

    """
    plugins = {"model": registry.find("models", config.model)}
    plan = plan_of(plugins["model"].load())
    selected = selected_plugins(config, {**plan.part_names, "initializer": plan.init})
    own = {**plan.part_names, "initializer": plan.init}
    for part, (kind, name) in selected.items():
        if name is not None:
            is_own = own.get(part) == name
            plugins[part] = registry.find(kind, name, plugins["model"].distribution if is_own else None)
    classes = load_classes(plugins, plan)
    defaults: dict[str, Any] = {
        "size": SizeOptions(),
        "training": TrainingOptions(),
        "objective": plan.objective or ObjectiveOptions(),
        "model": plan.options,
    }
    defaults |= {part: _default_options(plugin) for part, plugin in classes.items()}
    return Parts(plan, classes, build_options(defaults, config.settings), plugins)


def load_classes(plugins: Mapping[str, registry.Plugin], plan: ModelPlan) -> dict[str, Any]:
    """Load every plugin except the model, by part name, and check its class; `data` without a plugin is FromFile.

    Args:
        plugins: the plugins by part name.
        plan: the plan of the model, whose terms are added.

    Raises:
        DeepmixError: a plugin can't be loaded, or is not a subclass of its interface.

    """
    classes: dict[str, Any] = {}
    others = (("initializer", Initializer), ("data", Dataset), ("format", Format))
    for part, contract in (*CONTRACTS.items(), *others):
        if part in plugins:
            classes[part] = _checked(plugins[part].load(), contract)
        elif part == "data":
            classes[part] = FromFile
    heads = (part for part in plugins if part.startswith("head."))
    classes |= {part: head_plugin(plugins[part].load()) for part in heads}
    for prefix, contract in ((LIKELIHOOD, Likelihood), (TRACKER, Tracker)):
        classes |= {part: _checked(plugins[part].load(), contract) for part in plugins if part.startswith(prefix)}
    return classes | {f"term.{name}": term for name, term in plan.terms.items()}


def with_likelihoods(parts: Parts, names: Iterable[str]) -> Parts:
    """Return the parts with the likelihoods of these names, which depend on the data; those they have already stay.

    Raises:
        UsageError: a name is not that of a likelihood.
        DeepmixError: a likelihood can't be loaded.

    """
    plugins = {
        f"{LIKELIHOOD}{name}": registry.find("likelihoods", name)
        for name in dict.fromkeys(names)
        if f"{LIKELIHOOD}{name}" not in parts.classes
    }
    classes = {part: _checked(plugin.load(), Likelihood) for part, plugin in plugins.items()}
    return replace(parts, classes={**parts.classes, **classes}, plugins={**parts.plugins, **plugins})


def n_labelled(parts: Parts) -> int:
    """Return the number of training rows whose labels the model learns from."""
    return parts.plan.n_labelled(parts.options["model"])


def plan_of(loaded: Any) -> ModelPlan:
    """Return the plan of a plugin of kind `models`, either a Recipe or a Model class."""
    if not isinstance(loaded, Recipe):
        _checked(loaded, Model)
    plan: ModelPlan = loaded.plan()
    return plan


def _checked(loaded: Any, contract: type) -> Any:
    """Return a plugin; raise a DeepmixError unless it is a subclass of the interface that it is registered for."""
    if not (isinstance(loaded, type) and issubclass(loaded, contract)):
        name = getattr(loaded, "__qualname__", repr(loaded))
        raise DeepmixError(f"plugin {name} is not a subclass of deepmix.contracts.{contract.__name__}; fix the plugin")
    return loaded


def likelihood_class(name: str) -> type[Likelihood]:
    """Return the class of a likelihood, by name.

    Raises:
        UsageError: there is no such likelihood.
        DeepmixError: it can't be loaded, or is not a subclass of its interface.

    """
    plugin: type[Likelihood] = _checked(registry.load_plugin("likelihoods", name), Likelihood)
    return plugin


def options_of(loaded: Any) -> Any:
    """Return the default options of a plugin that is not a model.

    Likelihoods, scikit-learn clusterers, metrics, report sections and commands have none.
    """
    if (isinstance(loaded, type) and issubclass(loaded, Likelihood)) or isinstance(loaded, Metric):
        return NoOptions()
    kinds = (*CONTRACTS.values(), Initializer, Dataset, Format, Tracker)
    has_options = isinstance(loaded, type) and issubclass(loaded, kinds)
    return _default_options(loaded if has_options else head_plugin(loaded))


def _default_options(plugin: Any) -> Any:
    """Return the default options of a plugin."""
    if not (isinstance(plugin.Options, type) and dataclasses.is_dataclass(plugin.Options)):
        raise DeepmixError(f"the Options of plugin {plugin.__qualname__} are not a dataclass; fix the plugin")
    options: Any = plugin.Options
    try:
        return options()
    except TypeError as error:
        required = ", ".join(
            f"'{f.name}'"
            for f in dataclasses.fields(options)
            if f.init and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        )
        raise DeepmixError(
            f"the Options of plugin {plugin.__qualname__} need a default for {required or 'each field'}; fix it"
        ) from (None if required else error)


class FromFile:
    """A stand-in for the plugin of a data set that is a file."""

    Options = SplitOptions
