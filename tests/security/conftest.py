from __future__ import annotations

from tests.cli.conftest import command, deepmix

__all__ = ["command", "deepmix"]
