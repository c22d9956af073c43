"""The numbers of deepmix's records, by flat names as trackers take them."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Mapping
from typing import Any

from deepmix.errors import DeepmixError

Plain = bool | int | float | str


def require_client(tracker: str, module: str, package: str) -> None:
    """Raise a DeepmixError unless a tracker's client is installed."""
    try:
        missing = importlib.util.find_spec(module) is None
    except ModuleNotFoundError:  # of the package that holds the module
        missing = True
    if missing:
        raise DeepmixError(f"tracker '{tracker}' needs a package that is not installed; pip install {package}")


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Plain]]:
    """Return the plain values of nested tables, named by their keys joined by dots; lists and nulls are left out."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        elif isinstance(value, bool | int | float | str):
            yield f"{prefix}{key}", value


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers of nested tables, by their flat names."""
    return {
        name: float(value)
        for name, value in flat(values)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def epoch_numbers(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of an epoch's record, without its number."""
    return {name: value for name, value in numbers(record).items() if name != "epoch"}


def final_numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return what a finished run is measured by: its heads' scores, bounds, initial clustering, and costs."""
    keys = ("heads", "elbo", "initial_labels", "knn_error", "seconds", "n_parameters")
    return numbers({key: metrics[key] for key in keys if key in metrics})


def options(config: Mapping[str, Any]) -> dict[str, Plain]:
    """Return the options of a run as they were resolved, with its data set, model and seed."""
    requested = {key: config[key] for key in ("dataset", "model", "seed", "init", "prior") if key in config}
    return dict(flat({**requested, **config.get("resolved", {})}))
