"""Random numbers of one seed for code that names no generator, without torch's global generator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


@contextlib.contextmanager
def seeded_draws(seed: int) -> Iterator[None]:
    """Let this thread's draws on the CPU, such as a layer's initial weights, come from a generator of this seed.

    The numbers are those that `torch.manual_seed(seed)` would give. The global generator is neither seeded nor read, so
    fits in several threads don't disturb each other or their caller. Draws that name a generator keep it.
    """
    with _Draws(torch.Generator().manual_seed(seed)):
        yield


class _Draws(TorchDispatchMode):
    """A mode that gives each operator that draws without a generator this one; a thread has its own modes."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._generator = generator

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Whether torch wraps the mode so that its compiler passes over it: no, that would import it, for seconds."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        named = any(isinstance(value, torch.Generator) for value in (*args, *kwargs.values()))
        if torch.Tag.nondeterministic_seeded in func.tags and not named and _on_cpu(args, kwargs):
            func = _with_generator(func)
            if "generator" in {argument.name for argument in func._schema.arguments}:
                kwargs = {**kwargs, "generator": self._generator}
        return func(*args, **kwargs)


def _on_cpu(args: Any, kwargs: Any) -> bool:
    """Whether an operator draws on the CPU, where the generator is."""
    device = kwargs.get("device") or next((x.device for x in args if isinstance(x, torch.Tensor)), "cpu")
    return torch.device(device).type == "cpu"


def _with_generator(func: Any) -> Any:
    """Return the overload of an operator that takes a generator besides, such as `randn.generator`; else itself."""
    name = func._overloadname
    other = "generator" if name == "default" else f"{name}_generator"
    return getattr(func.overloadpacket, other, func)
