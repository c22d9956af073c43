"""`deepmix train` and the estimator are one code path: the same rows, options and seed give the same clusters."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import deepmix as package
from deepmix.inference import open_run
from tests.cli.conftest import TINY

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("seed", [0, 5])
def test_identical_assignments(deepmix, blobs, tmp_path, seed):
    result = deepmix(
        "train", "--dataset", blobs, "--label-column", "kind", "--components", 4, "--head", "posterior",
        "--head", "gmm", "--seed", seed, "--out", "run", *TINY
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    rows = pd.read_csv(blobs).drop(columns="kind")
    estimator = package.DeepMixture(
        4, head=("posterior", "gmm"), init="kmeans", epochs=2, pretrain_epochs=2, random_state=seed
    )
    labels = estimator.fit_predict(rows)
    table = open_run(tmp_path / "run").assignments()
    assert np.array_equal(labels, table["posterior"])
    assert np.array_equal(estimator.run_.assignments()["gmm"], table["gmm"])
    assert np.array_equal(estimator.run_.assignments()["probability"], table["probability"])
    loaded = package.load(tmp_path / "run")
    assert np.array_equal(loaded.labels_, labels)
    assert loaded.feature_names_in_.tolist() == ["a", "b", "c", "d", "e", "f"]
    assert np.array_equal(loaded.score_samples(rows), estimator.score_samples(rows))
    assert loaded.n_components == 4
    assert loaded.epochs == 2
