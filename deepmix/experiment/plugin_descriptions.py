"""The description files of a distribution's plugins, for `deepmix plugins --describe`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepmix.contracts import (
    FILE,
    Description,
    descriptions_text,
    option_table,
    package_folder,
    registry,
)
from deepmix.errors import DeepmixError, unknown_choice
from deepmix.experiment.parts import options_of, plan_of


def describe_distribution(name: str) -> dict[Path, str]:
    """Return the text of the description file for each package of a distribution's plugins; nothing is written.

    Plugins whose options come from a third package are omitted: deepmix imports them when it needs them.

    Raises:
        UsageError: no distribution of this name has plugins.
        DeepmixError: a plugin can't be loaded, or is not in a package.

    """
    plugins = registry.read_entry_points().plugins
    owned = [plugin for plugin in plugins if plugin.distribution == registry.canonical(name)]
    if not owned:
        raise unknown_choice("distribution of plugins", name, {plugin.distribution for plugin in plugins})
    descriptions: dict[Path, dict[tuple[str, str], Description]] = {}
    for plugin in owned:
        folder = package_folder(plugin.package)
        if folder is None:
            raise DeepmixError(
                f"the plugins of {plugin.distribution} are in the single module '{plugin.package}'; "
                "descriptions need a package, so turn it into a folder with an __init__.py"
            )
        in_package = descriptions.setdefault(folder, {})
        description = _description(plugin.kind, plugin.load(), plugin.package)
        if description is not None:
            in_package[plugin.kind, plugin.target] = description
    return {folder / FILE: descriptions_text(folder, in_package) for folder, in_package in descriptions.items()}


def _description(kind: str, loaded: Any, package: str) -> Description | None:
    """Return the description of a plugin; None where its options come from a third package."""
    if kind != "models":
        table = option_table(options_of(loaded), package)
        return None if table is None else Description(registry.summarize(loaded), table, None, {})
    plan = plan_of(loaded)
    table = option_table(plan.options, package)
    objective = None if plan.objective is None else option_table(plan.objective, package)
    if table is None or plan.terms or (objective is None and plan.objective is not None):
        return None
    return Description(plan.summary, table, objective, {**plan.part_names, "initializer": plan.init})
