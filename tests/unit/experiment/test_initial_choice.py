"""The record of what an initial clustering compared, and how it outlives an interruption."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from deepmix.data import SplitOptions, arrange_rows
from deepmix.errors import DeepmixError
from deepmix.experiment.initial_choice import choice_record
from deepmix.runs import CHOICE, Candidate, InitialChoice, RunFolder, keep_choice, read_choice


@dataclass
class Compared:
    method: str = "b"
    row_M: np.ndarray = field(default_factory=lambda: np.array([0, 2, 3, 5]))
    label_M: dict = field(default_factory=lambda: {"a": np.array([0, 1, 0, 1]), "b": np.array([0, 0, 1, 1])})
    criteria: dict = field(default_factory=lambda: {"a": {"cut": -0.5, "total": 0.1}, "b": {"cut": -0.1, "total": 2.0}})
    agreement: dict = field(default_factory=lambda: {"a": -0.5, "b": 1.0})


class Comparing:
    choice: object = Compared()


def test_candidates_are_recorded_best_first_with_their_agreement_with_the_labels():
    split = arrange_rows(np.arange(16.0).reshape(8, 2), None, SplitOptions(test_fraction=0.25))
    label_N = np.zeros(8)
    label_N[split.train[[0, 2]]] = 1.0
    labelled = arrange_rows(np.arange(16.0).reshape(8, 2), label_N, SplitOptions(test_fraction=0.25))
    record = choice_record(Comparing(), labelled)
    assert (record.method, record.n_rows) == ("b", 4)
    assert list(record.candidates) == ["b", "a"]
    assert record.candidates["b"] == Candidate({"cut": -0.1, "total": 2.0}, 1.0, ari=1.0)
    assert record.candidates["a"].ari == pytest.approx(-0.5)
    assert choice_record(Comparing(), split).candidates["b"].ari is None


@pytest.mark.parametrize("other", [None, "kmeans", 3])
def test_an_initializer_that_compares_nothing_has_no_record(other):
    initializer = Comparing()
    initializer.choice = other
    split = arrange_rows(np.arange(16.0).reshape(8, 2), None, SplitOptions())
    assert choice_record(initializer, split) is None
    assert choice_record(object(), split) is None


def test_the_record_is_stored_beside_the_checkpoint(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    record = InitialChoice("b", 4, {"b": Candidate({"cut": -0.1}, 1.0, 0.5), "a": Candidate({}, 0.2)})
    folder = RunFolder(tmp_path)
    assert read_choice(folder) is None
    keep_choice(folder, record)
    assert read_choice(folder) == record
    (tmp_path / CHOICE).write_text('{"method": 3}')
    with pytest.raises(DeepmixError, match=r"choice\.json' is damaged"):
        read_choice(folder)
