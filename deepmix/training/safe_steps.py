"""Numerical trouble in training: steps that are left out, and states to go back to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from deepmix.runs import EpochRecord

MOST_DROPPED = 0.1
"""An epoch has failed if more than this fraction of its steps, and more than one step, were left out."""


MOST_HALVINGS = 3
"""Number of times that a run goes back to the start of a failed epoch with half the learning rate."""


def is_finite_step(objective: Tensor, parameters: Iterable[nn.Parameter]) -> Tensor:
    """Return whether an objective and the norm of its gradient are finite, as a tensor, so that no device waits.

    The norm is that of all gradients in their own precision: where it overflows, so do Adam's squares.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return (objective.detach().float() + nn.utils.get_total_norm(gradients)).isfinite()


def step_if(is_finite: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Let an optimiser step if the step is finite; otherwise neither the parameters nor its state change."""
    if not getattr(optimizer, "_step_supports_amp_scaling", False):  # it is not fused, so the device has to be asked
        if is_finite:
            optimizer.step()
        return
    optimizer.found_inf = (~is_finite).float()  # type: ignore[attr-defined]  # as torch.amp.GradScaler does
    optimizer.step()


def has_failed(row: EpochRecord, n_steps: int) -> bool:
    """Whether an epoch has to be done again: too many of its steps were left out, or a figure is not finite."""
    dropped = row.dropped_steps or 0
    figures = (row.elbo, row.objective, *row.terms.values())
    finite = all(value is None or math.isfinite(value) for value in figures)
    return not finite or dropped == n_steps or dropped > max(MOST_DROPPED * n_steps, 1.0)


class SavedState:
    """A copy of a model's and its optimiser's tensors to go back to; it reuses its memory."""

    def __init__(self) -> None:
        self._copies: list[Tensor] = []

    def take(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Copy the tensors."""
        tensors = _tensors(model, optimizer)
        if [copy.shape for copy in self._copies] != [tensor.shape for tensor in tensors]:
            self._copies = [torch.empty_like(tensor) for tensor in tensors]
        torch._foreach_copy_(self._copies, tensors)

    def put_back(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Give the tensors the values that they had; an optimiser that had no state yet has none again."""
        if len(self._copies) == len(_tensors(model, None)):
            optimizer.state.clear()
        for copy, tensor in zip(self._copies, _tensors(model, optimizer), strict=True):
            tensor.copy_(copy)


def _tensors(model: nn.Module, optimizer: torch.optim.Optimizer | None) -> list[Tensor]:
    tensors = [tensor.detach() for tensor in (*model.parameters(), *model.buffers())]
    if optimizer is not None:
        states = (value for state in optimizer.state.values() for value in state.values())
        tensors += [value for value in states if isinstance(value, Tensor)]
    return tensors


def warnings_on_steps(epochs: Sequence[EpochRecord]) -> list[str]:
    """Return a sentence about the numerical trouble of a run, if there was any."""
    dropped = sum(row.dropped_steps or 0 for row in epochs)
    halvings = sum(row.lr_halvings or 0 for row in epochs)
    if not dropped and not halvings:
        return []
    parts = [f"{dropped} updates were left out because their loss or gradient was not finite"] if dropped else []
    if halvings:
        times = "once" if halvings == 1 else f"{halvings} times"
        parts.append(f"training went back {times} to the start of an epoch and on with half the learning rate")
    return [
        f"numerical trouble: {', and '.join(parts)}; try a smaller `lr`, or `scale=standard` for data with very large "
        "values"
    ]
