"""Decides whether a kernel or the reference computes."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

from deepmix.kernels import autograd, loader

_reference_only = False


@contextlib.contextmanager
def reference_only() -> Iterator[None]:
    """Let plain PyTorch compute in place of the kernels, to compare the two."""
    global _reference_only
    _reference_only = True
    try:
        yield
    finally:
        _reference_only = False


def look_for_kernel(device_type: str) -> bool:
    """Return whether a kernel computes on this type of device; the first call loads the kernels."""
    return not _reference_only and device_type in kernel_devices()


@functools.cache
def kernel_devices() -> frozenset[str]:
    """Load and register the kernels, once per process, and return the device types that have them."""
    devices = loader.load_kernels().devices
    if devices:
        autograd.register()
    return devices
