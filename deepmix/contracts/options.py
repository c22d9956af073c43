"""Options are dataclasses; this module checks and sets their fields from `--set key=value`, and describes them."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from deepmix.errors import UsageError, option, unknown_choice

OptionRow = tuple[str, str, str, str]
"""Name, type, default and help of an option, as the help shows them."""


MOST = 10**18 - 1
"""Largest whole number that an option takes; torch takes numbers of 64 bits."""


def parse_assignments(pairs: tuple[str, ...]) -> dict[str, str]:
    """Return the settings in 'key=value' strings.

    Raises:
        UsageError: a string has no '='.

    """
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"{option('set')} takes key=value, got '{pair}'")
        settings[key.strip()] = value.strip()
    return settings


def build_options(defaults: Mapping[str, Any], settings: Mapping[str, str]) -> dict[str, Any]:
    """Return the options of several parts with settings applied.

    Args:
        defaults: an options instance for each part, by name ('encoder', 'training', ...).
        settings: values by `key`, or by `part.key` where two parts share a key.

    Raises:
        UsageError: a key is unknown or shared by two parts, or a value has the wrong type.

    """
    changes: dict[str, dict[str, Any]] = {part: {} for part in defaults}
    owners: dict[str, list[str]] = {}
    for part, options in defaults.items():
        for field in dataclasses.fields(options):
            owners.setdefault(field.name, []).append(part)
    for key, value in settings.items():
        part, _, name = key.rpartition(".")
        candidates = [owner for owner in owners.get(name, []) if not part or owner == part]
        if not candidates:
            raise unknown_choice("option", key, owners)
        if len(candidates) > 1:
            choices = " or ".join(f"{owner}.{name}" for owner in candidates)
            raise UsageError(f"option '{key}' belongs to several parts; write {choices}")
        hint = typing.get_type_hints(type(defaults[candidates[0]]))[name]
        changes[candidates[0]][name] = convert(key, value, hint)
    shared = {name for name, parts in owners.items() if len(parts) > 1}
    return {part: _changed(part, options, changes[part], shared) for part, options in defaults.items()}


def _changed(part: str, options: Any, changes: Mapping[str, Any], shared: set[str]) -> Any:
    """Return a part's options with changes; the name that begins an error is marked, for each face to spell.

    Names that several parts share are written with the part.
    """
    try:
        return dataclasses.replace(options, **changes)
    except UsageError as error:
        name, space, rest = error.spelled(option).partition(" ")
        if name not in {field.name for field in dataclasses.fields(options)}:
            raise
        raise UsageError(option(f"{part}.{name}" if name in shared else name) + space + rest) from error


def convert(key: str, value: str, hint: Any) -> Any:
    """Turn a string into the annotated type: int, float, bool, str, a Literal, or one of these with `| None`.

    A class with a method `from_text` in a union takes the strings for which it does not return None.
    """
    if typing.get_origin(hint) is typing.Literal:
        choices = typing.get_args(hint)
        if value not in choices:
            raise unknown_choice(key, value, choices)
        return value
    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)] if _is_union(hint) else [hint]
    for kind in kinds:
        if hasattr(kind, "from_text") and (read := kind.from_text(value)) is not None:
            return read
    if _is_union(hint) and value.lower() in ("none", "auto"):
        return None
    hint = kinds[0]
    if typing.get_origin(hint) is typing.Literal:
        return convert(key, value, hint)
    if hint is bool:
        if value.lower() not in ("true", "false"):
            raise UsageError(f"{option(key)} must be true or false, got '{value}'")
        return value.lower() == "true"
    try:
        result = hint(value)
    except ValueError as error:
        what = _one_of([type_name(kind) for kind in kinds])
        raise UsageError(f"{option(key)} must be {what}, got '{value}'") from error
    if isinstance(result, int) and abs(result) > MOST:
        raise UsageError(f"{option(key)} must be a whole number of at most {len(str(MOST))} digits, got '{value}'")
    return result


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (types.UnionType, typing.Union)


def _one_of(names: Sequence[str]) -> str:
    """Return the names of types in a phrase; the last name may be a phrase of its own, such as 'auto or a range'."""
    *others, last = (name for name in names if name != "auto" or not any(one.startswith("auto or ") for one in names))
    if not others:
        return last
    return f"{', '.join(others)}{', ' if ' or ' in last else ' or '}{last}"


def type_name(hint: Any) -> str:
    """Return a type as the help shows it."""
    if typing.get_origin(hint) is typing.Literal:
        return "|".join(map(str, typing.get_args(hint)))
    if _is_union(hint):
        return _one_of([type_name(part) for part in typing.get_args(hint)])
    names = {int: "a whole number", float: "a number", bool: "true|false", str: "text", type(None): "auto"}
    return names[hint] if hint in names else str(getattr(hint, "TYPE_NAME", getattr(hint, "__name__", hint)))


def describe(options: Any) -> list[OptionRow]:
    """Return a row for every field of an options instance."""
    hints = typing.get_type_hints(type(options))
    return [
        (
            field.name,
            type_name(hints[field.name]),
            str(
                field.metadata.get("none", "auto")
                if getattr(options, field.name) is None
                else getattr(options, field.name)
            ),
            str(field.metadata.get("help", "")),
        )
        for field in dataclasses.fields(options)
    ]
