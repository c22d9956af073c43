"""Kinds of arguments that the programs beside this file take; a wrong one ends the program with a sentence."""

from __future__ import annotations

from argparse import ArgumentTypeError
from pathlib import Path


def existing_file(text: str) -> Path:
    """Return the path of a file that exists."""
    path = Path(text)
    if not path.is_file():
        raise ArgumentTypeError(f"'{text}' is not a file; check the path")
    return path


def positive(text: str) -> int:
    """Return a whole number of at least 1."""
    if not text.isdecimal() or int(text) == 0:
        raise ArgumentTypeError(f"must be a whole number of at least 1, got '{text}'")
    return int(text)


def checkout_folder(text: str) -> Path:
    """Return the folder of a checkout of deepmix."""
    path = Path(text).resolve()
    if not (path / "deepmix" / "__main__.py").is_file():
        raise ArgumentTypeError(f"'{text}' is not a checkout of deepmix; make one with git worktree add")
    return path
