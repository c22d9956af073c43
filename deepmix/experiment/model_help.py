"""The content of `deepmix train --model NAME --help`: a model's summary and the options of its parts."""

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
    """The content of the help on a configuration."""

    summary: str
    options: Mapping[str, Sequence[OptionRow]]
    """Rows by part; `resolve` uses the same names of parts."""


def model_help(config: ExperimentConfig) -> ModelHelp:
    """Return the help on a configuration; its plugins are imported only where one has no valid description.

    Raises:
        UsageError: a name is unknown, or the configuration sets a part that the model does not use.
        DeepmixError: a plugin without a description can't be loaded.

    """
    try:
        help_text = described_help(config)
    except LookupError:  # the description is from another version of deepmix, whose options this one lacks
        help_text = None
    return help_text or imported_help(config)


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
    """Return the help from the imported plugins."""
    from deepmix.experiment.parts import resolve  # imports torch

    parts = resolve(config)
    return ModelHelp(parts.plan.summary, {part: describe(options) for part, options in parts.options.items()})
