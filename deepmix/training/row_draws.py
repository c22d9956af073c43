"""Random draws for some rows of a batch that equal those for the whole batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class CutDraws(TorchFunctionMode):
    """A mode in which a generator's draws for a share of a batch's rows are cut from the draws for the whole batch.

    Each process that trains on a share of a batch makes the draws for all its rows and keeps its own, so that the rows
    get the same numbers however many processes there are. The axis of the rows is the first one that is as long as the
    share. Draws without such an axis are left as they are: each process then makes the same ones.
    """

    def __init__(self, generator: torch.Generator, first: int, last: int, n_rows: int) -> None:
        super().__init__()
        self._generator, self._first, self._last, self._n_rows = generator, first, last, n_rows

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a function of torch; one that draws from the generator gets a whole batch."""
        kwargs = kwargs or {}
        if kwargs.get("generator") is not self._generator:
            return func(*args, **kwargs)
        if any(isinstance(argument, Tensor) for argument in args):
            return self._draw_like(func, args, kwargs)
        return self._draw_of_size(func, args, kwargs)

    def _axis(self, shape: Sequence[int]) -> int | None:
        """Return the axis of the rows."""
        n_own = self._last - self._first
        return next((axis for axis, length in enumerate(shape) if length == n_own), None)

    def _cut(self, whole: Tensor, axis: int) -> Tensor:
        return whole.narrow(axis, self._first, self._last - self._first)

    def _draw_of_size(self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Draw with a function that takes a size, such as torch.randn."""
        shape: Sequence[int] = kwargs.get("size", ())
        before: Sequence[Any] = args  # such as the bounds of torch.randint
        if "size" not in kwargs and args:
            in_one = not isinstance(args[-1], int)
            shape, before = (args[-1], args[:-1]) if in_one else (args, ())
        axis = self._axis(shape)
        if axis is None:
            return func(*args, **kwargs)
        whole = (*shape[:axis], self._n_rows, *shape[axis + 1 :])
        return self._cut(func(*before, whole, **{key: value for key, value in kwargs.items() if key != "size"}), axis)

    def _draw_like(self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Draw with a function that takes tensors, such as torch.multinomial; other processes' rows are ones."""
        first = next(argument for argument in args if isinstance(argument, Tensor))
        axis = self._axis(first.shape)
        if axis is None:
            return func(*args, **kwargs)
        whole = func(*(self._widened(arg, axis) if isinstance(arg, Tensor) else arg for arg in args), **kwargs)
        own = self._cut(whole, axis)
        return first.copy_(own) if func.__name__.endswith("_") else own

    def _widened(self, own: Tensor, axis: int) -> Tensor:
        if own.ndim <= axis or own.shape[axis] != self._last - self._first:
            return own
        whole = own.new_ones((*own.shape[:axis], self._n_rows, *own.shape[axis + 1 :]))
        self._cut(whole, axis).copy_(own.detach())
        return whole
