"""Runs that are killed at random moments end with the bits of those that are not.

Set DEEPMIX_KILLS to kill more of them; `python -m tests.faults.kills 30` does so outside pytest.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest

from tests.faults.kills import JOBS, PLACES, Job, call, contents, differences

N_RUNS = int(os.environ.get("DEEPMIX_KILLS", len(JOBS)))


@pytest.fixture(scope="module")
def job_of(tmp_path_factory) -> Callable[[int], Job]:
    folder = tmp_path_factory.mktemp("kills")
    jobs: dict[int, Job] = {}
    return lambda number: jobs.setdefault(number, jobs.get(number) or Job(folder, number))


@pytest.mark.parametrize("number", range(N_RUNS))
def test_a_killed_run_resumes_to_the_bits_of_the_undisturbed_one(job_of, number):
    result = job_of(number % len(JOBS)).kill_and_resume((1, number))
    assert result["differences"] == []


@pytest.mark.parametrize("place", PLACES)
def test_a_run_killed_while_it_writes_its_report_is_finished_by_resume(job_of, tmp_path, place):
    """The report is the last file that a run writes."""
    job, log = job_of(0), tmp_path / "log.txt"
    assert call([*job.words, "--out", str(tmp_path / "run")], log, kill_at=job.n_writes, how=place) == -9
    assert (tmp_path / "run" / "report.html.part").exists() == (place != "after")
    assert call(["train", "--resume", "--out", str(tmp_path / "run"), "--quiet"], log) == 0, log.read_text()
    assert differences(contents(tmp_path / "run"), job.expected) == []


def test_a_seed_killed_before_its_report_gets_it_from_resume(job_of, tmp_path):
    job, run, log = job_of(2), tmp_path / "run", tmp_path / "log.txt"
    shutil.copytree(job.folder / "whole-2", run)
    for name in ("report.html", "clusters.csv"):
        (run / "seed-0" / name).unlink()
    assert call(["train", "--resume", "--out", str(run), "--quiet"], log) == 0, log.read_text()
    assert differences(contents(run), job.expected) == []


def test_a_difference_is_noticed(job_of, tmp_path):
    """Otherwise the tests above would prove nothing."""
    job = job_of(0)
    changed = {**job.expected, "model.safetensors": b"other"}
    assert differences(changed, job.expected) == ["model.safetensors"]
    assert differences({**job.expected, "metrics.json.part": b""}, job.expected) == ["metrics.json.part"]
    assert {
        "config.json",
        "metrics.jsonl",
        "metrics.json",
        "assignments.csv",
        "model.safetensors",
        "report.html",
    } <= set(job.expected)
