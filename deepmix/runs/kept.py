"""What is stored beside a model's weights so that the run can be used later."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from deepmix.contracts import ClusteringHead
from deepmix.data import Split
from deepmix.maths import Array, Inference
from deepmix.metrics import bound_quantiles
from deepmix.runs.comparisons import InitialChoice
from deepmix.runs.conversion import MisfitError, from_plain, to_plain
from deepmix.runs.headers import InferenceHeader
from deepmix.runs.names import CHOICE
from deepmix.runs.records import damaged
from deepmix.runs.store import RunStore

KEPT_CONDITIONS = 1000
"""Training rows whose conditions a run stores; generated rows draw from them."""


def keep_inference(
    store: RunStore,
    split: Split,
    likelihood: str,
    heads: Mapping[str, ClusteringHead],
    training: Inference,
    further: Mapping[str, Array] | None = None,
) -> None:
    """Write inference.safetensors: all that is needed to use a run later, beside the model's weights.

    Args:
        store: the run's folder.
        split: the data it was trained on.
        likelihood: the observation model in use.
        heads: fitted, by name; a head whose state can't be stored is left out.
        training: the model's inference on the training rows.
        further: arrays that the caller reads again by these names.

    """
    preparation = split.preparation
    arrays = {"weights": np.average(np.exp(training.log_q_NK), axis=0, weights=training.weight_N)}
    if training.bound_N is not None:
        arrays["bounds"] = bound_quantiles(training.bound_N)
    if split.conditions is not None:
        chosen = np.random.default_rng(0).choice(split.train, min(KEPT_CONDITIONS, len(split.train)), replace=False)
        arrays["conditions"] = split.conditions[chosen]
    arrays |= {
        f"preparation.{name}": value for name in ("mean", "spread") if (value := getattr(preparation, name)) is not None
    }
    arrays |= further or {}
    states = {name: state for name, head in heads.items() if (state := head.state()) is not None}
    for name, state in states.items():
        arrays |= {f"head.{name}/{key}": value for key, value in state.items()}
    header = InferenceHeader(
        n_features=int(split.x.shape[1]),
        likelihood=likelihood,
        columns=preparation.columns,
        row_shape=preparation.row_shape,
        divisor=float(preparation.divisor),
        scale=preparation.scale,
        image_shape=split.image_shape,
        heads=tuple(states),
        n_flags=0 if split.flags is None else int(split.flags.shape[1]),
        n_conditions=split.rows.n_conditions,
    )
    store.write_weights(header, {name: torch.from_numpy(np.array(a)) for name, a in arrays.items()})


def keep_choice(store: RunStore, choice: InitialChoice) -> None:
    """Write what the initial clustering compared beside the checkpoint."""
    store.write_json(str(CHOICE), to_plain(choice))


def read_choice(store: RunStore) -> InitialChoice | None:
    """Return what the initial clustering of a run compared; None if the run has no such file.

    Raises:
        DeepmixError: the file is damaged.

    """
    if not store.has(str(CHOICE)):
        return None
    try:
        return from_plain(InitialChoice, store.read_json(str(CHOICE)))
    except MisfitError as error:
        raise damaged(str(store.path / CHOICE), error) from error
