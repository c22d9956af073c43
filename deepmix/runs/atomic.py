"""Files written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepmix.errors import DeepmixError
from deepmix.runs.names import PART


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DeepmixError: it is missing or damaged.

    """
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DeepmixError(f"'{path}' can't be read ({error})") from error


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
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
