from __future__ import annotations

import numpy as np

from deepmix.data import SplitOptions, load_file, sample, sample_rows


def test_a_sample_is_part_of_both_sides_in_the_order_of_the_data(tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "SAMPLE_ROWS", {"train": 40, "test": 10})
    monkeypatch.setattr(sample, "FEWEST_ROWS", 1)
    x = np.random.default_rng(0).normal(size=(300, 4))
    np.savez(tmp_path / "rows.npz", x=x, y=np.arange(300))
    split = load_file(tmp_path / "rows.npz", None, SplitOptions(storage="disk"))
    one, positions = sample_rows(split, seed=3)
    assert isinstance(one.x, np.ndarray)
    for side, n_rows in (("train", 40), ("test", 10)):
        numbers = one.row_numbers(getattr(one, side))
        assert len(numbers) == n_rows
        assert np.isin(numbers, getattr(split, side)).all()
        np.testing.assert_array_equal(one.x[getattr(one, side)], split.x[numbers])
        np.testing.assert_array_equal(one.labels[getattr(one, side)], numbers)
    np.testing.assert_array_equal(one.row_numbers(one.train), split.train[positions])
    assert one.row_names.tolist() == [str(number + 1) for number in one.numbers]
    np.testing.assert_array_equal(sample_rows(split, seed=3)[0].numbers, one.numbers)
    assert not np.array_equal(sample_rows(split, seed=4)[0].numbers, one.numbers)
    monkeypatch.setattr(sample, "SAMPLE_VALUES", 4 * 25)  # rows that are wide
    assert [len(getattr(sample_rows(split, 3)[0], side)) for side in ("train", "test")] == [20, 5]
