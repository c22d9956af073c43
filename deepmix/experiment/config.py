"""Everything that decides a run, as values a file can hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deepmix.errors import UsageError, option

SHORTHANDS = ("components", "latent_dim", "assignment", "beta", "epochs", "pretrain_epochs", "batch_size", "lr")
"""Options the command line and the estimator take by themselves; the others are settings."""


IN_MEMORY = "rows in memory"
"""What stands for the data set of a run whose rows were never in a file."""


MAX_SEED = 2**32 - 1
"""The largest seed NumPy and scikit-learn take."""


@dataclass(frozen=True)
class ExperimentConfig:
    """Everything that decides a run. `None` takes the model's own part."""

    model: str = "mvae-emv2"
    prior: str | None = None
    posterior: str | None = None
    encoder: str | None = None
    decoder: str | None = None
    init: str | None = None
    heads: tuple[str, ...] = ("posterior",)
    dataset: str = "digits"
    """A data set's name, or a file."""
    label_column: str | None = None
    data_dir: str | None = None
    seed: int = 0
    device: str = "auto"
    settings: Mapping[str, str] = field(default_factory=dict)
    """Options of the parts by `key` or `part.key`; what `--set` gives."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= MAX_SEED:
            raise UsageError(f"seed must be at least 0 and at most {MAX_SEED}, got {self.seed}")
        if not self.heads:
            raise UsageError(f"at least one head is needed; give one with {option('head')}")


CONFIG_KEYS = tuple(f.name for f in dataclasses.fields(ExperimentConfig))


def config_from_mapping(values: Mapping[str, Any], source: str) -> ExperimentConfig:
    """Read a configuration, such as a run's config.json or one written by hand.

    Keys are those of ExperimentConfig; `head` may stand for `heads`, and any other key with a plain value
    is an option, as `--set` takes it. Tables become dotted keys. What a run adds to its config.json is left out.

    Raises:
        UsageError: a value is of the wrong kind.
        DeepmixError: it is the config.json of a newer deepmix.

    """
    from deepmix.runs import ADDED_KEYS, check_format, is_config  # here: the options of --help wait for no library

    if is_config(values):
        check_format(values, source)
        values = {key: value for key, value in values.items() if key not in ADDED_KEYS}
    known = {key: value for key, value in values.items() if key in CONFIG_KEYS and key != "settings"}
    if "head" in values:
        known["heads"] = values["head"]
    if isinstance(known.get("heads"), str):
        known["heads"] = [known["heads"]]
    optional = {f.name for f in dataclasses.fields(ExperimentConfig) if f.default is None}
    for key, value in known.items():
        expected: Any = {"heads": (list, tuple), "seed": int}.get(key, str)
        if not isinstance(value, expected) and not (value is None and key in optional):
            raise UsageError(f"{source}: '{key}' has a value of the wrong kind: {value!r}")
    if "heads" in known:
        known["heads"] = tuple(map(str, known["heads"]))
    others = {key: value for key, value in values.items() if key not in (*CONFIG_KEYS, "head")}
    settings = values.get("settings", {})
    if not isinstance(settings, Mapping):
        raise UsageError(f"{source}: 'settings' must be a table of options, got {settings!r}")
    known["settings"] = {**_flatten(others, source), **_flatten(settings, source)}
    return ExperimentConfig(**known)


def _flatten(table: Mapping[str, Any], source: str, prefix: str = "") -> dict[str, str]:
    """Return a table's values as text by dotted key."""
    flat: dict[str, str] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, source, f"{prefix}{key}.")
        elif isinstance(value, str | int | float):
            flat[f"{prefix}{key}"] = str(value)
        else:
            raise UsageError(f"{source}: option '{prefix}{key}' has a value of the wrong kind: {value!r}")
    return flat
