"""A TOML file of what a user says about a table's columns, read and written."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deepmix.data.column_requests import check_request
from deepmix.data.column_schema import SETTABLE_KINDS, ColumnSchema
from deepmix.data.schema import TableSchema
from deepmix.data.table_options import ColumnOptions, TableOptions
from deepmix.errors import UsageError

COLUMN_KEYS = ("kind", "likelihood", "levels")


def read_table_options(path: Path) -> TableOptions:
    """Return the table options that a TOML file holds.

    The file has the keys drop, id_column, weight_column, conditions and missing, and a table `columns`, which holds for
    each column a kind, or a table of kind, likelihood and levels.

    Raises:
        UsageError: the file can't be read, or a key or a value of it is unknown or of the wrong type.

    """
    if not path.is_file():
        raise UsageError(f"there is no file '{path}'; write one with: deepmix inspect --toml")
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the schema '{path}' can't be read ({error}); write it with: deepmix inspect --toml"
        ) from error
    converters: dict[str, Callable[[Any], Any]] = {
        "columns": lambda value: {name: _column(path, name, item) for name, item in _table(path, value).items()},
        "drop": lambda value: _texts(path, "drop", value),
        "id_column": lambda value: _text(path, "id_column", value),
        "weight_column": lambda value: _text(path, "weight_column", value),
        "conditions": lambda value: _texts(path, "conditions", value),
        "missing": lambda value: _texts(path, "missing", value),
    }
    _check_keys(path, "", values, converters)
    return TableOptions(**{key: converters[key](value) for key, value in values.items()})


def _column(path: Path, name: str, value: Any) -> ColumnOptions:
    if isinstance(value, str):
        options = ColumnOptions(kind=value)
    elif isinstance(value, Mapping):
        _check_keys(path, f" of column '{name}'", value, COLUMN_KEYS)
        levels = _texts(path, f"levels of column '{name}'", value["levels"]) if "levels" in value else None
        texts = {key: _text(path, f"{key} of column '{name}'", value[key]) for key in value if key != "levels"}
        options = ColumnOptions(**texts, levels=levels)
    else:
        raise UsageError(f"column '{name}' of '{path}' must be a kind or a table of {', '.join(COLUMN_KEYS)}")
    check_request(name, options)
    return options


def _check_keys(path: Path, where: str, values: Mapping[str, Any], keys: Mapping[str, Any] | tuple[str, ...]) -> None:
    unknown = [key for key in values if key not in keys]
    if unknown:
        raise UsageError(f"unknown key '{unknown[0]}'{where} in '{path}'; choose one of: {', '.join(keys)}")


def _table(path: Path, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"'columns' of '{path}' must be a table such as [columns]")
    return value


def _text(path: Path, key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{key} of '{path}' must be text in quotes, not {value!r}")
    return value


def _texts(path: Path, key: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return tuple(item if isinstance(item, str) else str(item) for item in value)
    raise UsageError(f'{key} of \'{path}\' must be a list such as ["a", "b"], not {value!r}')


def schema_toml(schema: TableSchema) -> str:
    """Return a schema as the TOML text that `read_table_options` reads back to the same kinds.

    Kinds that follow from the rows (constant, empty, duplicate) and the label are comments.
    """
    lines = [
        *_list_line("drop", [column.name for column in schema.columns if column.kind == "dropped"]),
        *_single_line("id_column", _requested_identifier(schema)),
        *_single_line("weight_column", next((c.name for c in schema.columns if c.kind == "weight"), None)),
        *_list_line("conditions", [column.name for column in schema.columns if column.kind == "condition"]),
        *_list_line("missing", list(schema.missing_marks)),
    ]
    lines += [""] if lines else []
    lines.append("[columns]")
    for column in schema.columns:
        if column.kind not in (*SETTABLE_KINDS, "condition", "weight") or column.kind == "dropped":
            text = f"{quoted(column.name)}: {column.kind}, {column.reason}"
            lines.append("# " + " ".join(text.split()))
        elif column.kind in SETTABLE_KINDS and column.name != _requested_identifier(schema):
            lines.append(f"{quoted(column.name)} = {_column_text(column)}")
    return "\n".join(lines) + "\n"


def _requested_identifier(schema: TableSchema) -> str | None:
    return next((column.name for column in schema.columns if column.names_rows), None)


def _column_text(column: ColumnSchema) -> str:
    if column.likelihood is None:
        return quoted(column.kind)
    text = f"kind = {quoted(column.kind)}, likelihood = {quoted(column.likelihood)}"
    if column.kind == "ordinal" and column.levels is not None:
        text += f", levels = [{', '.join(map(quoted, column.levels))}]"
    return f"{{ {text} }}"


def _list_line(key: str, names: list[str]) -> list[str]:
    return [f"{key} = [{', '.join(map(quoted, names))}]"] if names else []


def _single_line(key: str, name: str | None) -> list[str]:
    return [] if name is None else [f"{key} = {quoted(name)}"]


def quoted(text: str) -> str:
    """Return a text as a TOML string in double quotes."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
