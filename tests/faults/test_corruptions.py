"""A few of the changes that `python -m tests.faults.corruptions` makes to the files of a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import refuses
from tests.faults.corruptions import make_runs, spoil, spoil_json, try_one

N_TRIED = 25


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("corruptions")
    make_runs(place)
    return place


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_no_change_of_a_file_leads_to_a_traceback(folder):
    outcomes = dict(try_one(folder, (7, number)) for number in range(N_TRIED))
    assert set(outcomes.values()) <= {"answer", "sentence"}, outcomes
    assert "sentence" in outcomes.values()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("config.json", ("train", "--resume", "--quiet", "--out")),
        ("metrics.jsonl", ("train", "--resume", "--quiet", "--out")),
        ("checkpoint/choice.json", ("train", "--resume", "--quiet", "--out")),
        ("metrics.json", ("compare",)),
    ],
)
def test_deep_json_is_one_sentence(deepmix, folder, tmp_path, name, words):
    run = shutil.copytree(folder / ("finished" if words == ("compare",) else "stopped"), tmp_path / "run")
    (run / name).write_bytes(b"[" * 200_000 + b"\n")
    refuses(deepmix(*words, "run"), 1, Path(name).name, "recursion")


def test_changes_are_made_and_repeat(tmp_path):
    texts = {spoil_json('{"a": [1, {"b": "x"}]}', np.random.default_rng(seed)) for seed in range(40)}
    assert len(texts) > 15
    path, contents = tmp_path / "config.json", set()
    for seed in range(30):
        path.write_text(json.dumps({"seed": seed, "names": ["a", "b"]}))
        before = path.read_bytes()
        spoil(path, np.random.default_rng(seed))
        contents.add(path.read_bytes() != before)
    assert contents == {True} or contents == {True, False}  # a replacement may be the same value
