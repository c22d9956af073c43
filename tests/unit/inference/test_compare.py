"""Comparisons leave out rows without a label, and rows count by their weights."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from deepmix.errors import UsageError
from deepmix.inference import compare_runs
from deepmix.inference.compare import Compared


def compared(clusters, labels, weights=None, name="run"):
    clusters, rows = np.array(clusters), np.arange(len(clusters))
    return Compared(name, "posterior", {0: clusters}, np.array(labels), weights, rows, {0: -1.0}, "same")


def score(run, metric="acc"):
    return compare_runs([run], metric)[0][metric]["mean"]


def test_rows_without_a_label_are_not_a_class():
    labelled = compared([0, 0, 1, 1], ["a", "a", "b", "a"])
    with_unknown = compared([0, 0, 1, 1, 0, 1, 1], ["a", "a", "b", "a", "", "", ""])
    assert score(labelled) == 0.75
    for metric in ("acc", "nmi", "ari", "homogeneity"):
        assert score(with_unknown, metric) == score(labelled, metric)
    difference = compare_runs([with_unknown, dataclasses.replace(with_unknown)], "acc")[1]["difference"]
    assert difference == {"mean": 0.0, "low": 0.0, "high": 0.0}


def test_a_row_of_weight_2_counts_as_two_rows():
    weighted = compared([0, 0, 1, 1], ["a", "a", "b", "a"], np.array([1.0, 1.0, 1.0, 2.0]))
    repeated = compared([0, 0, 1, 1, 1], ["a", "a", "b", "a", "a"])
    for metric in ("acc", "nmi", "ari"):
        assert score(weighted, metric) == pytest.approx(score(repeated, metric))
    assert score(weighted) == pytest.approx(3 / 5)


def test_what_can_not_be_compared_is_said():
    run = compared([0, 1], ["a", "b"])
    with pytest.raises(UsageError, match=r"no test row of 'run' has a label"):
        compare_runs([compared([0, 1], ["", ""])], "acc")
    heavy = compared([0, 1], ["a", "b"], np.array([1.0, 2.0]), name="heavy")
    with pytest.raises(UsageError, match=r"'heavy' and 'run' weigh their test rows differently.*weight_column"):
        compare_runs([run, heavy], "acc")
    with pytest.raises(UsageError, match="weigh their test rows differently"):
        compare_runs([heavy, compared([0, 1], ["a", "b"], np.array([1.0, 3.0]))], "acc")
    assert compare_runs([run, heavy], "elbo")[1]["difference"]["mean"] == 0.0
