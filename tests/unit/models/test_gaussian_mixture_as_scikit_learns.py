"""scikit-learn's own tests of its GaussianMixture, from its wheel, run on ours."""

from __future__ import annotations

import numpy as np
import pytest

import deepmix

theirs = pytest.importorskip("sklearn.mixture.tests.test_gaussian_mixture", reason="this scikit-learn has no tests")


pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # scikit-learn's runs allow it


DEVIATIONS = {
    "test_gaussian_mixture_all_init_does_not_estimate_gaussian_parameters": (
        "it counts calls of scikit-learn's own M-step, which the kernels' sums replace"
    ),
    "test_gaussian_mixture_array_api_compliance": "the parameter 'device' takes the place of scikit-learn's array API",
    "test_gaussian_mixture_raises_where_array_api_not_implemented": "the same",
}
"""Tests of scikit-learn that do not hold for deepmix's GaussianMixture, and why."""


globals().update({n: v for n, v in vars(theirs).items() if n.startswith("test_") and n not in DEVIATIONS})


@pytest.fixture(autouse=True)
def our_mixture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(theirs, "GaussianMixture", deepmix.GaussianMixture)


@pytest.fixture(params=[np.float32, np.float64])
def global_dtype(request: pytest.FixtureRequest) -> type:
    return request.param


@pytest.fixture(params=[0, 42])
def global_random_seed(request: pytest.FixtureRequest) -> int:
    return request.param


def test_every_deviation_is_a_test_of_scikit_learns() -> None:
    known = {name for name in vars(theirs) if name.startswith("test_")}
    assert len(known) > 30
    assert {name for name in DEVIATIONS if "array_api" not in name} <= known  # versions before 1.8 have no array API
