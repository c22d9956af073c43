"""Checks of plugins against their contracts before a run uses them; the error names the broken plugin."""

from __future__ import annotations

import numpy as np
import torch

from deepmix import testing
from deepmix.contracts import registry
from deepmix.data import Rows, RowTensors, Split
from deepmix.errors import DeepmixError
from deepmix.experiment.assembly import build_model
from deepmix.experiment.config import ExperimentConfig
from deepmix.experiment.parts import Parts
from deepmix.maths import Array, seeded_draws

MIN_ROWS = 4
"""Half of the least number of rows that a model is checked with."""


def try_model(config: ExperimentConfig, parts: Parts, split: Split, n_components: int) -> None:
    """Run the check of `deepmix.testing` on a model, at the sizes of its data.

    Raises:
        DeepmixError: the model fails the check or can't be built.

    """
    roles = ("model", *parts.plan.part_names)
    plugins = [plugin for role, plugin in parts.plugins.items() if role in roles]
    model = build_model(parts, split, n_components, config.seed)
    try:
        with seeded_draws(config.seed):
            testing.check_model(model, split.rows.n_inputs, _some_rows(split, model.n_components))
    except DeepmixError:
        raise
    except Exception as error:  # code that is not ours may fail in any way
        reason = str(error).split("\n")[0]
        foreign = [plugin for plugin in plugins if plugin.distribution != registry.OURS] or plugins
        suspects = [f"{registry.singular(p.kind)} '{p.name}' of {p.distribution}" for p in foreign]
        raise DeepmixError(
            f"{' or '.join(suspects)} breaks its contract ({type(error).__name__}: {reason}); "
            "fix it; deepmix.testing checks it"
        ) from error


def _some_rows(split: Split, n_components: int) -> RowTensors | None:
    """Return rows of a table to check a model with; rows of arrays need not be read, as random ones will do."""
    if split.schema is None:
        return None
    numbers = np.resize(split.train, 2 * max(n_components, MIN_ROWS))
    return next(Rows(split.rows, numbers, torch.device("cpu")).in_order(len(numbers)))


def checked_clusters(clusters: Array, n_rows: int, n_clusters: int | None, plugin: str) -> Array:
    """Return a plugin's cluster numbers; raise a DeepmixError unless they are (N,), from 0, and below K if given."""
    clusters = np.asarray(clusters)
    kind, shape = clusters.dtype.kind, clusters.shape
    highest = np.inf if n_clusters is None else n_clusters - 1
    if kind not in "iu" or shape != (n_rows,) or clusters.min() < 0 or clusters.max() > highest:
        valid_range = "from 0" if n_clusters is None else f"in 0..{n_clusters - 1}"
        raise DeepmixError(
            f"{plugin} must return {n_rows} whole numbers {valid_range}, but returned {clusters.dtype} of shape "
            f"{shape}; fix the plugin"
        )
    return clusters
