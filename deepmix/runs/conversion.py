"""Between JSON values and dataclasses: what is written is plain, what is read is checked against the annotations."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

KEY = "key"
"""Entry of a field's metadata: its key in JSON, where that can't be a name in Python."""


BEFORE = "before"
"""Entry of a field's metadata: its value in records that were written before there was such a field."""


class MisfitError(ValueError):
    """A JSON value is not what the annotation says; the message names the key, what was expected and what came."""


def to_plain(value: Any) -> Any:
    """Return a value as JSON holds it: dataclasses as objects, tuples as lists.

    A field that is None and None by default is left out.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [(f, getattr(value, f.name)) for f in dataclasses.fields(value)]
        return {_key(f): to_plain(item) for f, item in fields if not (item is None and f.default is None)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return value


def from_plain(kind: type[T], values: Any, place: str = "", *, strict: bool = False) -> T:
    """Return a dataclass from a JSON object.

    Args:
        kind: the dataclass.
        values: the object.
        place: the key that the object stands at, for messages.
        strict: whether a key that the dataclass does not have is an error; else it is left out.

    Raises:
        MisfitError: a key is missing, or a value is of the wrong kind.

    """
    if not isinstance(values, Mapping):
        raise _misfit(place, "a table", values)
    hints = _hints(kind)  # type: ignore[arg-type]
    fields = {_key(f): f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if strict and (unknown := sorted(set(values) - set(fields))):
        raise MisfitError(f"'{_inside(place, unknown[0])}' is unknown to this version")
    arguments = {}
    for key, field in fields.items():
        if key in values:
            arguments[field.name] = value_from_plain(hints[field.name], values[key], _inside(place, key))
        elif BEFORE in field.metadata:
            arguments[field.name] = field.metadata[BEFORE]
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise MisfitError(f"'{_inside(place, key)}' is missing")
    return kind(**arguments)


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    """Return the annotations of a dataclass as types; evaluating them takes most of the time of reading a record."""
    return typing.get_type_hints(kind)


def value_from_plain(hint: Any, value: Any, place: str) -> Any:
    """Return a JSON value as an annotation says; a MisfitError names the place if it is of another kind."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        return _one_of(arguments, value, place)
    if origin is typing.Literal:
        if value not in arguments:
            raise _misfit(place, "one of " + ", ".join(map(str, arguments)), value)
        return value
    if dataclasses.is_dataclass(hint):
        return (
            value if isinstance(value, typing.cast(type, hint)) else from_plain(typing.cast(type, hint), value, place)
        )
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise _misfit(place, "a table", value)
        return {str(key): value_from_plain(arguments[1], item, _inside(place, str(key))) for key, item in value.items()}
    if origin is not None and issubclass(origin, Sequence):
        if not isinstance(value, list | tuple):
            raise _misfit(place, "a list", value)
        if origin is tuple and Ellipsis not in arguments and len(arguments) != len(value):
            raise _misfit(place, f"a list of {len(arguments)}", value)
        kinds = arguments if origin is tuple and Ellipsis not in arguments else [arguments[0]] * len(value)
        items = [
            value_from_plain(kind, item, f"{place}[{i}]")
            for i, (kind, item) in enumerate(zip(kinds, value, strict=True))
        ]
        return tuple(items) if origin is tuple else items
    return _scalar(hint, value, place)


def _one_of(kinds: Sequence[Any], value: Any, place: str) -> Any:
    """Return a value as the first of several annotations that it suits says."""
    if value is None and type(None) in kinds:
        return None
    *others, last = (kind for kind in kinds if kind is not type(None))
    for kind in others:
        try:
            return value_from_plain(kind, value, place)
        except MisfitError:
            continue
    return value_from_plain(last, value, place)


NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def _scalar(hint: type, value: Any, place: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise _misfit(place, NAMES.get(hint, hint.__name__), value)
    return value


def _misfit(place: str, expected: str, value: Any) -> MisfitError:
    text = repr(value)
    return MisfitError(f"'{place}' must be {expected}, got {text if len(text) <= 60 else text[:60] + '...'}")


def _key(field: dataclasses.Field[Any]) -> str:
    return str(field.metadata.get(KEY, field.name))


def _inside(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key
