"""The tensors of a training state: what a checkpoint holds and how it is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deepmix.contracts import Model
from deepmix.errors import DeepmixError
from deepmix.runs import CHECKPOINT, PREVIOUS, CheckpointMeta, RunStore
from deepmix.training.reporter import Reporter


def checkpoint_tensors(model: Model, optimizer: torch.optim.Optimizer, labels_N: Tensor | None) -> dict[str, Tensor]:
    """Return the weights, the optimiser's moments, what only training needs, and the initial labels, (N,), if any."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items() if value is not None}
    tensors |= {f"state.{name}": value for name, value in model.training_state().items()}
    return tensors if labels_N is None else tensors | {"labels": labels_N}


def load_tensors(tensors: Mapping[str, Tensor], model: Model, optimizer: torch.optim.Optimizer) -> None:
    """Give a model and its optimiser the state that `checkpoint_tensors` returned.

    Raises:
        RuntimeError, ValueError, KeyError, TypeError: the tensors are not those of such a model.

    """
    model.load_state_dict(_below("model.", tensors))
    if state := _below("state.", tensors):
        model.restore_training_state(state)
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in _below("optimizer.", tensors).items():
        index, key = name.split(".")
        moments.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def last_checkpoint(folder: RunStore, reporter: Reporter) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Return the tensors of the last checkpoint that is whole and its header as JSON; None if there are none.

    Raises:
        DeepmixError: every checkpoint is damaged.

    """
    failure: DeepmixError | None = None
    for name in (CHECKPOINT, PREVIOUS):
        if not folder.has(name):
            continue
        try:
            tensors, meta = folder.read_weights(CheckpointMeta, name)
        except DeepmixError as error:
            failure = failure or error
            continue
        if failure is not None:
            reporter.note(f"'{folder.path / CHECKPOINT}' is damaged; the run goes on from the checkpoint before it")
        return tensors, meta.to_json()
    if failure is not None:
        raise failure
    return {}, None
