"""Which partition the bound and other rules would choose, in `choose_by_elbo.py`."""

from __future__ import annotations

import numpy as np
import pytest
from choose_by_elbo import Candidates, elbo_after_training, index_by, indices, report, training_rows

from deepmix import DeepMixture


def partition(ari: float, elbo: float, agreement: float, joint: float) -> dict[str, float]:
    """Return a partition's criteria; those that are not named are alike for all partitions."""
    alike = dict.fromkeys(("cut", "gap", "likelihood", "cut in codes", "gap in codes", "likelihood in codes"), 0.0)
    return {**alike, "ari": ari, "elbo": elbo, "agreement": agreement, "agreement with all": joint}


CANDIDATES = Candidates(
    "made",
    "table",
    1.0,
    {
        "kmeans": partition(0.1, -1.0, 0.5, 0.5),
        "ward": partition(0.2, -3.0, 0.9, 0.4),
        "codes: kmeans": partition(0.9, -0.5, 0.0, 0.3),
        "codes: ward": partition(0.4, -2.0, 0.0, 0.7),
    },
)


def test_each_rule_takes_the_partition_with_its_largest_value_with_the_codes_or_without():
    assert index_by(CANDIDATES, ("elbo",), codes=False) == 0.1
    assert index_by(CANDIDATES, ("elbo",), codes=True) == 0.9
    assert index_by(CANDIDATES, ("agreement",), codes=False) == 0.2
    assert index_by(CANDIDATES, ("agreement",), codes=True) == 0.4


def test_the_report_has_a_mean_for_each_rule_and_battery():
    values = indices(CANDIDATES)
    lines = report({("made", "a"): values, ("made", "b"): dict.fromkeys(values, 0.3), ("real", "c"): values})
    assert lines[0] == "| | suite | made | real |"
    assert "| rows: best by the labels | 0.250 | 0.250 | 0.200 |" in lines
    assert "| rows and codes: best by the labels | 0.600 | 0.600 | 0.900 |" in lines
    assert "| rows: ELBO | 0.200 | 0.200 | 0.100 |" in lines


def test_a_training_starts_from_the_labels_that_it_is_given():
    random = np.random.default_rng(0)
    group_N = np.arange(60) % 2
    x_ND = (random.normal(size=(60, 2)) + 8.0 * group_N[:, None]).astype(np.float32)
    model = DeepMixture(2, epochs=30, pretrain_epochs=30)
    rows = training_rows(model, x_ND)
    assert rows.x_ND.shape == (51, 2)
    assert len(rows.code_NM) == 51
    own_N = (rows.x_ND[:, 0] > 0.0).astype(np.int64)
    assert elbo_after_training(model, x_ND, own_N) > elbo_after_training(model, x_ND, random.permutation(own_N)) + 0.1
    assert elbo_after_training(model, x_ND, own_N) == pytest.approx(elbo_after_training(model, x_ND, own_N))
