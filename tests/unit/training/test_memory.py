"""Freed memory stays with the process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PAGES = 16384


PROGRAM = f"""
import resource, torch
from deepmix.training import memory

def page_faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def faults_of_arrays():
    faults = []
    for _ in range(20):  # at first an aligned array may not fit into the space of one of the same size
        before = page_faults()
        array = torch.ones({PAGES} * 1024)
        faults.append(page_faults() - before)
        del array
    return faults

results = [min(faults_of_arrays())]
with memory.freed_memory_kept(), memory.freed_memory_kept():
    results.append(min(faults_of_arrays()))
results.append(faults_of_arrays()[0])  # a later one may find the space of this one
assert memory.keep_freed_memory()
results.append(min(faults_of_arrays()))
with memory.freed_memory_kept():
    pass
print(*results, min(faults_of_arrays()))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="keeping freed memory needs glibc's mallopt")
def test_a_large_array_takes_the_pages_of_an_earlier_one() -> None:
    program = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    before, during, between, kept, after = (int(faults) for faults in program.stdout.split())
    assert before > PAGES // 2, "there is nothing to gain; has the default changed?"
    assert during < PAGES // 100
    assert between > PAGES // 2, "after the job, freed memory goes back to the system"
    assert kept < PAGES // 100
    assert after < PAGES // 100, "a process that keeps its memory goes on to do so after a job"
