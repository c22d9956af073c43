"""Values that training hides from the encoder, in the columns of a table that have missing ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from deepmix.data import Rows, SplitOptions, TableOptions, arrange_table

N_HIDDEN = 2000


def rows_of(*, with_gaps: bool) -> Rows:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"a": random.normal(size=60), "b": random.choice(list("xyz"), 60), "c": random.normal(size=60)}
    )
    if with_gaps:
        frame.loc[3, "a"], frame.loc[5, "b"] = np.nan, None
    split = arrange_table(frame, SplitOptions(), TableOptions())
    return Rows(split.rows, np.resize(np.array([0, 1, 2, 4]), N_HIDDEN), torch.device("cpu"))


def test_hidden_values_are_0_and_flagged_and_the_others_stay():
    rows = rows_of(with_gaps=True)
    complete = rows.batch(torch.arange(N_HIDDEN))
    hidden = rows.hide(complete, 0.25, torch.Generator().manual_seed(0))
    a_N, b_N3, c_N = hidden.x_ND[:, 0], hidden.x_ND[:, 1:4], hidden.x_ND[:, 4]
    for flag_N, features_N, before_N in (
        (hidden.x_ND[:, 5], a_N.unsqueeze(-1), complete.x_ND[:, :1]),
        (hidden.x_ND[:, 6], b_N3, complete.x_ND[:, 1:4]),
    ):
        is_hidden_N = flag_N == 1.0
        assert abs(float(is_hidden_N.float().mean()) - 0.25) < 0.05  # five standard errors
        assert bool((features_N[is_hidden_N] == 0.0).all())
        assert torch.equal(features_N[~is_hidden_N], before_N[~is_hidden_N])
    assert torch.equal(c_N, complete.x_ND[:, 4])  # no value of it is missing
    assert hidden.cells_NC is complete.cells_NC


def test_nothing_is_hidden_where_nothing_is_missing():
    rows = rows_of(with_gaps=False)
    complete = rows.batch(torch.arange(8))
    assert rows.hide(complete, 0.5, torch.Generator().manual_seed(0)) is complete
