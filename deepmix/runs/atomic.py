"""Files written whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from deepmix.errors import DeepmixError


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DeepmixError: it is missing or damaged.

    """
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DeepmixError(f"'{path}' can't be read ({error})") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside the file, then put it in its place: a reader sees the old or the new, never half."""
    temporary = path.with_name(path.name + ".part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
