"""The steps of an initial clustering as fractions of its work."""

from __future__ import annotations

import numpy as np
import pytest

from deepmix.contracts import Progress, TrainingRows


class Steps(list):
    """A list of the steps that were reported, which is called for each of them."""

    def __call__(self, name, fraction):
        self.append((name, pytest.approx(fraction, abs=1e-12)))


def test_steps_begin_where_the_costs_before_them_end():
    steps = Steps()
    begin = Progress(steps).steps({"neighbours": 3.0, "layout": 5.0, "cut": 2.0})
    for name in ("neighbours", "layout", "cut"):
        begin(name)
    assert steps == [("neighbours", 0.0), ("layout", 0.3), ("cut", 0.8)]


def test_a_part_of_a_part_lies_within_it():
    steps = Steps()
    last_half = Progress(steps).part(0.5, 1.0)
    last_half.step("begin", 0.0)
    last_half.part(0.2, 0.4).step("middle", 0.5)
    last_half.step("end", 1.0)
    assert steps == [("begin", 0.5), ("middle", 0.65), ("end", 1.0)]


@pytest.mark.parametrize("fraction", [-0.01, 1.01, float("nan")])
def test_a_fraction_outside_0_to_1_is_refused(fraction):
    with pytest.raises(ValueError, match=r"must be in \[0, 1\], got"):
        Progress().step("layout", fraction)


def test_some_of_the_rows_report_to_the_same_place():
    progress = Progress(Steps())
    rows = TrainingRows(np.eye(4), np.eye(4), np.arange(4.0), progress).only(np.array([1, 3]))
    assert rows.progress is progress
    np.testing.assert_array_equal(rows.weight_N, [1.0, 3.0])
