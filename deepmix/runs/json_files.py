"""JSON files as they are read."""

from __future__ import annotations

import json
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
    except (OSError, ValueError, RecursionError) as error:
        raise DeepmixError(f"'{path}' can't be read ({error})") from error
