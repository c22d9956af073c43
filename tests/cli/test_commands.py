"""The command that holds the others: its help and what shells complete."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest

from deepmix.cli import COMMANDS, main


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(deepmix, shell):
    done = deepmix("completion", shell)
    assert done.returncode == 0
    assert f"_DEEPMIX_COMPLETE={shell}_complete" in done.stdout
    assert json.loads(deepmix("completion", shell, "--json").stdout)["script"] in done.stdout


@pytest.mark.parametrize(
    ("words", "number", "found"), [("deepmix pre", "1", "predict"), ("deepmix train --mo", "2", "--model")]
)
def test_completion_completes(command, words, number, found):
    done = command(env={"_DEEPMIX_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": number})
    assert done.stdout.split() == [f"plain,{found}"], done.stderr


def test_the_help_waits_for_no_torch():
    program = """
import sys
from deepmix.cli import main
main(["--help"], standalone_mode=False)
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_every_command_is_there():
    for name in COMMANDS:
        assert main.get_command(click.Context(main), name).name == name
