from __future__ import annotations

import numpy as np
import pytest

from deepmix.data import SplitOptions, load_file, sample_rows, strata, stratified_rows, take_stratified


def test_all_cells_give_the_same_number_of_rows_or_all_they_have():
    assert strata.quotas(np.array([1000, 10, 2, 0, 300]), n_drawn=200).tolist() == [94, 10, 2, 0, 94]
    assert strata.quotas(np.array([3, 5]), n_drawn=200).tolist() == [3, 5]


@pytest.fixture
def split(tmp_path):
    """Rows of five groups and of a sixth with 0.5 % of them, on disk."""
    random = np.random.default_rng(0)
    group_N = random.choice(6, size=30_000, p=[0.199] * 5 + [0.005])
    x = (np.eye(6) * 8.0)[group_N] + random.normal(size=(30_000, 6))
    np.savez(tmp_path / "rows.npz", x=x.astype(np.float32), y=group_N)
    return load_file(tmp_path / "rows.npz", None, SplitOptions(storage="disk"))


def test_a_small_group_has_more_rows_and_counts_as_its_own(split, monkeypatch):
    """The rows stand for all training rows, whatever the size of the blocks of the pass."""
    plain, _ = sample_rows(split, seed=0)
    rows = stratified_rows(split, plain, 6, seed=0)
    sample = take_stratified(split, plain, rows)
    assert len(sample.train) == pytest.approx(5000, abs=64)
    assert np.isin(rows[0], split.train).all()
    assert (np.diff(rows[0]) > 0).all()
    np.testing.assert_array_equal(sample.row_numbers(sample.test), plain.row_numbers(plain.test))
    is_small, was_small = (s.labels[s.train] == 5 for s in (sample, plain))
    assert is_small.sum() > 2.5 * was_small.sum() > 25
    weights = sample.weights_of(sample.train)
    assert weights.sum() == pytest.approx(len(split.train))
    assert weights[is_small].sum() == pytest.approx((split.labels[split.train] == 5).sum(), rel=0.1)
    mean_D = np.average(sample.x[sample.train], axis=0, weights=weights)
    np.testing.assert_allclose(mean_D, split.x[split.train].mean(axis=0), atol=0.1)
    monkeypatch.setattr(strata, "BLOCK_ROWS", 1000)
    np.testing.assert_array_equal(stratified_rows(split, plain, 6, seed=0), rows)
    assert not np.array_equal(stratified_rows(split, plain, 6, seed=1)[0], rows[0])
