"""The distributions under `plugins/`, installed for one test: their metadata on the path, as pip writes them."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deepmix.contracts import registry
from tests.cli.conftest import deepmix

__all__ = ["deepmix"]

PLUGINS = Path(__file__).parents[2] / "plugins"
DISTRIBUTIONS = sorted(path.parent.name for path in PLUGINS.glob("deepmix-*/pyproject.toml"))


def write_metadata(site: Path, name: str) -> None:
    """Write the METADATA and entry_points.txt that pip writes when it installs a distribution of `plugins/`."""
    project = tomllib.loads((PLUGINS / name / "pyproject.toml").read_text("utf-8"))["project"]
    information = site / f"{name.replace('-', '_')}-{project['version']}.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines: list[str] = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{entry} = {target}" for entry, target in entries.items())]
    (information / "entry_points.txt").write_text("\n".join(lines) + "\n")


def install_distributions(site: Path) -> None:
    """Install all distributions of `plugins/` for the rest of this process, with their metadata in an empty folder."""
    for name in DISTRIBUTIONS:
        write_metadata(site, name)
        sys.path.insert(0, str(PLUGINS / name))
    sys.path.insert(0, str(site))
    registry.read_entry_points.cache_clear()


@pytest.fixture
def install(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Return a function that installs distributions of `plugins/` by name, until the test ends."""

    def call(*names: str) -> None:
        site = tmp_path_factory.mktemp("site")
        for name in names:
            write_metadata(site, name)
            monkeypatch.syspath_prepend(str(PLUGINS / name))
        monkeypatch.syspath_prepend(str(site))
        registry.read_entry_points.cache_clear()

    yield call
    registry.read_entry_points.cache_clear()
