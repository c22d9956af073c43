"""The top command: its help and shell completion."""

from __future__ import annotations

import json

import click
import pytest

from deepmix.cli import COMMANDS, main


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(deepmix, shell):
    result = deepmix("completion", shell)
    assert result.returncode == 0
    assert f"_DEEPMIX_COMPLETE={shell}_complete" in result.stdout
    assert json.loads(deepmix("completion", shell, "--json").stdout)["script"] in result.stdout


@pytest.mark.parametrize(
    ("words", "number", "completion_text"), [("deepmix pre", "1", "predict"), ("deepmix train --mo", "2", "--model")]
)
def test_completion_completes(command, words, number, completion_text):
    result = command(env={"_DEEPMIX_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": number})
    assert result.stdout.split() == [f"plain,{completion_text}"], result.stderr


def test_every_command_is_there():
    for name in COMMANDS:
        assert main.get_command(click.Context(main), name).name == name
