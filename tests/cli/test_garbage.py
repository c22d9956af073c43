"""The garbage collector runs less often in the program `deepmix`, and is left alone where Python code calls it."""

from __future__ import annotations

import gc
import subprocess
import sys

from deepmix.cli import main
from deepmix.cli.garbage import ALLOCATIONS

PROGRAM = """
import atexit, gc, sys
atexit.register(lambda: print(gc.get_threshold()[0], gc.get_freeze_count() > 0))
from deepmix.cli import main
sys.argv = ["deepmix", "--version"]
main()
"""


def test_a_program_collects_rarely_and_not_at_its_end():
    printed = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[-1] == f"{ALLOCATIONS} True"


def test_a_call_from_python_changes_nothing():
    before = gc.get_threshold()
    main(["--version"], standalone_mode=False)
    assert gc.get_threshold() == before
