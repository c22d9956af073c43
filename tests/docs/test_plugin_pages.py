"""The pages on plugins, followed to the letter in a virtual environment of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "plugins"
BLOCK = re.compile(r"^<!-- (test|file \S+) -->\n```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ANY_BLOCK = re.compile(r"^```(bash|python)$", re.MULTILINE)


@pytest.fixture(scope="module")
def binaries(tmp_path_factory) -> Path:
    """Return the bin folder of a fresh virtual environment, on top of the packages in use here."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    site = sysconfig.get_path("purelib", vars={"base": str(folder)})
    Path(site, "outer.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    for name in ("deepmix", "pip"):
        script = folder / "bin" / name
        script.write_text(f'#!/bin/sh\nexec "{python}" -m {name} "$@"\n')
        script.chmod(0o755)
    return python.parent


def follow(page: Path, folder: Path, binaries: Path) -> None:
    """Write the files of a page and run its commands and programs, in its order."""
    outer = {key: value for key, value in os.environ.items() if key != "DEEPMIX_DATA"}
    env = outer | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    for label, language, text in BLOCK.findall(page.read_text("utf-8")):
        if label != "test":
            (folder / label.split()[1]).write_text(text)
            continue
        command = ["bash", "-euc", text] if language == "bash" else [binaries / "python", "-c", text]
        process = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
        assert process.returncode == 0, f"{text}\n{process.stdout}\n{process.stderr}"


@pytest.mark.parametrize("name", ["prior", "head", "dataset"])
def test_a_page_can_be_followed(name, tmp_path, binaries):
    page = PAGES / f"{name}.md"
    text = page.read_text("utf-8")
    assert len(BLOCK.findall(text)) == len(ANY_BLOCK.findall(text)) >= 2, "a block of code is not run"
    follow(page, tmp_path, binaries)


def test_the_programs_of_the_index_run(tmp_path, binaries):
    assert len(BLOCK.findall((PAGES / "index.md").read_text("utf-8"))) == 2
    follow(PAGES / "index.md", tmp_path, binaries)
