"""Numbers of threads: torch's, where something else changes it or makes them unusable, and that of linear algebra."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from threadpoolctl import ThreadpoolController

FEW_VALUES = 2**24
"""Up to this many values, such as 20,000 rows of 784, clusterings hardly save time by several threads of linear algebra
(`benchmarks/results/training.md`)."""


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


@contextmanager
def single_blas_thread(n_values: int) -> Iterator[None]:
    """Let NumPy and SciPy compute with one thread if the rows have few values; they get their threads back afterwards.

    OpenBLAS divides the solution of even the smallest triangular system among its threads. Where other programs use the
    cores, each such call waits for the operating system, 8 ms instead of 30 µs, and a Gaussian mixture makes thousands.
    """
    if n_values > FEW_VALUES:
        yield
        return
    with ThreadpoolController().select(internal_api="openblas").limit(limits=1):
        yield
