"""Plugins, the built-ins and every distribution under `plugins/`, use only the public API."""

from __future__ import annotations

import ast
import importlib
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PUBLIC = runpy.run_path(str(ROOT / "docs" / "generate_api.py"))["PUBLIC"]
FILES = sorted((ROOT / "plugins").rglob("*.py"))


def private_uses(source: str) -> list[str]:
    """Return the imports of the core that are not public, each with its line."""
    uses = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            uses += [f"line {node.lineno}: {a.name}" for a in node.names if a.name.split(".")[0] == "deepmix"]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "deepmix":
            public = importlib.import_module(node.module).__all__ if node.module in PUBLIC else ()
            uses += [f"line {node.lineno}: {node.module}.{a.name}" for a in node.names if a.name not in public]
    return uses


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT / "plugins")))
def test_a_plugin_imports_only_what_is_public(path):
    assert private_uses(path.read_text("utf-8")) == []


def test_a_private_import_is_named():
    source = "from deepmix.contracts import Prior, registry\nimport deepmix.runs\nfrom deepmix.runs import RunFolder\n"
    assert private_uses(source) == [
        "line 1: deepmix.contracts.registry",
        "line 2: deepmix.runs",
        "line 3: deepmix.runs.RunFolder",
    ]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_exists_and_is_documented(name):
    module = importlib.import_module(name)
    assert len(module.__all__) == len(set(module.__all__)) > 0
    for public in module.__all__:
        value = getattr(module, public)
        if callable(value) and not isinstance(value, type(list[int])):
            assert value.__doc__, f"{name}.{public} has no docstring"


def test_the_page_is_up_to_date():
    """The page is up to date; `python docs/generate_api.py` writes it."""
    page = runpy.run_path(str(ROOT / "docs" / "generate_api.py"))["page"]()
    assert (ROOT / "docs" / "api.md").read_text("utf-8") == page
