"""A reader that the fuzzer feeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import TypeVar

Made = TypeVar("Made")

POOL = 200
"""How many good files of a kind there are; each is made once, and cases differ by which they damage, and how."""


def from_pool(make: Callable[[Random], Made]) -> Callable[[Random], Made]:
    """Return a function that chooses one of POOL results of `make`; nobody may change what it returns."""

    @cache
    def member(number: int) -> Made:
        return make(Random(f"{make.__module__}.{make.__name__} {number}"))

    return lambda random: member(random.randrange(POOL))


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
