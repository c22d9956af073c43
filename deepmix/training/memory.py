"""Memory management for a process that runs one long job."""

from __future__ import annotations

import ctypes
import functools

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Parameter numbers from glibc's malloc.h."""


NEVER = 2**31 - 1


GROWTH = 64 << 20
"""Least number of bytes by which the heap grows, so that it grows rarely."""


@functools.cache
def keep_freed_memory() -> bool:
    """Make the C library keep freed memory for the next array of that size until the process ends.

    By default glibc maps new memory for every array of 32 MiB or more and unmaps it when the array is freed. The system
    then clears each page again when it is first written, and a backward pass spends most of its time on that. As the
    process keeps its peak memory, this is for commands such as `deepmix train`, not for library calls.

    Returns:
        Whether the setting took effect; False where the C library is not glibc.

    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
        ctypes.CDLL(None).gnu_get_libc_version  # noqa: B018 - musl has a mallopt that does nothing
    except (AttributeError, OSError, TypeError):
        return False
    settings = ((M_TRIM_THRESHOLD, NEVER), (M_TOP_PAD, GROWTH), (M_MMAP_MAX, 0))
    return all(mallopt(name, value) == 1 for name, value in settings)
