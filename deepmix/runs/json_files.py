"""JSON files as they are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deepmix.errors import DeepmixError

UNREADABLE = (ValueError, RecursionError)
"""What is raised for bytes that are not JSON or not UTF-8, or for JSON that is nested too deeply."""


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DeepmixError: it is missing or damaged.

    """
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, *UNREADABLE) as error:
        raise DeepmixError(f"'{path}' can't be read ({error}); restore the file, or train again") from error
