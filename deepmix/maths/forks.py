"""Forked processes, such as those of multiprocessing's method 'fork' and of servers that load a model before they fork.

OpenMP's threads stay with the parent, but OpenMP in the child counts on them and waits for them forever.
"""

from __future__ import annotations

import os
from functools import partial

import torch


def compute_alone_after_fork() -> None:
    """Let every process that is forked from this one compute with one thread."""
    os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))
