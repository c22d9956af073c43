"""A run's parts as its config.json records them: nothing here comes from the defaults of the version that runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from deepmix.contracts import NoOptions, registry
from deepmix.errors import DeepmixError
from deepmix.experiment.config import ExperimentConfig
from deepmix.experiment.parts import Parts, SizeOptions, load_classes, options_class
from deepmix.models import ObjectiveOptions, Recipe
from deepmix.runs import (
    BEFORE,
    CONFIG,
    MisfitError,
    PartRecord,
    Requested,
    RunConfig,
    RunStore,
    damaged,
    from_plain,
    to_plain,
)
from deepmix.training import TrainingOptions


def requested_of(config: ExperimentConfig) -> Requested:
    """Return a configuration as records hold it."""
    return Requested(**{f.name: getattr(config, f.name) for f in dataclasses.fields(Requested)})


def config_of(requested: Requested) -> ExperimentConfig:
    """Return the configuration that a record holds."""
    return ExperimentConfig(**{f.name: getattr(requested, f.name) for f in dataclasses.fields(Requested)})


def recipe_choices(model: Any) -> dict[str, Any] | None:
    """Return what a recipe chooses by plain values, such as how many heads the encoder has; None of another model."""
    if not isinstance(model, Recipe):
        return None
    return {name: value for name, value in vars(model).items() if _is_choice(name, value)}


def _is_choice(name: str, value: Any) -> bool:
    return name != "summary" and isinstance(value, str | bool | int | float)


def read_parts(store: RunStore) -> tuple[RunConfig, Parts]:
    """Return a run's config.json and the parts that it names, with the options that it records.

    Raises:
        DeepmixError: the file is damaged or of a newer format, a plugin is not installed, or an option is unknown.

    """
    record = store.read(RunConfig)
    return record, recorded_parts(record, str(store.path / CONFIG))


def recorded_parts(record: RunConfig, where: str) -> Parts:
    """Return the parts of a run: its plugins by `distribution:name`, and its options by their recorded values.

    Args:
        record: the run's config.json.
        where: the file, for messages.

    Raises:
        DeepmixError: a plugin is not installed, or an option is unknown or of the wrong kind.

    """
    plugins = {role: find_recorded(role, part, where) for role, part in record.parts.items()}
    if "model" not in plugins or "initializer" not in plugins:
        raise damaged(where, "'parts' names no model or no initializer")
    model = plugins["model"].load()
    if isinstance(model, Recipe) and record.recipe is not None:
        model = _recorded_recipe(model, record.recipe, where)
    classes = load_classes(plugins)
    kinds: dict[str, type] = {"size": SizeOptions, "training": TrainingOptions, "objective": ObjectiveOptions}
    kinds["model"] = type(model.options) if isinstance(model, Recipe) else model.Options
    kinds |= {part: options_class(loaded) for part, loaded in classes.items()}
    options = {part: _recorded_options(kind, part, record.resolved, where) for part, kind in kinds.items()}
    return Parts(model, classes, options, plugins)


def find_recorded(role: str, part: PartRecord, where: str) -> registry.Plugin:
    """Return the installed plugin that a run recorded; another distribution's of the same name is not taken for it.

    Raises:
        DeepmixError: it is not installed; the message names its distribution and version.

    """
    if part.distribution:
        owner = registry.canonical(part.distribution)
        matches = [p for p in registry.discover(part.kind) if p.name == part.name and p.distribution == owner]
    else:
        matches = [p for p in registry.discover(part.kind) if part.name in (p.name, p.target)]
    if len(matches) == 1:
        return matches[0]
    named = f"{registry.singular(part.kind)} '{part.name}'"
    if matches:
        owners = " and ".join(plugin.distribution for plugin in matches)
        raise DeepmixError(f"'{where}' does not say whose {named} it means, {owners} have one; uninstall the other")
    if not part.distribution:
        raise DeepmixError(f"'{where}' needs {named}, which is not installed; install the package that brings it")
    raise DeepmixError(
        f"'{where}' needs {named} of {part.distribution} {part.version}, which is not installed; "
        f"install it with: pip install {part.distribution}=={part.version}"
    )


def _recorded_recipe(model: Recipe, choices: Mapping[str, Any], where: str) -> Recipe:
    """Return a recipe with the recorded choices; one that was not recorded has the value it had before it existed."""
    defaults: dict[str, Any] = {}
    for field in dataclasses.fields(model):
        value = field.metadata.get(BEFORE, field.default)
        if field.name not in choices and value is not dataclasses.MISSING and _is_choice(field.name, value):
            defaults[field.name] = value
    unknown = sorted(set(choices) - {field.name for field in dataclasses.fields(model)})
    if unknown:
        raise DeepmixError(
            f"'{where}' records the choice '{unknown[0]}' of a recipe, which this version does not know; "
            "use the version of deepmix that made the run"
        )
    return dataclasses.replace(model, **{**defaults, **choices})


def _recorded_options(kind: type, part: str, resolved: Mapping[str, Mapping[str, Any]], where: str) -> Any:
    """Return a part's options as they were recorded."""
    try:
        return from_plain(kind, resolved.get(part, {}), f"resolved.{part}", strict=True)
    except MisfitError as error:
        raise DeepmixError(
            f"'{where}' does not fit the installed plugins ({error}); use the versions that it names, or train again"
        ) from error
    except DeepmixError as error:  # the options check their values themselves
        raise damaged(where, error) from error


def with_heads(parts: Parts, names: Sequence[str]) -> Parts:
    """Return a run's parts with further heads, the options of those that it does not have yet at their defaults.

    Raises:
        UsageError: there is no head of that name.
        DeepmixError: a head can't be loaded.

    """
    new = [name for name in names if f"head.{name}" not in parts.classes]
    plugins = {f"head.{name}": registry.find("heads", name) for name in new}
    classes = {part: plugin.load() for part, plugin in plugins.items()}
    options = {part: options_class(loaded)() for part, loaded in classes.items()}
    return dataclasses.replace(
        parts,
        classes={**parts.classes, **classes},
        options={**parts.options, **options},
        plugins={**parts.plugins, **plugins},
    )


def is_same_run(record: RunConfig, wanted: RunConfig, ignored: Sequence[str] = ()) -> bool:
    """Whether a run was made of the same data with the same plugins and options, whatever version wrote its record.

    Args:
        record: the run's config.json.
        wanted: what a run would record now.
        ignored: options by `part.key` that change no result.

    """
    try:
        one, two = (recorded_parts(config, CONFIG) for config in (record, wanted))
    except DeepmixError:
        return False
    plugins = [{role: (p.kind, p.distribution, p.name) for role, p in parts.plugins.items()} for parts in (one, two)]
    choices = [_decisive_choices(parts.model) for parts in (one, two)]
    options = [_decisive_options(parts, ignored) for parts in (one, two)]
    return (
        plugins[0] == plugins[1]
        and choices[0] == choices[1]
        and options[0] == options[1]
        and record.data == wanted.data
        and record.n_parameters == wanted.n_parameters
    )


def _decisive_choices(model: Any) -> dict[str, Any]:
    """Return a recipe's choices without the names of its parts, which the plugins in use stand for."""
    choices = recipe_choices(model) or {}
    return {name: v for name, v in choices.items() if name not in ("encoder", "decoder", "prior", "posterior", "init")}


def _decisive_options(parts: Parts, ignored: Sequence[str]) -> dict[str, Any]:
    options = {part: dict(to_plain(values)) for part, values in parts.options.items() if values != NoOptions()}
    for key in ignored:
        part, _, name = key.rpartition(".")
        options.get(part, {}).pop(name, None)
    return options
