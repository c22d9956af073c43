"""Help, listings and completion import nothing slow; each runs in a fresh process whose modules are then checked."""

from __future__ import annotations

import subprocess
import sys

import pytest

SLOW = ("torch", "sklearn", "scipy", "pandas", "matplotlib", "umap", "deepmix_builtins")


PROGRAM = """
import sys
from deepmix.cli import main
try:
    main(sys.argv[2:], prog_name="deepmix")
finally:
    print("imported:", *(name for name in sys.argv[1].split(",") if name in sys.modules), file=sys.stderr)
"""


def slow_imports(words: list[str], env: dict[str, str] | None = None) -> tuple[str, list[str]]:
    """Return what a command prints, and the slow packages it imports."""
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, ",".join(SLOW), *words], capture_output=True, text=True, check=True, env=env
    )
    return process.stdout, process.stderr.splitlines()[-1].removeprefix("imported:").split()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("--help", "completion"),
        ("--version", "deepmix, version"),
        ("plugins", "Ten random Gaussians"),
        ("plugins --json", '"summary": "MNIST'),
        ("plugins --help", "--describe"),
        ("completion bash", "complete -o"),
        ("bench --help", "--quick"),
        ("doctor --help", "DEEPMIX_BUILD"),
        ("predict --help", "RUN DATA"),
        ("embed --help", "RUN DATA"),
        ("sample --help", "--component"),
        ("evaluate --help", "--dataset"),
        ("export --help", "torch-export"),
        ("report --help", "--umap"),
        ("reproduce --help", "--quick"),
        ("inspect --help", "--weight-column"),
        ("train --help", "--model TEXT"),
        ("train --model k-dvae --help", "assignment=hard"),
        ("train --model k-dvae --init random --head gmm-refit-random --help", "--set, head.gmm-refit-random"),
        ("train --model gmm --dataset gaussians --help", "data_seed=0"),
        ("train --model m2 --dataset rows.csv --help", "labelled=0"),
        ("train --prior standard --help", "--set, encoder"),
    ],
)
def test_nothing_slow_is_imported(command, words):
    output, imported = slow_imports(command.split())
    assert words in output
    assert imported == []


def test_what_needs_a_plugin_imports_it():
    """The check above can fail, because --check imports every plugin."""
    output, imported = slow_imports(["plugins", "--check"])
    assert "Ten random Gaussians" in output
    assert {"torch", "sklearn", "deepmix_builtins"} <= set(imported)


@pytest.mark.parametrize("words", ["deepmix pl", "deepmix train --mo"])
def test_completion_imports_nothing_slow(command, words):
    env = {"_DEEPMIX_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    process = command(env={**env, "PYTHONPROFILEIMPORTTIME": "1"})
    imported = {line.rpartition("|")[2].strip() for line in process.stderr.splitlines()}
    assert process.stdout.startswith("plain,")
    assert "click.shell_completion" in imported
    assert not imported & set(SLOW)
