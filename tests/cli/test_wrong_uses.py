"""Every wrong use of the table ends in its sentence, with its exit status, and changes no file.

All of them run inside this process, and a few as commands of their own; `python -m tests.cli.wrong_uses` runs all as
commands.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from deepmix.cli import main
from tests.cli.wrong_uses import USES, WrongUse, contents, fault_of, run_command, write_files

LEAST_USES, REAL_EVERY = 80, 16
"""Least size of the table, and which of its rows run as commands of their own."""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("uses")

    def deepmix(*words: str) -> None:
        assert invoke(folder, *words).exit_code == 0

    write_files(folder, deepmix)
    return folder


def invoke(folder: Path, *words: str) -> Result:
    before = Path.cwd()
    os.chdir(folder)
    try:
        return CliRunner(env={"COLUMNS": "110", "DEEPMIX_DATA": None}).invoke(main, words, prog_name="deepmix")
    finally:
        os.chdir(before)


@pytest.mark.parametrize("use", USES, ids=lambda use: use.words[:60])
def test_a_wrong_use(place, use):
    before = contents(place)
    result = invoke(place, *shlex.split(use.words))
    assert isinstance(result.exception, SystemExit), result.exception
    assert fault_of(use, result.exit_code, result.stdout, result.stderr) is None
    assert contents(place) == before


@pytest.mark.parametrize("use", USES[::REAL_EVERY], ids=lambda use: use.words[:60])
def test_a_wrong_use_of_the_real_command(place, use):
    process = run_command(place, *shlex.split(use.words))
    assert fault_of(use, process.returncode, process.stdout, process.stderr) is None


def test_the_table_is_long_and_has_no_row_twice():
    assert len(USES) >= LEAST_USES
    assert len({use.words for use in USES}) == len(USES)


@pytest.mark.parametrize(
    ("status", "output", "errors"),
    [
        (1, "", "Error: no such thing"),
        (2, "", "Traceback (most recent call last):"),
        (2, "", "Error: something else"),
        (2, "rows", "Error: no such thing"),
        (2, "", "Error: no such thing \x1b[31m"),
    ],
)
def test_a_wrong_answer_is_seen(status, output, errors):
    use = WrongUse("predict", 2, "no such thing")
    assert fault_of(use, 2, "", "Error: no such thing") is None
    assert fault_of(use, status, output, errors) is not None
