"""Which plugins a configuration asks for, by name; `--help` calls this, so nothing slow is imported here."""

from __future__ import annotations

from collections.abc import Mapping

from deepmix.contracts import registry
from deepmix.errors import UsageError, option
from deepmix.experiment.config import ExperimentConfig

KIND_OF_PART = {"encoder": "encoders", "decoder": "decoders", "prior": "priors", "posterior": "posteriors"}
"""The parts of a recipe, each with the kind of plugin that it is."""


def selected_plugins(config: ExperimentConfig, own: Mapping[str, str]) -> dict[str, tuple[str, str | None]]:
    """Return the kind and name of the plugin in each part of a run beside the model, in the order the help shows them.

    Args:
        config: what was asked for.
        own: names of the plugins in the model's own parts: `initializer`, and those of a recipe.

    Returns:
        (kind, name) by part: those of a recipe, `initializer`, `data`, and `head.NAME` for each head. The name of
        `data` is None where the rows come from a file.

    Raises:
        UsageError: a part was asked for that this model has no place for.

    """
    selected: dict[str, tuple[str, str | None]] = {}
    for part, kind in KIND_OF_PART.items():
        asked: str | None = getattr(config, part)
        if part in own:
            selected[part] = kind, asked or own[part]
        elif asked is not None:
            raise UsageError(f"model '{config.model}' has its own {part}; leave out {option(part)}")
    selected["initializer"] = "initializers", config.init or own["initializer"]
    selected["data"] = "datasets", config.dataset if is_registered(config.dataset) else None
    for head in config.heads:
        selected[f"head.{head}"] = "heads", head
    return selected


def is_registered(name: str) -> bool:
    """Whether a plugin has registered a data set of this name."""
    return name.rpartition(":")[2] in registry.names("datasets")
