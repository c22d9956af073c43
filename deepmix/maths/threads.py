"""torch's number of threads, where something else changes it or makes them unusable."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch


def compute_alone_after_fork() -> None:
    """Let every process that is forked from this one compute with one thread.

    Forked processes are those of multiprocessing's method 'fork' and of servers that load a model before they fork.
    OpenMP's threads stay with the parent, but OpenMP in the child counts on them and waits for them forever.
    """
    os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))


@contextmanager
def own_threads() -> Iterator[None]:
    """Give torch its number of threads back afterwards; UMAP and pynndescent start numba's, which set it to theirs."""
    n_threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)
