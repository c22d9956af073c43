"""The wheel is the same bytes from the same sources, and every package that deepmix needs has a known licence."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
SOURCES = ("deepmix", "plugins/deepmix_builtins", "csrc", "setup.py", "pyproject.toml", "README.md", "LICENSE")


def build_wheel(folder: Path, time: int) -> str:
    """Build a wheel from a copy of the sources whose files were all written at one time; return its SHA-256."""
    sources = folder / "sources"
    for name in SOURCES:
        origin, target = ROOT / name, sources / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if origin.is_dir():
            shutil.copytree(origin, target, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy(origin, target)
    for path in sources.rglob("*"):
        os.utime(path, (time, time))
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1700000000", "DEEPMIX_BUILD": "none"}
    words = [sys.executable, "-c", BUILD, str(folder)]
    process = subprocess.run(words, cwd=sources, env=environment, capture_output=True, text=True, check=True)
    return hashlib.sha256((folder / process.stdout.split()[-1]).read_bytes()).hexdigest()


def test_the_wheel_builds_to_the_same_bytes_twice(tmp_path):
    digests = [build_wheel(tmp_path / str(time), time) for time in (1_600_000_000, 1_650_000_000)]
    assert digests[0] == digests[1]


def licences(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / ".ci" / "licences"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_package_has_a_licence_that_we_know():
    process = licences()
    assert process.returncode == 0, process.stderr
    assert any(line.split()[:2] == ["torch", "Apache-2.0"] for line in process.stdout.splitlines())


@pytest.mark.parametrize(("package", "licence"), [("tqdm", "MPL-2.0"), ("pytest", "MIT")])
def test_a_licence_that_is_not_allowed_is_named(package, licence):
    process = licences("--forbid", licence)
    assert process.returncode == 1
    assert f"not known to be free: {package} " in process.stderr
