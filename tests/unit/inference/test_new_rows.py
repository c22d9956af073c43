"""New rows of an array are refused where they are in other units than the training rows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from deepmix.data import Preparation
from deepmix.errors import UsageError
from deepmix.inference.new_rows import prepare_array

BYTES = Preparation(scale="bytes")
FLOATS = np.array([[0.0, 1.0, 0.5], [1.0, 0.25, 1.0], [0.0, 0.0, 1.0]])
"""Images in 0..1 whose columns all reach 1."""


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_rows_in_0_to_1_are_not_bytes(kind):
    with pytest.raises(UsageError, match=r"lie in 0\.\.1 and the run was trained on bytes.*multiply the rows by 255"):
        prepare_array(BYTES, 3, "bernoulli", kind(FLOATS))


def test_centred_rows_are_not_bytes():
    with pytest.raises(UsageError, match=r"lie in -1\.\.1 .*rescale the rows to 0\.\.255"):
        prepare_array(BYTES, 3, "gaussian", FLOATS * 2.0 - 1.0)


def test_dark_bytes_are_bytes_however_they_are_stored():
    dark = np.array([[0, 1, 1], [1, 0, 0]])
    for rows in (dark.astype(np.uint8), dark.astype(np.float32)):
        assert prepare_array(BYTES, 3, "bernoulli", rows) == pytest.approx(dark / 255.0)
    assert prepare_array(BYTES, 3, "bernoulli", np.rint(FLOATS * 255.0)).max() == 1.0
