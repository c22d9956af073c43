"""Checks of plugins against their contracts before a run uses them; the error names the broken plugin."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from deepmix import testing
from deepmix.contracts import registry
from deepmix.data import Rows, RowTensors, Split
from deepmix.errors import DeepmixError
from deepmix.experiment.assembly import build_model, dims_of, layout_of, part_sizes
from deepmix.experiment.config import ExperimentConfig
from deepmix.experiment.parts import LIKELIHOOD, Parts
from deepmix.maths import Array, seeded_draws

NOISE = -1
"""The cluster number of a row that is in no cluster."""
MIN_ROWS = 4
"""Half of the least number of rows that a model is checked with."""


CHECKS: Mapping[str, Callable[..., None]] = {
    "encoders": testing.check_encoder,
    "decoders": testing.check_decoder,
    "priors": testing.check_prior,
    "posteriors": testing.check_posterior,
    "likelihoods": testing.check_likelihood,
    "initializers": testing.check_initializer,
    "heads": testing.check_head,
}
"""The check of `deepmix.testing` that a part of each kind has to pass."""


def try_parts(parts: Parts, split: Split, n_components: int, seed: int) -> None:
    """Run the checks of `deepmix.testing` on the parts of other distributions, with the options and sizes of the run.

    Raises:
        DeepmixError: a part fails its check; the message names the plugin and the clause of its contract.

    """
    layout = layout_of(parts, split)
    n_components = 1 if parts.plan.single_component else n_components
    n_outputs = sum(parts.classes[f"{LIKELIHOOD}{b.likelihood}"](b).n_outputs for b in layout.blocks)
    sizes = part_sizes(parts, dims_of(parts, layout, n_outputs, n_components))
    for part, plugin in parts.plugins.items():
        if plugin.distribution == registry.OURS or plugin.kind not in CHECKS:
            continue
        arguments: tuple[Any, ...] = (_with_options(plugin.load(), parts.options.get(part)),)
        if part in sizes:
            arguments = (*arguments, sizes[part])
        with _blaming(plugin, CHECKS[plugin.kind].__name__), seeded_draws(seed), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those of the run itself are shown
            CHECKS[plugin.kind](*arguments)


def try_data(parts: Parts, split: Split) -> None:
    """Run the check of `deepmix.testing` on a loaded data set of another distribution.

    Raises:
        DeepmixError: the data set breaks its contract.

    """
    plugin = parts.plugins.get("data")
    if plugin is not None and plugin.distribution != registry.OURS:
        with _blaming(plugin, "check_dataset"):
            testing.check_split(split)


@contextmanager
def _blaming(plugin: registry.Plugin, check: str) -> Iterator[None]:
    """Turn a failed check into an error that names the plugin, the clause and the check."""
    try:
        yield
    except DeepmixError:
        raise
    except Exception as error:  # code that is not ours may fail in any way
        reason = str(error).split("\n")[0]
        reason = reason if isinstance(error, AssertionError) and reason else f"{type(error).__name__}: {reason}"
        raise DeepmixError(
            f"{registry.singular(plugin.kind)} '{plugin.name}' of {plugin.distribution} breaks its contract: {reason}; "
            f"fix the plugin, which deepmix.testing.{check} tests"
        ) from error


def _with_options(loaded: Any, options: Any) -> Any:
    """Return a class whose default options are these; anything that takes no options stays as it is."""
    if options is None or not (isinstance(loaded, type) and hasattr(loaded, "Options")):
        return loaded
    return type(loaded.__name__, (loaded,), {"Options": staticmethod(lambda: options), "__doc__": loaded.__doc__})


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
    n_rows = 2 * max(n_components, MIN_ROWS)
    numbers = np.resize(split.train[:n_rows], n_rows)
    return next(Rows(split.rows, numbers, torch.device("cpu")).in_order(len(numbers)))


def checked_clusters(clusters: Array, n_rows: int, n_clusters: int | None, plugin: str) -> Array:
    """Return a plugin's cluster numbers; -1 is noise, a row that is in no cluster.

    Raises:
        DeepmixError: they are not (N,) whole numbers, at least -1, and below K if that is given; or all are -1.

    """
    clusters = np.asarray(clusters)
    kind, shape = clusters.dtype.kind, clusters.shape
    highest = np.inf if n_clusters is None else n_clusters - 1
    if kind not in "iu" or shape != (n_rows,) or clusters.min() < NOISE or clusters.max() > highest:
        valid_range = "from 0" if n_clusters is None else f"in 0..{n_clusters - 1}"
        raise DeepmixError(
            f"{plugin} must return {n_rows} whole numbers {valid_range}, or -1 for noise, but returned "
            f"{clusters.dtype} of shape {shape}; fix the plugin"
        )
    if n_clusters is not None and (clusters == NOISE).all():
        raise DeepmixError(f"{plugin} calls every row noise, so there is nothing to start from; choose another")
    return clusters
