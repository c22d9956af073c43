"""The core never imports a plugin, and only `contracts/registry.py` reads entry points."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import deepmix

CORE = sorted(Path(deepmix.__file__).parent.rglob("*.py"))


def imported_modules(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
    return modules


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_core_imports_no_plugin(path):
    assert not {name for name in imported_modules(path) if name.split(".")[0] == "deepmix_builtins"}
    assert "deepmix_builtins" not in path.read_text("utf-8").replace("plugins/deepmix_builtins", "")


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_only_the_registry_reads_entry_points(path):
    readers = {"entrypoints"} & imported_modules(path)
    assert not readers or path.name == "registry.py"


def test_discovery_imports_nothing(monkeypatch):
    import builtins

    from deepmix.contracts import registry

    registry.read_entry_points.cache_clear()
    real_import = builtins.__import__

    def refuse(name, *args, **kwargs):
        assert not name.startswith("deepmix_builtins"), f"discovery imported {name}"
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert "mvae-emv2" in registry.names("models")
