"""The errors a user can meet: one sentence each, naming the cause and the cure."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["DeepmixError", "UsageError", "unknown_choice"]


class DeepmixError(Exception):
    """Something failed while running; the command line exits with status 1."""

    exit_code = 1


class UsageError(DeepmixError):
    """What was asked for can't be done as asked; the command line exits with status 2."""

    exit_code = 2


def unknown_choice(what: str, given: object, choices: Iterable[str]) -> UsageError:
    """Return the error for a name that is not among the choices, listing them."""
    listed = ", ".join(sorted(choices)) or "none"
    return UsageError(f"unknown {what} '{given}'; choose one of: {listed}")
