"""Metrics of other distributions: they are declared like the core's own, and one that fails has no value."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import cache

from deepmix.contracts import registry
from deepmix.errors import DeepmixError
from deepmix.metrics import METRICS, Clustering, Metric, declare


@cache
def declare_installed() -> tuple[str, ...]:
    """Declare the metrics of all installed plugins, once; return a sentence about each one that can't be.

    A metric goes by the name of its entry point, as `distribution:name` where another one has that name.
    """
    problems = []
    for name, plugin in registry.by_shortest_name("metrics").items():
        try:
            loaded = plugin.load()
        except DeepmixError as error:
            problems.append(f"{error}; its figures are missing")
            continue
        if not isinstance(loaded, Metric):
            problems.append(f"metric '{name}' of {plugin.distribution} is not a deepmix.metrics.Metric; it is left out")
            continue
        name = plugin.identity if name in METRICS else name
        declare(dataclasses.replace(loaded, name=name, compute=_guarded(loaded.compute, name)))
    return tuple(problems)


def metric_failures() -> tuple[str, ...]:
    """Return a sentence about each metric that failed since the last call."""
    failures = tuple(_FAILURES.values())
    _FAILURES.clear()
    return failures


_FAILURES: dict[str, str] = {}
"""A sentence about each metric that failed, by name."""


def _guarded(compute: Callable[[Clustering], float | None], name: str) -> Callable[[Clustering], float | None]:
    """Return the function of a metric; where it fails, the reason is noted and there is no value."""

    def guarded(clustering: Clustering) -> float | None:
        try:
            value = compute(clustering)
            if value is None or math.isfinite(value):
                return None if value is None else float(value)
            reason = f"it returned {value}"
        except Exception as error:  # code that is not ours may fail in any way
            reason = f"{type(error).__name__}: {error}"
        _FAILURES[name] = f"metric '{name}' could not be computed ({reason}); its value is missing"
        return None

    return guarded
