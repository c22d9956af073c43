"""The only reader of entry points: finds plugins without importing them, and loads them by name."""

from __future__ import annotations

import configparser
import contextlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import entrypoints

from deepmix.contracts.descriptions import Description, read_description
from deepmix.contracts.permission import API_GROUP, refusal
from deepmix.errors import DeepmixError, UsageError, unknown_choice

KINDS: tuple[str, ...] = (
    "models",
    "encoders",
    "decoders",
    "priors",
    "posteriors",
    "likelihoods",
    "initializers",
    "datasets",
    "heads",
    "formats",
    "metrics",
    "sections",
    "trackers",
    "commands",
)
"""The kinds of plugins; the entry-point group of each kind is `deepmix.<kind>`."""


OURS = "deepmix"
"""The distribution of the core and the built-in plugins."""


UNKNOWN = "unknown"
"""Stands for the distribution or version of an entry point whose metadata do not state it."""


@dataclass(frozen=True)
class Plugin:
    """One entry point, read from a distribution's metadata; nothing is imported."""

    kind: str
    name: str
    distribution: str
    version: str
    target: str
    """`module:attribute`."""
    refusal: str | None = None
    """Why it may not be loaded, and the cure; None: it may."""

    @property
    def identity(self) -> str:
        """The name that means this plugin and no other: `distribution:name`."""
        return f"{self.distribution}:{self.name}"

    @property
    def package(self) -> str:
        """Name of the top-level package of the plugin's module."""
        return re.split("[.:]", self.target, maxsplit=1)[0]

    def description(self) -> Description | None:
        """Return the plugin's description from its package, without importing it; None if there is no valid one."""
        return read_description(self.package, self.kind, self.target)

    def load(self) -> Any:
        """Import the plugin; anything its modules print goes to standard error, as standard output is for results.

        Raises:
            DeepmixError: it may not be loaded, or the import fails; the message says why, and what to do.

        """
        if self.refusal is not None:
            what = f"{singular(self.kind)} '{self.name}' of {self.distribution} {self.version}"
            raise DeepmixError(f"{what} is not loaded: {self.refusal}")
        module, _, attribute = self.target.partition(":")
        try:
            with contextlib.redirect_stdout(sys.stderr):
                return entrypoints.EntryPoint(self.name, module, attribute).load()
        except (Exception, SystemExit) as error:  # a plugin's import may fail in any way, even by sys.exit()
            raise DeepmixError(
                f"{singular(self.kind)} '{self.name}' of {self.distribution} {self.version} can't be loaded "
                f"({type(error).__name__}: {error}); reinstall or remove {self.distribution}"
            ) from error


def singular(kind: str) -> str:
    """Return 'prior' for 'priors', and so on."""
    others = {
        "posteriors": "posterior estimator",
        "datasets": "data set",
        "formats": "file format",
        "sections": "report section",
    }
    return others.get(kind, kind.removesuffix("s"))


def canonical(distribution: str) -> str:
    """Return a distribution's name as package indexes spell it: in lower case, with dashes."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


@dataclass(frozen=True)
class EntryPoints:
    """The entry points in this installation that belong to deepmix."""

    plugins: tuple[Plugin, ...]
    """The plugins, sorted by kind in the order of KINDS, then by name and distribution."""
    problems: tuple[str, ...]
    """A sentence about each `entry_points.txt` or entry point that can't be read and is skipped."""


@cache
def read_entry_points() -> EntryPoints:
    """Read the entry points of every installed distribution once, skipping metadata that can't be read."""
    plugins: list[Plugin] = []
    problems: list[str] = []
    owners: set[str] = set()
    for folder in sys.path:
        for parser, distribution in _distributions(folder, problems):
            owner, version = canonical(distribution.name), distribution.version or _source_version(folder, distribution)
            if owner in owners:  # Python imports the first one on the path
                continue
            owners.add(owner)
            stated = list(parser.options(API_GROUP)) if parser.has_section(API_GROUP) else []
            refusal_text = None if owner == OURS else refusal(owner, stated)
            for kind in KINDS:
                section = f"deepmix.{kind}"
                for name, text in parser.items(section, raw=True) if parser.has_section(section) else ():
                    try:
                        point = entrypoints.EntryPoint.from_string(text, name)
                    except entrypoints.BadEntryPoint:
                        problems.append(
                            f"entry point '{name} = {text}' of {owner} {version} is not 'module:attribute'; "
                            f"reinstall or remove {owner}"
                        )
                        continue
                    target = f"{point.module_name}:{point.object_name or ''}"
                    plugins.append(Plugin(kind, name, owner, version, target, refusal_text))
    plugins.sort(key=lambda plugin: (KINDS.index(plugin.kind), plugin.name, plugin.distribution))
    return EntryPoints(tuple(plugins), tuple(problems))


def _distributions(folder: str, problems: list[str]) -> Iterator[tuple[configparser.ConfigParser, Any]]:
    """Yield the parsed entry points and the distribution of each one in a folder of `sys.path`.

    `entrypoints` gives up on a whole folder when one file in it is malformed. This function reads such a folder file by
    file and adds a sentence about each malformed file to `problems`.
    """
    try:
        yield from list(entrypoints.iter_files_distros([folder]))
    except (configparser.Error, UnicodeError, OSError):
        for path in sorted(Path(folder).glob("*.*-info/entry_points.txt")):
            distribution = entrypoints.Distribution.from_name_version(path.parent.stem)
            parser = entrypoints.CaseSensitiveConfigParser(delimiters=("=",))
            try:
                parser.read_string(path.read_text("utf-8"))
            except (configparser.Error, UnicodeError, OSError) as error:
                reason = str(error).split("\n")[0]
                problems.append(
                    f"the entry points of {canonical(distribution.name)} can't be read ('{path}': {reason}); "
                    f"reinstall or remove {canonical(distribution.name)}"
                )
                continue
            yield parser, distribution


def _source_version(folder: str, distribution: Any) -> str:
    """Return the version of a distribution run from its sources, whose `NAME.egg-info` has it only in a file."""
    try:
        lines = (Path(folder) / f"{distribution.name}.egg-info" / "PKG-INFO").read_text("utf-8").splitlines()
    except (OSError, UnicodeError):
        return UNKNOWN
    return next((line.removeprefix("Version: ") for line in lines if line.startswith("Version: ")), UNKNOWN)


def discover(kind: str) -> tuple[Plugin, ...]:
    """Return the installed plugins of a kind, sorted by name, from metadata only."""
    return tuple(plugin for plugin in read_entry_points().plugins if plugin.kind == kind)


def names(kind: str) -> list[str]:
    """Return the names of the installed plugins of a kind."""
    return sorted({plugin.name for plugin in discover(kind)})


def by_shortest_name(kind: str) -> dict[str, Plugin]:
    """Return every installed plugin of a kind by the shortest name that means it: `distribution:name` where needed."""
    return {plugin.name if _wins(plugin) else plugin.identity: plugin for plugin in discover(kind)}


def _wins(plugin: Plugin) -> bool:
    """Whether the name of a plugin means this plugin without its distribution."""
    rivals = [other for other in discover(plugin.kind) if other.name == plugin.name]
    return len(rivals) == 1 or plugin.distribution == OURS


def find(kind: str, name: str, near: str | None = None) -> Plugin:
    """Return the plugin called `name`, or `distribution:name`; a built-in plugin wins a name without a distribution.

    Args:
        kind: the kind.
        name: the name.
        near: a distribution whose own plugin comes even before a built-in one, as for the parts of its recipes.

    Raises:
        UsageError: no plugin, or more than one, has that name.

    """
    distribution, _, short = name.rpartition(":")
    matches = [
        plugin
        for plugin in discover(kind)
        if plugin.name == short and (not distribution or plugin.distribution == canonical(distribution))
    ]
    if not matches:
        raise _unknown(kind, name)
    matches = [plugin for plugin in matches if plugin.refusal is None] or matches
    if len(matches) > 1:
        for owner in (near, OURS):
            preferred = [plugin for plugin in matches if plugin.distribution == owner]
            if preferred:
                return preferred[0]
        owners = " and ".join(plugin.distribution for plugin in matches)
        raise UsageError(
            f"{singular(kind)} '{name}' is claimed by {owners}; choose one, such as '{matches[0].distribution}:{short}'"
        )
    return matches[0]


def _unknown(kind: str, name: str) -> UsageError:
    """Return the error for a name that no installed plugin has; it says what to install where the name tells."""
    distribution, _, short = name.rpartition(":")
    installed = {plugin.distribution for plugin in read_entry_points().plugins}
    if distribution and canonical(distribution) not in installed:
        return UsageError(
            f"{singular(kind)} '{short}' of {canonical(distribution)} is not installed; "
            f"install it with: pip install {canonical(distribution)}"
        )
    return unknown_choice(singular(kind), name, by_shortest_name(kind))


def load_plugin(kind: str, name: str) -> Any:
    """Import and return the plugin called `name`."""
    return find(kind, name).load()


@dataclass(frozen=True)
class PluginRow:
    """One row of `deepmix plugins`."""

    kind: str
    name: str
    distribution: str
    version: str
    summary: str | None
    """None where the plugin has no valid description and was not imported."""


@dataclass(frozen=True)
class CheckedRow(PluginRow):
    """One row of `deepmix plugins --check`."""

    state: str
    """'ok', 'clash' (two distributions claim the name) or the error that importing the plugin gave."""


def rows() -> list[PluginRow]:
    """Return a row for each installed plugin; no plugin is imported."""
    result = []
    for plugin in read_entry_points().plugins:
        description = plugin.description()
        summary = None if description is None else description.summary
        result.append(PluginRow(singular(plugin.kind), plugin.name, plugin.distribution, plugin.version, summary))
    return result


def checked_rows(check: Callable[[str, Any], None]) -> list[CheckedRow]:
    """Import every plugin and return its state; a broken plugin does not stop the others.

    Args:
        check: takes a kind and an imported plugin, and raises a DeepmixError if the plugin is not of that kind.

    """
    result = []
    for plugin in read_entry_points().plugins:
        summary, state = "", "ok"
        try:
            loaded = plugin.load()
            with contextlib.redirect_stdout(sys.stderr):
                check(plugin.kind, loaded)
            summary = summarize(loaded)
        except DeepmixError as error:
            if plugin.refusal is not None:
                state = f"refused: {plugin.refusal}"
            else:
                state = f"broken: {error if error.__cause__ is None else repr(error.__cause__)}"
        if state == "ok" and not _wins(plugin):
            state = f"clash: use {plugin.identity}"
        kind = singular(plugin.kind)
        result.append(CheckedRow(kind, plugin.name, plugin.distribution, plugin.version, summary, state))
    return result


def summarize(loaded: Any) -> str:
    """Return the first line of a plugin's docstring; of a metric or a command, of its explanation or help."""
    own = getattr(loaded, "explanation", None) or getattr(loaded, "help", None)
    text = own if isinstance(own, str) else inspect.getdoc(loaded) or ""
    return text.strip().split("\n")[0]
