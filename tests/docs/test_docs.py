"""The documentation shows what the code does."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugins.conftest import DISTRIBUTIONS, install

__all__ = ["install"]

ROOT = Path(__file__).parents[2]


PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])


TESTED = re.compile(r"^<!-- test -->\n```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def test_command_line_reference_is_that_of_the_code():
    page = runpy.run_path(str(ROOT / "docs" / "generate_cli.py"))
    assert page["TARGET"].read_text("utf-8") == page["reference"](), "run python docs/generate_cli.py"


def test_the_directory_is_that_of_the_code(install):
    """`python docs/generate_directory.py` writes it, and measures where it is told to."""
    install(*DISTRIBUTIONS)
    module = runpy.run_path(str(ROOT / "docs" / "generate_directory.py"))
    page = module["page"]()
    assert module["TARGET"].read_text("utf-8") == page, "run python docs/generate_directory.py"
    assert page.count("\n| ") == len(module["listed"]()) + 1
    figures = module["read_figures"]()
    assert not [key for key, figure in figures.items() if figure["kit"] and figure["kit"]["failed"]]
    gone = set(figures) - {module["key_of"](plugin) for plugin in module["listed"]()}
    assert not gone, "there are figures of plugins that are gone"


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


SHORTER = {
    "deepmix train ": "deepmix train --epochs 2 --pretrain-epochs 2 --init kmeans ",
    "DeepMixture(": "DeepMixture(epochs=2, pretrain_epochs=2, init='kmeans', ",
}
"""Words of the pages, and what the tests run in their place: the same with few epochs and a simple start."""


def run_blocks(blocks, folder):
    binaries = str(Path(sys.executable).parent)
    outer = {key: value for key, value in os.environ.items() if key != "DEEPMIX_DATA"}
    env = outer | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "DEEPMIX_BUILD": "none"}
    env["OMP_NUM_THREADS"] = "1"
    for language, whole in blocks:
        block = whole
        for words, shorter in SHORTER.items():
            block = block.replace(words, shorter)
        command = ["bash", "-euc", block] if language == "bash" else [sys.executable, "-c", block]
        process = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
        assert process.returncode == 0, f"{block}\n{process.stderr}"
