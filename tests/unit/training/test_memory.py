"""Freed memory stays with the process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PAGES = 16384


FEWEST_FAULTS_OF_AN_ARRAY = f"""
import resource, torch
from deepmix.training import memory

def page_faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if {{keep}}:
    assert memory.keep_freed_memory()
faults = []
for _ in range(12):  # an aligned array does not always fit into the space of one of the same size
    before = page_faults()
    array = torch.ones({PAGES} * 1024)
    faults.append(page_faults() - before)
    del array
print(min(faults))
"""


def page_faults(*, keep: bool) -> int:
    program = FEWEST_FAULTS_OF_AN_ARRAY.format(keep=keep)
    return int(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="keeping freed memory needs glibc's mallopt")
def test_a_large_array_takes_the_pages_of_an_earlier_one() -> None:
    assert page_faults(keep=True) < PAGES // 100
    assert page_faults(keep=False) > PAGES // 2, "there is nothing to gain; has the default changed?"
