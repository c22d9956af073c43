"""The names of the plugins that a configuration selects; `--help` uses this, so nothing slow is imported here."""

from __future__ import annotations

from collections.abc import Mapping

from deepmix.contracts import registry
from deepmix.errors import UsageError, option
from deepmix.experiment.config import ExperimentConfig

KIND_OF_PART = {"encoder": "encoders", "decoder": "decoders", "prior": "priors", "posterior": "posteriors"}
"""The parts of a recipe, with the kind of plugin for each."""


def selected_plugins(config: ExperimentConfig, own: Mapping[str, str]) -> dict[str, tuple[str, str | None]]:
    """Return the kind and name of the plugin in each part of a run except the model, in the order of the help.

    Args:
        config: the requested configuration.
        own: names of the plugins in the model's own parts: `initializer`, and those of a recipe.

    Returns:
        (kind, name) by part: those of a recipe, `initializer`, `data`, `head.NAME` for each head, `tracker.NAME` for
        each tracker, and `format` where a plugin reads the data's file. The name of `data` is None where the rows come
        from a file.

    Raises:
        UsageError: the configuration sets a part that the model does not use.

    """
    selected: dict[str, tuple[str, str | None]] = {}
    for part, kind in KIND_OF_PART.items():
        requested: str | None = getattr(config, part)
        if part in own:
            selected[part] = kind, requested or own[part]
        elif requested is not None:
            raise UsageError(f"model '{config.model}' has its own {part}; leave out {option(part)}")
    selected["initializer"] = "initializers", config.init or own["initializer"]
    selected["data"] = "datasets", config.dataset if is_registered(config.dataset) else None
    for head in config.heads:
        selected[f"head.{head}"] = "heads", head
    for tracker in config.trackers:
        selected[f"tracker.{tracker}"] = "trackers", tracker
    reader = None if is_registered(config.dataset) else format_of(config.dataset)
    if reader is not None:
        selected["format"] = "formats", reader.identity
    return selected


def format_of(name: str) -> registry.Plugin | None:
    """Return the plugin that reads a file of this name; None where deepmix reads it itself, or nothing does.

    Raises:
        UsageError: two distributions claim the format.

    """
    suffixes = [suffix for suffix in registry.names("formats") if name.lower().endswith(f".{suffix.lower()}")]
    if not suffixes:
        return None
    from deepmix.data import SUFFIXES  # slow, so only where a plugin may read the file

    if name.lower().endswith(SUFFIXES):
        return None
    return registry.find("formats", max(suffixes, key=len))


def is_registered(name: str) -> bool:
    """Whether a plugin registers a data set of this name."""
    return name.rpartition(":")[2] in registry.names("datasets")
