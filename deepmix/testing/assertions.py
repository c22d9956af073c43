"""Assertions that say what was expected of a plugin."""

from __future__ import annotations

from collections.abc import Callable, Sized

import torch
from torch import Tensor

TOLERANCE = 1e-4
"""Rounding error of float32 that is accepted after a few layers."""


def assert_same_shape(what: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Raise an AssertionError unless a tensor has the shape."""
    if tuple(tensor.shape) != shape:
        raise AssertionError(f"{what} must have shape {shape}, got {tuple(tensor.shape)}")


def assert_close(what: str, left: Tensor, right: Tensor) -> None:
    """Raise an AssertionError unless two tensors agree within TOLERANCE."""
    if not torch.allclose(left, right, rtol=TOLERANCE, atol=TOLERANCE):
        raise AssertionError(f"{what} must agree, but differ by {float((left - right).abs().max()):.3g}")


def assert_empty_rows(call: Callable[[], Sized]) -> None:
    """Raise an AssertionError unless the result for a batch without rows is empty."""
    if len(call()) != 0:
        raise AssertionError("an empty batch must give an empty result")
