"""Commands that torchrun starts as several processes, of which one prints."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

DIVIDED = ("train", "predict", "embed", "impute", "evaluate")
"""Commands whose work several processes share; the first process does any other command alone."""


def is_started() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_first() -> bool:
    """Whether this is the process of its job that prints and writes."""
    return not is_started() or os.environ.get("RANK", "0") == "0"


def was_restarted() -> bool:
    """Whether torchrun has restarted this process."""
    return is_started() and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


@contextlib.contextmanager
def printing_once() -> Iterator[None]:
    """Hide what is printed inside, unless this is the first process; the traceback of a bug is shown.

    Under torchrun this also hides warnings of torch's C++ code, which DistributedDataParallel addresses to developers.
    """
    if is_started():
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # before torch is imported
    if is_first():
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nothing:
        sys.stdout = sys.stderr = nothing
        try:
            yield
        finally:
            print_again()


def print_again() -> None:
    """Let this process print."""
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
