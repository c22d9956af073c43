"""What is stored beside a model's weights so that the run can be used later."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from deepmix.contracts import ClusteringHead
from deepmix.data import Split
from deepmix.maths import Array
from deepmix.runs.records import InferenceHeader
from deepmix.runs.store import RunStore


def keep_inference(
    store: RunStore, split: Split, likelihood: str, heads: Mapping[str, ClusteringHead], weight_K: Array
) -> None:
    """Write inference.safetensors: all that is needed to use a run later, beside the model's weights.

    Args:
        store: the run's folder.
        split: the data it was trained on.
        likelihood: the observation model in use.
        heads: fitted, by name; a head whose state can't be stored is left out.
        weight_K: mean q(y|x) of the training rows.

    """
    preparation = split.preparation
    arrays = {"weights": weight_K}
    arrays |= {
        f"preparation.{name}": value for name in ("mean", "spread") if (value := getattr(preparation, name)) is not None
    }
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
    )
    store.write_weights(header, {name: torch.from_numpy(np.array(a)) for name, a in arrays.items()})
