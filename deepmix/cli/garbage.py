"""Python's garbage collector in a program that imports large libraries and ends soon after."""

from __future__ import annotations

import atexit
import gc

ALLOCATIONS = 20_000
"""New containers between two looks at the youngest ones; Python's own number is 700 or 2000, by its version."""


def collect_seldom() -> None:
    """Let the collector look seldom while the program runs, and not at all at its end.

    A quarter of a million objects of torch, SciPy and scikit-learn live as long as the program. To look through them
    again and again takes a tenth of the time of a run on a small table (`benchmarks/results/training.md`).
    """
    gc.set_threshold(ALLOCATIONS)
    atexit.register(gc.freeze)
