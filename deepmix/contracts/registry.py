"""The only reader of entry points: finds plugins without importing them, loads them by name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import entrypoints

from deepmix.errors import DeepmixError, UsageError, unknown_choice

KINDS: tuple[str, ...] = (
    "models",
    "encoders",
    "decoders",
    "priors",
    "posteriors",
    "initializers",
    "datasets",
    "heads",
)
"""What can be plugged in; the entry-point group of each is `deepmix.<kind>`."""


OURS = "deepmix"
"""The distribution of the core and the built-in plugins."""


@dataclass(frozen=True)
class Plugin:
    """One entry point, found in a distribution's metadata and not imported."""

    kind: str
    name: str
    distribution: str
    version: str
    target: str
    """`module:attribute`."""

    def load(self) -> Any:
        """Import the plugin.

        Raises:
            DeepmixError: it can't be imported; the message says why and which distribution to mend.

        """
        module, _, attribute = self.target.partition(":")
        try:
            return entrypoints.EntryPoint(self.name, module, attribute).load()
        except Exception as error:  # a plugin's import may fail in any way
            raise DeepmixError(
                f"{singular(self.kind)} '{self.name}' of {self.distribution} {self.version} can't be loaded "
                f"({type(error).__name__}: {error}); reinstall or remove {self.distribution}"
            ) from error


def singular(kind: str) -> str:
    """Return 'prior' for 'priors', and so on."""
    return {"posteriors": "posterior estimator", "datasets": "data set"}.get(kind, kind.removesuffix("s"))


def canonical(distribution: str) -> str:
    """Return a distribution's name as package indexes spell it: lower case, dashes."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


@cache
def discover(kind: str) -> tuple[Plugin, ...]:
    """Return the installed plugins of a kind, by name, reading metadata only."""
    found = {
        Plugin(
            kind,
            point.name,
            canonical(point.distro.name) if point.distro else "unknown",
            point.distro.version if point.distro else "unknown",
            f"{point.module_name}:{point.object_name}",
        )
        for point in entrypoints.get_group_all(f"deepmix.{kind}")
    }
    return tuple(sorted(found, key=lambda plugin: (plugin.name, plugin.distribution)))


def names(kind: str) -> list[str]:
    """Return the names that can be asked for."""
    return sorted({plugin.name for plugin in discover(kind)})


def find(kind: str, name: str) -> Plugin:
    """Return the plugin called `name`, or `distribution:name`.

    Raises:
        UsageError: none or more than one has that name.

    """
    distribution, _, short = name.rpartition(":")
    matches = [
        plugin
        for plugin in discover(kind)
        if plugin.name == short and (not distribution or plugin.distribution == canonical(distribution))
    ]
    if not matches:
        raise unknown_choice(singular(kind), name, names(kind))
    if len(matches) > 1:
        owners = " and ".join(plugin.distribution for plugin in matches)
        raise UsageError(
            f"{singular(kind)} '{name}' is claimed by {owners}; say which as '{matches[0].distribution}:{short}'"
        )
    return matches[0]


def load_plugin(kind: str, name: str) -> Any:
    """Import and return the plugin called `name`."""
    return find(kind, name).load()


@dataclass(frozen=True)
class PluginState:
    """One row of `deepmix plugins`."""

    kind: str
    name: str
    distribution: str
    version: str
    summary: str
    state: str
    """'ok', 'clash' (a name two distributions claim) or the error that loading it gave."""


def states(kinds: Sequence[str] = KINDS) -> list[PluginState]:
    """Load every plugin and say how it stands; a broken one does not stop the others."""
    rows = []
    for kind in kinds:
        for plugin in discover(kind):
            summary, state = "", "ok"
            try:
                summary = summarize(plugin.load())
            except DeepmixError as error:
                state = f"broken: {error.__cause__!r}"
            if sum(other.name == plugin.name for other in discover(kind)) > 1:
                state = f"clash: use {plugin.distribution}:{plugin.name}" if state == "ok" else state
            rows.append(PluginState(singular(kind), plugin.name, plugin.distribution, plugin.version, summary, state))
    return rows


def summarize(loaded: Any) -> str:
    """Return a plugin's `summary`, or the first line of its docstring."""
    text = getattr(loaded, "summary", None) or inspect.getdoc(loaded) or ""
    return str(text).strip().split("\n")[0]
