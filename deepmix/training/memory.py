"""How this process's memory is managed, where a long job is the process's only one."""

from __future__ import annotations

import ctypes
import functools

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Numbers of glibc's malloc.h."""


NEVER = 2**31 - 1


GROWTH = 64 << 20
"""Bytes the heap grows by at least, so that it seldom does."""


@functools.cache
def keep_freed_memory() -> bool:
    """Have the C library keep what it is given back, for the next array of that size, until the process ends.

    By default glibc maps an array of 32 MiB or more afresh and unmaps it when it is freed, and the system then
    clears every page again as it is written: a backward pass on such arrays spends most of its time on that.
    The process keeps its peak of memory, so this is for `deepmix train` and its like, not for a library call.

    Returns:
        Whether it is so now; False where the C library is not glibc.

    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
        ctypes.CDLL(None).gnu_get_libc_version  # noqa: B018 - musl has a mallopt that does nothing
    except (AttributeError, OSError, TypeError):
        return False
    settings = ((M_TRIM_THRESHOLD, NEVER), (M_TOP_PAD, GROWTH), (M_MMAP_MAX, 0))
    return all(mallopt(name, value) == 1 for name, value in settings)
