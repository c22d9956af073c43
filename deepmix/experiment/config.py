"""The configuration of a run, as values that a file can hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deepmix.data import TableOptions
from deepmix.errors import UsageError, option

SHORTHANDS = (
    *("components", "latent_dim", "assignment", "likelihood", "beta"),
    *("epochs", "pretrain_epochs", "batch_size", "lr"),
)
"""Options that have their own argument on the command line and in the estimator; the others are settings."""


IN_MEMORY = "rows in memory"
"""The data set's name in a run whose rows were never in a file."""


MAX_SEED = 2**32 - 1
"""The largest seed that NumPy and scikit-learn accept."""


KINDS: Mapping[str, Any] = {
    "heads": (list, tuple),
    "trackers": (list, tuple),
    "seed": int,
    "table": (Mapping, TableOptions),
    "proba": bool,
    "baselines": bool,
}
"""The types of a configuration's values in a file; of all others, str."""


@dataclass(frozen=True)
class ExperimentConfig:
    """The configuration of a run; `None` stands for the model's own part."""

    model: str = "mvae-emv2"
    prior: str | None = None
    posterior: str | None = None
    encoder: str | None = None
    decoder: str | None = None
    init: str | None = None
    heads: tuple[str, ...] = ("posterior",)
    dataset: str = "digits"
    """The name of a data set, or the path of a file."""
    label_column: str | None = None
    data_dir: str | None = None
    seed: int = 0
    device: str = "auto"
    settings: Mapping[str, str] = field(default_factory=dict)
    """Options of the parts by `key` or `part.key`, as passed to `--set`."""
    table: TableOptions | None = None
    """What the user says about a table's columns; None: nothing."""
    proba: bool | None = None
    """Whether assignments.csv holds every component's probability; None: it does not."""
    baselines: bool | None = None
    """Whether plain methods are run beside the model, for comparison; None: they are."""
    trackers: tuple[str, ...] = ()
    """The trackers that log the run."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= MAX_SEED:
            raise UsageError(f"{option('seed')} must be at least 0 and at most {MAX_SEED}, got {self.seed}")
        if not self.heads:
            raise UsageError(f"at least one head is needed; give one with {option('head')}")


CONFIG_KEYS = tuple(f.name for f in dataclasses.fields(ExperimentConfig))


def config_from_mapping(values: Mapping[str, Any], source: str) -> ExperimentConfig:
    """Return the configuration in a mapping, such as a run's config.json or a file written by hand.

    Keys are those of ExperimentConfig; `head` is accepted for `heads`, and any other key with a plain value is an
    option, as `--set` takes it. Tables become dotted keys. Keys that a run adds to its config.json are ignored.

    Raises:
        UsageError: a value has the wrong kind.
        DeepmixError: the config.json is from a newer deepmix.

    """
    from deepmix.runs import (  # so that --help loads no library
        ADDED_KEYS,
        MisfitError,
        check_format,
        from_plain,
        is_config,
    )

    if is_config(values):
        check_format(values, source)
        values = {key: value for key, value in values.items() if key not in ADDED_KEYS}
    fields = {key: value for key, value in values.items() if key in CONFIG_KEYS and key != "settings"}
    if "head" in values:
        fields["heads"] = values["head"]
    if isinstance(fields.get("heads"), str):
        fields["heads"] = [fields["heads"]]
    optional = {f.name for f in dataclasses.fields(ExperimentConfig) if f.default is None}
    for key, value in fields.items():
        expected: Any = KINDS.get(key, str)
        if not isinstance(value, expected) and not (value is None and key in optional):
            raise UsageError(f"{source}: '{key}' has a value of the wrong kind: {value!r}")
    for key in ("heads", "trackers"):
        if key in fields:
            fields[key] = tuple(map(str, fields[key]))
    if isinstance(fields.get("table"), Mapping):
        try:
            fields["table"] = from_plain(TableOptions, fields["table"], "table", strict=True)
        except MisfitError as error:
            raise UsageError(f"{source}: {error}") from error
    others = {key: value for key, value in values.items() if key not in (*CONFIG_KEYS, "head")}
    settings = values.get("settings", {})
    if not isinstance(settings, Mapping):
        raise UsageError(f"{source}: 'settings' must be a table of options, got {settings!r}")
    fields["settings"] = {**_flatten(others, source), **_flatten(settings, source)}
    return ExperimentConfig(**fields)


def _flatten(table: Mapping[str, Any], source: str, prefix: str = "") -> dict[str, str]:
    """Return the values of a table as text, by dotted key."""
    flat: dict[str, str] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, source, f"{prefix}{key}.")
        elif isinstance(value, str | int | float):
            flat[f"{prefix}{key}"] = str(value)
        else:
            raise UsageError(f"{source}: option '{prefix}{key}' has a value of the wrong kind: {value!r}")
    return flat
