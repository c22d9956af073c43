"""Python's garbage collector in a program that imports large libraries and ends soon after."""

from __future__ import annotations

import atexit
import gc

ALLOCATIONS = 20_000
"""New containers after which the collector runs; Python's own number is 700 or 2000, depending on its version."""


def collect_rarely() -> None:
    """Let the collector run less often, and not at all at the end of the program.

    A quarter of a million objects of torch, SciPy and scikit-learn live as long as the program. To look through them
    again and again takes a tenth of the time of a run on a small table (`benchmarks/results/training.md`).
    """
    gc.set_threshold(ALLOCATIONS)
    atexit.register(gc.freeze)
