"""Memory management for a process that runs one long job."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import threading
from collections.abc import Iterator

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4
"""Parameter numbers from glibc's malloc.h."""


NEVER = 2**31 - 1


GROWTH = 64 << 20
"""Least number of bytes by which the heap grows, so that it grows rarely."""


KEEPING = {M_TRIM_THRESHOLD: NEVER, M_TOP_PAD: GROWTH, M_MMAP_MAX: 0}


RETURNING = {M_TRIM_THRESHOLD: 64 << 20, M_TOP_PAD: 128 << 10, M_MMAP_THRESHOLD: 32 << 20, M_MMAP_MAX: 1 << 16}
"""What glibc's defaults have become in a process that has freed large arrays; the thresholds then stay as they are."""


_jobs = threading.Lock()


_n_jobs = 0
"""Number of jobs that keep freed memory now."""


@contextlib.contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep freed memory while a long job runs in a process that goes on, and give it back to the system afterwards.

    It is kept until the last of several jobs ends, and stays kept after `keep_freed_memory`.
    """
    global _n_jobs
    with _jobs:
        _n_jobs += 1
        _set(KEEPING)
    try:
        yield
    finally:
        with _jobs:
            _n_jobs -= 1
            if _n_jobs == 0 and not keep_freed_memory.cache_info().currsize and _set(RETURNING):
                ctypes.CDLL(None).malloc_trim(0)


@functools.cache
def keep_freed_memory() -> bool:
    """Make the C library keep freed memory for the next array of that size until the process ends.

    By default glibc maps new memory for every array of 32 MiB or more and unmaps it when the array is freed. The system
    then clears each page again when it is first written, and a backward pass spends most of its time on that. As the
    process keeps its peak memory, this is for commands such as `deepmix train`; library calls use `freed_memory_kept`.

    Returns:
        Whether the setting took effect; False where the C library is not glibc.

    """
    return _set(KEEPING)


def _set(settings: dict[int, int]) -> bool:
    """Set parameters of glibc's malloc; return False where the C library is another."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
        ctypes.CDLL(None).gnu_get_libc_version  # noqa: B018 - musl has a mallopt that does nothing
    except (AttributeError, OSError, TypeError):
        return False
    return all(mallopt(name, value) == 1 for name, value in settings.items())
