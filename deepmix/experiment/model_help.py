"""What `deepmix train --model NAME --help` shows: a model's summary and the options of its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deepmix.contracts import OptionRow, describe, registry
from deepmix.data import SplitOptions
from deepmix.experiment.config import ExperimentConfig
from deepmix.experiment.selection import selected_plugins
from deepmix.experiment.size_options import SizeOptions
from deepmix.models import ObjectiveOptions
from deepmix.training import TrainingOptions


@dataclass(frozen=True)
class ModelHelp:
    """What the help shows of a configuration."""

    summary: str
    options: Mapping[str, Sequence[OptionRow]]
    """Rows by part, as `resolve` names the parts."""


def model_help(config: ExperimentConfig) -> ModelHelp:
    """Return the help on a configuration; its plugins are imported only where one has no valid description.

    Raises:
        UsageError: a name is unknown, or a part was asked for that the model has no place for.
        DeepmixError: a plugin without a description can't be loaded.

    """
    try:
        described = described_help(config)
    except LookupError:  # a description from another version of deepmix, with options that this one lacks
        described = None
    return described or imported_help(config)


def described_help(config: ExperimentConfig) -> ModelHelp | None:
    """Return the help from the plugins' descriptions; None where one has no valid description."""
    model = registry.find("models", config.model).description()
    if model is None:
        return None
    options = {
        "size": describe(SizeOptions()),
        "training": describe(TrainingOptions()),
        "objective": describe(ObjectiveOptions()) if model.objective is None else model.objective.rows(),
        "model": model.options.rows(),
    }
    for part, (kind, name) in selected_plugins(config, model.parts).items():
        if name is None:
            options[part] = describe(SplitOptions())
            continue
        description = registry.find(kind, name).description()
        if description is None:
            return None
        options[part] = description.options.rows()
    return ModelHelp(model.summary, options)


def imported_help(config: ExperimentConfig) -> ModelHelp:
    """Return the help from the plugins themselves."""
    from deepmix.experiment.parts import resolve  # waits for torch

    parts = resolve(config)
    return ModelHelp(parts.plan.summary, {part: describe(options) for part, options in parts.options.items()})
