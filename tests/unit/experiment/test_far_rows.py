"""Rows so far from the others that the mean ELBO rests on them are named with their strangest value."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from deepmix.data import SplitOptions, TableOptions, arrange_rows, arrange_table
from deepmix.experiment.far_rows import warnings_on_far_rows
from deepmix.maths import Inference

ROW, VALUE = 17, 99999.0


def inferences(split, bound=None):
    """Return the inference of rows whose bounds lie around -5, but that of ROW, which may be another."""
    bounds = -5.0 + np.random.default_rng(0).normal(size=split.x.shape[0])
    if bound is not None:
        bounds[ROW] = bound
    nothing = np.zeros((0, 1), np.float32)
    return {side: Inference(nothing, nothing, bound_N=bounds[getattr(split, side)]) for side in ("train", "test")}


def split_of(kind):
    random = np.random.default_rng(1)
    x = random.normal(size=(60, 3))
    x[ROW, 1] = VALUE
    if kind == "table":
        frame = pd.DataFrame(x, columns=["a", "age", "c"])
        frame.loc[3, "c"] = np.nan
        return arrange_table(frame, SplitOptions(), TableOptions())
    return arrange_rows(
        sparse.csr_matrix(x) if kind == "sparse" else x, None, SplitOptions(), columns=["a", "age", "c"]
    )


@pytest.mark.parametrize("kind", ["table", "array", "sparse"])
def test_a_row_that_decides_the_mean_is_named_with_its_value(kind):
    split = split_of(kind)
    side = "held-out" if ROW in split.test else "training"
    (text,) = warnings_on_far_rows(split, inferences(split, -1e6))
    assert text.startswith(f"1 {side} row(s) are so far from the others that the mean ELBO")
    assert f"row {ROW + 1} ('age' is 99999" in text
    (text,) = warnings_on_far_rows(split, inferences(split, -np.inf))
    assert "numbers overflow" in text
    assert f"row {ROW + 1} ('age' is 99999" in text


def test_ordinary_rows_are_not_named():
    split = split_of("array")
    assert warnings_on_far_rows(split, inferences(split)) == []
    assert warnings_on_far_rows(split, inferences(split, -25.0)) == []
