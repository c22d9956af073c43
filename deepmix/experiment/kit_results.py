"""The test kit run on installed plugins, for `deepmix plugin check`."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from deepmix.contracts import registry
from deepmix.errors import DeepmixError, unknown_choice
from deepmix.testing import KITS, ClauseResult, kit_of, run_kit


def kit_results(name: str | None, without: Collection[str] = ()) -> Iterator[ClauseResult]:
    """Return the result of each clause, as soon as it is known.

    A plugin that can't be loaded has one failed clause, `load`.

    Args:
        name: the name of plugins (`distribution:name` where two have it) or of a distribution; None: all that are not
            built in.
        without: names of clauses that are left out.

    Raises:
        UsageError: no plugin and no distribution has the name.

    """
    plugins = [plugin for plugin in registry.read_entry_points().plugins if plugin.kind in KITS]
    if name is None:
        tested = [plugin for plugin in plugins if plugin.distribution != registry.OURS]
    else:
        names = [{p.name, f"{p.distribution}:{p.name}", p.distribution} for p in plugins]
        tested = [plugin for plugin, own in zip(plugins, names, strict=True) if {name, registry.canonical(name)} & own]
        if not tested:
            raise unknown_choice(
                "plugin or distribution", name, {p.name for p in plugins} | {p.distribution for p in plugins}
            )
    return _results(tested, without)


def _results(plugins: list[registry.Plugin], without: Collection[str]) -> Iterator[ClauseResult]:
    for plugin in plugins:
        try:
            kit = kit_of(plugin.kind, plugin.load())
        except DeepmixError as error:
            yield ClauseResult(registry.singular(plugin.kind), plugin.name, "load", "failed", str(error))
            continue
        yield from run_kit(kit, plugin.name, without)
