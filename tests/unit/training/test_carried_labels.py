from __future__ import annotations

import numpy as np
import pytest
import torch

from deepmix.data import Rows
from deepmix.training import carried_labels as module


class RowsAsCodes:
    """What `carried_labels` asks of a model; the codes are the rows."""

    def eval(self):
        return self

    def pretrained(self, batch):
        return batch.x_ND, torch.zeros(len(batch.x_ND))


@pytest.mark.parametrize(("n_groups", "dtype"), [(3, torch.uint8), (300, torch.int32)])
def test_rows_take_the_label_that_most_of_their_neighbours_have(monkeypatch, n_groups, dtype):
    """One wrong label in each group of the sample is outvoted; batches are searched together, the last ones too."""
    monkeypatch.setattr(module, "EVALUATION_ROWS", 64)
    monkeypatch.setattr(module, "SEARCHED_ROWS", 3)
    random = np.random.default_rng(0)
    centre_KM = np.stack([np.arange(n_groups) * 9.0, np.zeros(n_groups)], axis=1)
    group_n, group_N = np.repeat(np.arange(n_groups), 9), random.integers(n_groups, size=500)
    code_nM = (centre_KM[group_n] + random.normal(size=(len(group_n), 2))).astype(np.float32)
    x_ND = (centre_KM[group_N] + random.normal(size=(500, 2))).astype(np.float32)
    label_n = group_n.copy()
    label_n[::9] = (group_n[::9] + 1) % n_groups
    rows = Rows(x_ND, np.arange(500), torch.device("cpu"))
    label_N = module.carried_labels(RowsAsCodes(), rows, code_nM, label_n, "fp32", seed=0)
    assert label_N.dtype == dtype
    assert np.mean(label_N.numpy() == group_N) > 0.98


def test_the_majority_is_the_nearest_among_equals():
    label_NJ = np.array([[2, 1, 1, 0, 0], [3, 3, 1, 1, 1], [4, 5, 6, 7, 8]])
    assert module._majority(label_NJ).tolist() == [1, 1, 4]
