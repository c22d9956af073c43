"""Descriptions of plugins in a file beside their sources, which listings and help read instead of importing them.

`deepmix plugins --describe DISTRIBUTION` writes the file. It holds a checksum of the package's sources and is
valid only while the checksum matches. Help imports a plugin that has no valid description; listings omit its summary.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from deepmix.contracts.options import OptionRow, describe

FILE = "deepmix_plugins.json"
"""Name of the file, which is in the top-level package of the plugins."""


CORE = "deepmix"
"""Top-level package of the core, whose options are never copied into a description."""


@dataclass(frozen=True)
class OptionTable:
    """The options of one part, as the help shows them."""

    base: str | None = None
    """Options of the core that these extend, as `deepmix.package:Class`; their rows come first."""
    defaults: Mapping[str, str] = field(default_factory=dict)
    """Defaults that differ from those of the base, by name."""
    own: tuple[OptionRow, ...] = ()
    """Rows that the base lacks, or that differ from its rows in type or help."""

    def rows(self) -> list[OptionRow]:
        """Return (name, type, default, help) of every option.

        Raises:
            LookupError: this version of the core has no such base.

        """
        inherited = _core_rows(self.base) if self.base else []
        table = {row[0]: (*row[:2], self.defaults.get(row[0], row[2]), row[3]) for row in inherited}
        return list((table | {row[0]: row for row in self.own}).values())


@dataclass(frozen=True)
class Description:
    """The text about a plugin that help and listings show."""

    summary: str
    options: OptionTable = OptionTable()
    objective: OptionTable | None = None
    """A model's own defaults for the objective; None where it uses the core's."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """For a model, the names of the plugins in its parts, and of its `initializer`."""


def option_table(options: Any, package: str) -> OptionTable | None:
    """Return a plugin's options as a table; None where some of them come from neither its package nor the core.

    Such options could change while the checksum of the plugin's package stays the same.
    """
    ancestors = [
        ancestor
        for ancestor in type(options).__mro__
        if dataclasses.is_dataclass(ancestor) and dataclasses.fields(ancestor)
    ]
    if any(_top_package(ancestor) not in (package, CORE) for ancestor in ancestors):
        return None
    base = next((ancestor for ancestor in ancestors if _top_package(ancestor) == CORE), None)
    if base is None:
        return OptionTable(own=tuple(describe(options)))
    door = ".".join(base.__module__.split(".")[:2])
    inherited = {row[0]: row for row in describe(base())}
    defaults, own = {}, []
    for row in describe(options):
        name, kind, default, text = row
        base_row = inherited.get(name)
        if base_row is None or (kind, text) != (base_row[1], base_row[3]):
            own.append(row)
        elif default != base_row[2]:
            defaults[name] = default
    return OptionTable(f"{door}:{base.__qualname__}", defaults, tuple(own))


def _top_package(cls: type) -> str:
    return cls.__module__.split(".")[0]


def _core_rows(name: str) -> list[OptionRow]:
    """Return the rows of the core's options called `deepmix.package:Class`; raise a LookupError if it has none."""
    door, _, attribute = name.partition(":")
    options = getattr(importlib.import_module(door), attribute, None)
    if options is None:
        raise LookupError(name)
    return describe(options())


def package_folder(package: str) -> Path | None:
    """Return the folder of a top-level package without importing it; None if it does not exist or is a single file."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # ValueError: a module in sys.modules that has no spec
        return None
    locations = list(spec.submodule_search_locations or ()) if spec else []
    return Path(locations[0]) if len(locations) == 1 else None


def sources_checksum(folder: Path) -> str:
    """Return the CRC-32 of the .py files below a folder, the same on every machine and for every kind of line ending.

    It is enough to notice changes, and importing hashlib would take longer than everything else here.
    """
    checksum = 0
    for path in sorted(folder.rglob("*.py"), key=lambda path: path.relative_to(folder).as_posix()):
        source = path.read_bytes().replace(b"\r\n", b"\n")
        name = path.relative_to(folder).as_posix()
        checksum = zlib.crc32(f"{name}\0{len(source)}\0".encode() + source, checksum)
    return f"{checksum:08x}"


def read_description(package: str, kind: str, target: str) -> Description | None:
    """Return the description of the plugin at `target`, `module:attribute`; None if there is no valid one."""
    return _read_file(package).get((kind, target))


@cache
def _read_file(package: str) -> dict[tuple[str, str], Description]:
    """Return a package's descriptions by (kind, target); empty where its file is absent, outdated or unreadable."""
    folder = package_folder(package)
    if folder is None or not (folder / FILE).is_file():
        return {}
    try:
        content = json.loads((folder / FILE).read_text("utf-8"))
        if content["sources"] != sources_checksum(folder):
            return {}
        return {(values["kind"], values["target"]): _description(values) for values in content["plugins"]}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # not written by descriptions_text
        return {}


def _description(values: Mapping[str, Any]) -> Description:
    objective = values.get("objective")
    return Description(
        str(values["summary"]),
        _table(values.get("options", {})),
        None if objective is None else _table(objective),
        dict(values.get("parts", {})),
    )


def _table(values: Mapping[str, Any]) -> OptionTable:
    own = tuple((str(name), str(kind), str(default), str(text)) for name, kind, default, text in values.get("own", ()))
    return OptionTable(values.get("base"), dict(values.get("defaults", {})), own)


def descriptions_text(folder: Path, descriptions: Mapping[tuple[str, str], Description]) -> str:
    """Return the text of a package's file: a checksum of its sources, and one line per plugin."""
    lines = [
        json.dumps(
            {"kind": kind, "target": target} | _without_empty(dataclasses.asdict(description)), ensure_ascii=False
        )
        for (kind, target), description in sorted(descriptions.items())
    ]
    plugins = ",\n ".join(lines)
    return f'{{"sources": "{sources_checksum(folder)}",\n"plugins": [\n {plugins}\n]}}\n'


def _without_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping without its empty entries, at any depth; `summary` is always kept."""
    short = {key: _without_empty(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    return {key: value for key, value in short.items() if value not in (None, {}, ()) or key == "summary"}
