"""A reader that the fuzzer feeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random


@dataclass(frozen=True)
class Target:
    """A reader, and what makes files for it."""

    name: str
    make: Callable[[Random], bytes]
    """Returns the bytes of a file: a good one in a few cases, else a damaged one."""
    read: Callable[[Path, Random], None]
    """Reads the file as deepmix's commands do; raises a DeepmixError where it refuses the file."""
    file: str
    """The file's name."""
    weight: int = 10
    """How often it is chosen, relative to the others; the faster a reader is, the more."""
