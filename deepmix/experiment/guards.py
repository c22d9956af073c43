"""Plugins held to their contracts where a run uses them, so that a broken one is named and not met as a traceback."""

from __future__ import annotations

import numpy as np
import torch

from deepmix import testing
from deepmix.contracts import registry
from deepmix.data import Split
from deepmix.errors import DeepmixError
from deepmix.experiment.assembly import build_model
from deepmix.experiment.config import ExperimentConfig
from deepmix.experiment.parts import Parts
from deepmix.maths import Array


def try_model(config: ExperimentConfig, parts: Parts, split: Split, n_components: int) -> None:
    """Check a model by the check that plugin authors call, at the sizes of its data.

    Raises:
        DeepmixError: it fails the check that plugins are tested by, or can't be built.

    """
    roles = ("model", *parts.plan.part_names)
    plugins = [plugin for role, plugin in parts.plugins.items() if role in roles]
    model = build_model(parts, split, n_components, config.seed)
    try:
        with torch.random.fork_rng(devices=[]):
            testing.check_model(model, split.x.shape[1])
    except DeepmixError:
        raise
    except Exception as error:  # whatever is wrong in code that is not ours
        reason = str(error).split("\n")[0]
        foreign = [plugin for plugin in plugins if plugin.distribution != registry.OURS] or plugins
        suspects = [f"{registry.singular(p.kind)} '{p.name}' of {p.distribution}" for p in foreign]
        raise DeepmixError(
            f"{' or '.join(suspects)} breaks its contract ({type(error).__name__}: {reason}); "
            "mend it, deepmix.testing checks it"
        ) from error


def checked_clusters(clusters: Array, n_rows: int, n_clusters: int | None, plugin: str) -> Array:
    """Return a plugin's cluster numbers, (N,) from 0 and below K if it is given; a DeepmixError if they are none."""
    clusters = np.asarray(clusters)
    kind, shape = clusters.dtype.kind, clusters.shape
    highest = np.inf if n_clusters is None else n_clusters - 1
    if kind not in "iu" or shape != (n_rows,) or clusters.min() < 0 or clusters.max() > highest:
        wanted = "from 0" if n_clusters is None else f"in 0..{n_clusters - 1}"
        raise DeepmixError(
            f"{plugin} must give {n_rows} whole numbers {wanted} and gave {clusters.dtype} of shape {shape}; "
            "mend the plugin"
        )
    return clusters
