"""Figures over several seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def summarize(results: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Return summary.json of several seeds: mean, std, best and values of each metric of each head, test rows.

    Args:
        results: metrics.json's contents by seed.

    """
    seeds = sorted(results)
    first = results[seeds[0]]
    heads: dict[str, Any] = {}
    for head, sides in first["heads"].items():
        names = [name for name, value in sides["test"].items() if name != "sizes" and value is not None]
        heads[head] = {name: spread([results[seed]["heads"][head]["test"][name] for seed in seeds]) for name in names}
    summary: dict[str, Any] = {"seeds": seeds, "split": "test", "heads": heads}
    summary["elbo"] = spread([results[seed]["elbo"]["test"] for seed in seeds])
    summary["seconds"] = spread([results[seed]["seconds"] for seed in seeds], best=min)
    if "test" in first.get("initial_labels", {}):
        summary["initial_labels"] = {"acc": spread([results[seed]["initial_labels"]["test"]["acc"] for seed in seeds])}
    return summary


def spread(values: list[Any], best: Any = max) -> dict[str, Any]:
    """Return mean, standard deviation (of the sample; None of fewer than two), best and the values themselves."""
    known = [value for value in values if value is not None]
    return {
        "mean": float(np.mean(known)) if known else None,
        "std": float(np.std(known, ddof=1)) if len(known) > 1 else None,
        "best": best(known) if known else None,
        "values": values,
    }
