"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

PART = ".part"
"""Ends the name of a file while it is being written; a process killed then leaves it behind."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside the file, then put it in its place: a reader sees the old or the new, never half."""
    with writing_beside(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def writing_beside(path: Path) -> Iterator[Path]:
    """Yield the name of a file that takes the place of the one at `path` in the end, or vanishes with an error."""
    temporary = path.with_name(path.name + PART)
    try:
        with naming_file(path):
            yield temporary
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """Let the error of a write that fails, for example because the disk is full, name the file."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
