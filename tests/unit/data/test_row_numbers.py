from __future__ import annotations

import numpy as np
import pytest

from deepmix.data import SplitOptions, numbers_within
from deepmix.data.arrange import split_rows
from deepmix.data.row_numbers import BLOCK, RowNumbers


@pytest.mark.parametrize("n_rows", [9, BLOCK, 3 * BLOCK + 5])
def test_bits_give_the_numbers_of_an_array(n_rows):
    random = np.random.default_rng(0)
    chosen_N = random.random(n_rows) < 0.3
    chosen_N[BLOCK : 2 * BLOCK] = False  # a block without any
    numbers, bits = np.flatnonzero(chosen_N), RowNumbers(chosen_N)
    assert len(bits) == len(numbers)
    positions = random.integers(len(numbers), size=50)
    for chosen in (
        slice(None),
        slice(2, 7),
        slice(0, 0),
        positions,
        np.sort(positions),
        np.arange(len(numbers)) % 3 == 0,
    ):
        assert bits[chosen].tolist() == numbers[chosen].tolist()
    assert np.asarray(bits).tolist() == numbers.tolist()
    assert (np.arange(n_rows) * 2.0)[bits].tolist() == (2.0 * numbers).tolist()
    for first, end in ((0, n_rows), (3, 8), (n_rows - 6, n_rows), (5, 5)):
        expected = numbers[(numbers >= first) & (numbers < end)] - first
        assert (
            numbers_within(bits, first, end).tolist()
            == numbers_within(numbers, first, end).tolist()
            == expected.tolist()
        )


@pytest.mark.parametrize("n_train", [None, 700])
def test_a_compact_split_is_the_same_split(n_train):
    options = SplitOptions(split_seed=3)
    for compact, plain in zip(
        split_rows(1001, n_train, options, compact=True), split_rows(1001, n_train, options), strict=True
    ):
        assert isinstance(compact, RowNumbers)
        assert compact[:].tolist() == plain.tolist()
