"""The parts of a run as its config.json records them; the defaults of the running version are not used."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from deepmix.contracts import ModelPlan, NoOptions, registry
from deepmix.errors import DeepmixError
from deepmix.experiment.clusterer import head_plugin
from deepmix.experiment.config import ExperimentConfig
from deepmix.experiment.parts import CONTRACTS, LIKELIHOOD, TRACKER, Parts, load_classes, plan_of
from deepmix.experiment.size_options import SizeOptions
from deepmix.models import ObjectiveOptions
from deepmix.runs import (
    CONFIG,
    DataRecord,
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

STRUCTURE = ("shared_latent", "single_component")
"""Fields of a model's plan that affect its structure apart from its parts; a run records them."""


def requested_of(config: ExperimentConfig) -> Requested:
    """Return the record of a configuration."""
    return Requested(**{f.name: getattr(config, f.name) for f in dataclasses.fields(Requested)})


def config_of(requested: Requested) -> ExperimentConfig:
    """Return the configuration in a record."""
    return ExperimentConfig(**{f.name: getattr(requested, f.name) for f in dataclasses.fields(Requested)})


def structure_of(plan: ModelPlan) -> dict[str, bool]:
    """Return the record of a model's structure apart from its parts."""
    return {name: getattr(plan, name) for name in STRUCTURE}


def read_parts(store: RunStore) -> tuple[RunConfig, Parts]:
    """Return a run's config.json and the parts that it names, with the options that it records.

    Raises:
        DeepmixError: the file is damaged or of a newer format, a plugin is not installed, or an option is unknown.

    """
    record = store.read(RunConfig)
    return record, recorded_parts(record, str(store.path / CONFIG))


def recorded_parts(record: RunConfig, where: str) -> Parts:
    """Return the parts of a run: the plugins that it names by `distribution:name`, and the options that it records.

    Args:
        record: the run's config.json.
        where: the path of the file, for messages.

    Raises:
        DeepmixError: a plugin is not installed, or an option is unknown or of the wrong kind.

    """
    present = {role: part for role, part in record.parts.items() if not role.startswith(TRACKER) or is_installed(part)}
    plugins = {role: find_recorded(role, part, where) for role, part in present.items()}
    if "model" not in plugins or "initializer" not in plugins:
        raise damaged(where, "'parts' lacks a model or an initializer")
    plan = plan_of(plugins["model"].load())
    if record.structure is not None:
        unknown = sorted(set(record.structure) - set(STRUCTURE))
        if unknown:
            raise DeepmixError(
                f"'{where}' records the structure option '{unknown[0]}', which this version does not know; "
                "use the version of deepmix that made the run"
            )
        structure: dict[str, Any] = dict(record.structure)
        plan = dataclasses.replace(plan, **structure)
    plan = dataclasses.replace(plan, part_names={role: plugins[role].name for role in CONTRACTS if role in plugins})
    classes = load_classes(plugins, plan)
    kinds: dict[str, type] = {"size": SizeOptions, "training": TrainingOptions, "objective": ObjectiveOptions}
    kinds |= {"model": type(plan.options)}
    kinds |= {part: plugin.Options for part, plugin in classes.items() if not part.startswith(LIKELIHOOD)}
    options = {part: _recorded_options(kind, part, record.resolved, where) for part, kind in kinds.items()}
    return Parts(plan, classes, options, plugins)


def is_installed(part: PartRecord) -> bool:
    """Whether the plugin that a run recorded is installed."""
    owner = registry.canonical(part.distribution)
    return any(p.name == part.name and p.distribution == owner for p in registry.discover(part.kind))


def find_recorded(role: str, part: PartRecord, where: str) -> registry.Plugin:
    """Return the installed plugin that a run recorded; one of that name from another distribution is rejected.

    Raises:
        DeepmixError: the plugin is not installed; the message names its distribution and version.

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
        raise DeepmixError(f"'{where}' does not say which {named} it means: {owners} have one; uninstall the other")
    if not part.distribution:
        raise DeepmixError(f"'{where}' needs {named}, which is not installed; install the package that contains it")
    raise DeepmixError(
        f"'{where}' needs {named} of {part.distribution} {part.version}, which is not installed; "
        f"install it with: pip install {part.distribution}=={part.version}"
    )


def _recorded_options(kind: type, part: str, resolved: Mapping[str, Mapping[str, Any]], where: str) -> Any:
    """Return the recorded options of a part."""
    try:
        return from_plain(kind, resolved.get(part, {}), f"resolved.{part}", strict=True)
    except MisfitError as error:
        raise DeepmixError(
            f"'{where}' does not fit the installed plugins ({error}); use the versions that it names, or train again"
        ) from error
    except DeepmixError as error:  # the options check their values themselves
        raise damaged(where, error) from error


def with_heads(parts: Parts, names: Sequence[str]) -> Parts:
    """Return a run's parts with further heads; heads that the run does not have yet get their default options.

    Raises:
        UsageError: a name is not that of a head.
        DeepmixError: a head can't be loaded.

    """
    new = [name for name in names if f"head.{name}" not in parts.classes]
    plugins = {f"head.{name}": registry.find("heads", name) for name in new}
    classes = {part: head_plugin(plugin.load()) for part, plugin in plugins.items()}
    options: dict[str, Any] = {part: plugin.Options() for part, plugin in classes.items()}
    return dataclasses.replace(
        parts,
        classes={**parts.classes, **classes},
        options={**parts.options, **options},
        plugins={**parts.plugins, **plugins},
    )


def is_same_run(record: RunConfig, new_record: RunConfig, ignored: Sequence[str] = ()) -> bool:
    """Whether a run used the same data, plugins and options, whatever version wrote its record.

    Args:
        record: the run's config.json.
        new_record: the config.json that a run would get now.
        ignored: options by `part.key` that do not affect the results.

    """
    try:
        one, two = (recorded_parts(config, CONFIG) for config in (record, new_record))
    except DeepmixError:
        return False
    plugins = [
        {
            role: (p.kind, p.distribution, p.name)
            for role, p in parts.plugins.items()
            if not role.startswith((LIKELIHOOD, TRACKER))
        }
        for parts in (one, two)  # format 2 recorded no likelihoods at first; their names are options and in the schema
    ]
    options = [_decisive_options(parts, ignored) for parts in (one, two)]
    return (
        plugins[0] == plugins[1]
        and structure_of(one.plan) == structure_of(two.plan)
        and options[0] == options[1]
        and _as_recorded_by(record.data, new_record.data) == new_record.data
        and record.n_parameters == new_record.n_parameters
    )


def _as_recorded_by(data: DataRecord, new: DataRecord) -> DataRecord:
    """Return a record of data with the hash of the labels that a new record has, if its version recorded none."""
    if data.labels_fingerprint is not None:
        return data
    return dataclasses.replace(data, labels_fingerprint=new.labels_fingerprint)


def _decisive_options(parts: Parts, ignored: Sequence[str]) -> dict[str, Any]:
    options = {
        part: dict(to_plain(values))
        for part, values in parts.options.items()
        if values != NoOptions() and not part.startswith(TRACKER)
    }
    for key in ignored:
        part, _, name = key.rpartition(".")
        options.get(part, {}).pop(name, None)
    return options
