"""The documentation shows what the code does."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from deepmix.contracts import registry

ROOT = Path(__file__).parents[2]


PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])


TESTED = re.compile(r"^<!-- test -->\n```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def test_command_line_reference_is_that_of_the_code():
    page = runpy.run_path(str(ROOT / "docs" / "generate_cli.py"))
    assert page["TARGET"].read_text("utf-8") == page["reference"](), "run python docs/generate_cli.py"


def test_the_directory_lists_the_built_in_plugins():
    """The directory is up to date; `python docs/generate_directory.py` writes it."""
    page = runpy.run_path(str(ROOT / "docs" / "generate_directory.py"))
    rows = [line.split(" | ") for line in page["TARGET"].read_text("utf-8").splitlines() if " | deepmix | " in line]
    ours = [plugin for plugin in registry.read_entry_points().plugins if plugin.distribution == registry.OURS]
    listed = [(cells[0].removeprefix("| "), cells[1].strip("`")) for cells in rows]
    assert listed == [(registry.singular(plugin.kind), plugin.name) for plugin in ours]
    assert not [cells for cells in rows if "failed" in cells[-2]]
    figures = {cells[1].strip("`"): cells[-1].removesuffix(" |") for cells in rows if cells[0] == "| model"}
    assert {name: figure for name, figure in figures.items() if figure != "-"} == page["accuracies"]()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


def test_tutorial_runs(tmp_path):
    blocks = TESTED.findall((ROOT / "docs" / "tutorial.md").read_text("utf-8"))
    assert len(blocks) >= 5
    run_blocks(blocks, tmp_path)


def test_the_mixtures_page_runs(tmp_path):
    blocks = TESTED.findall((ROOT / "docs" / "mixtures.md").read_text("utf-8"))
    assert len(blocks) == 1
    run_blocks(blocks, tmp_path)


def test_readme_python_runs(tmp_path):
    blocks = PYTHON.findall((ROOT / "README.md").read_text("utf-8"))
    assert len(blocks) == 1
    run_blocks([("python", block) for block in blocks], tmp_path)


def run_blocks(blocks, folder):
    binaries = str(Path(sys.executable).parent)
    outer = {key: value for key, value in os.environ.items() if key != "DEEPMIX_DATA"}
    env = outer | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "DEEPMIX_BUILD": "none"}
    env["OMP_NUM_THREADS"] = "1"
    for language, block in blocks:
        command = ["bash", "-euc", block] if language == "bash" else [sys.executable, "-c", block]
        process = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
        assert process.returncode == 0, f"{block}\n{process.stderr}"
