"""deepmix.GaussianMixture: scikit-learn's results, and what scikit-learn's lacks: weights, gaps, noise and batches."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.mixture
import torch
from scipy.stats import multivariate_normal
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import check_estimator

import deepmix
from deepmix import GaussianMixture
from deepmix.maths import em, em_gaps
from deepmix.models import mixture_rows, mixture_start

K, M = 3, 4
FAMILIES = ["spherical", "diag", "tied", "full"]
PARAMETERS = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")


def overlapping_rows(n_rows: int = 240, seed: int = 0) -> np.ndarray:
    """Return rows of three overlapping groups with correlated columns."""
    random = np.random.default_rng(seed)
    mixing = np.array([[1.0, 0.6, 0.0, 0.0], [0.0, 0.8, 0.3, 0.0], [0.0, 0.0, 1.5, -0.5], [0.0, 0.0, 0.0, 0.7]])
    return 3.0 * np.eye(K, M)[np.arange(n_rows) % K] + random.normal(size=(n_rows, M)) @ mixing


def with_gaps(rows: np.ndarray, fraction: float = 0.25, seed: int = 1) -> np.ndarray:
    """Return rows in which random cells are missing."""
    return np.where(np.random.default_rng(seed).random(rows.shape) < fraction, np.nan, rows)


def assert_same_fit(ours: GaussianMixture, other: sklearn.mixture.GaussianMixture, rtol: float = 1e-7) -> None:
    for name in PARAMETERS:
        np.testing.assert_allclose(getattr(ours, name), getattr(other, name), rtol=rtol, atol=rtol)


def test_it_is_public_and_passes_scikit_learns_checks():
    assert "GaussianMixture" in deepmix.__all__
    results = check_estimator(GaussianMixture(), on_skip=None, on_fail=None)
    assert len(results) > 40
    assert [(r["check_name"], r["exception"]) for r in results if r["status"] not in ("passed", "skipped")] == []


@pytest.mark.parametrize("init_params", ["kmeans", "random", "random_from_data", "k-means++"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_gives_scikit_learns_fit(family, init_params):
    if family == "tied" and init_params in ("random_from_data", "k-means++"):
        pytest.skip("scikit-learn's first tied covariance counts all rows, but divides by the K that it starts from")
    rows = overlapping_rows()
    settings = {"covariance_type": family, "init_params": init_params, "random_state": 1, "reg_covar": 1e-2}
    ours, other = GaussianMixture(K, **settings).fit(rows), sklearn.mixture.GaussianMixture(K, **settings).fit(rows)
    assert ours.n_iter_ == other.n_iter_ > 1
    np.testing.assert_allclose(ours.lower_bounds_, other.lower_bounds_, rtol=1e-9)
    assert_same_fit(ours, other)
    np.testing.assert_array_equal(ours.predict(rows), other.predict(rows))
    np.testing.assert_allclose(ours.predict_proba(rows), other.predict_proba(rows), atol=1e-7)
    np.testing.assert_allclose(ours.score_samples(rows), other.score_samples(rows), rtol=1e-7)
    for measure in ("aic", "bic", "score"):
        assert getattr(ours, measure)(rows) == pytest.approx(getattr(other, measure)(rows), rel=1e-9)


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
@pytest.mark.parametrize("family", FAMILIES)
def test_float32_rows_give_scikit_learns_float64_fit_from_the_same_start(family):
    rows = overlapping_rows(2000)
    start = sklearn.mixture.GaussianMixture(K, covariance_type=family, random_state=0, max_iter=3).fit(rows)
    given = {"weights_init": start.weights_, "means_init": start.means_, "precisions_init": start.precisions_}
    settings = {"covariance_type": family, "max_iter": 25, "tol": 0.0, **given}
    other = sklearn.mixture.GaussianMixture(K, **settings).fit(rows)
    ours = GaussianMixture(K, **settings).fit(rows.astype(np.float32))
    assert ours.means_.dtype == np.float32
    np.testing.assert_allclose(ours.lower_bounds_, other.lower_bounds_, rtol=1e-6)
    assert_same_fit(ours, other, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_give_the_fit_of_repeated_rows(family):
    rows, weights = overlapping_rows(), np.random.default_rng(2).integers(0, 4, 240)
    settings = {"covariance_type": family, "means_init": 3.0 * np.eye(K, M), "init_params": "random", "tol": 1e-6}
    repeated = GaussianMixture(K, random_state=0, **settings).fit(np.repeat(rows, weights, axis=0))
    start = {"weights_init": repeated.weights_, "precisions_init": repeated.precisions_, "max_iter": 500}
    fits = [
        GaussianMixture(K, **settings | start).fit(rows, sample_weight=weights * 1e-13),
        GaussianMixture(K, **settings | start).fit(np.repeat(rows, weights, axis=0)),
    ]
    assert fits[0].n_iter_ == fits[1].n_iter_ > 2
    assert fits[0].lower_bound_ == pytest.approx(fits[1].lower_bound_, rel=1e-10)
    assert_same_fit(*fits)
    assert fits[0].score(rows, sample_weight=weights) == pytest.approx(fits[1].score(np.repeat(rows, weights, axis=0)))


@pytest.mark.parametrize("init_params", ["kmeans", "random", "random_from_data", "k-means++"])
def test_rows_of_weight_0_count_in_no_start(init_params):
    rows = np.concatenate([overlapping_rows(), np.full((60, M), 1e3)])
    weights = np.repeat([2.0, 0.0], [240, 60])
    mixture = GaussianMixture(K, init_params=init_params, random_state=0, max_iter=0).fit(rows, sample_weight=weights)
    assert np.abs(mixture.means_).max() < 10.0


@pytest.mark.parametrize("family", ["spherical", "diag", "tied", "full"])
def test_statistics_of_complete_rows_are_the_same_by_the_code_for_gaps(family):
    rows = overlapping_rows(100)
    mixture = GaussianMixture(K, covariance_type=family, random_state=0).fit(rows)
    z = mixture_rows.MixtureRows(rows, np.linspace(0.5, 1.5, 100), torch.device("cpu"))
    parameters = mixture._parameters()
    expected = z.statistics(parameters, None)
    z.__dict__["has_gaps"] = True
    actual = z.statistics(parameters, None)
    for name in ("log_likelihood", "responsibility_K", "first_KM", "second"):
        torch.testing.assert_close(getattr(actual, name), getattr(expected, name), rtol=1e-9, atol=1e-9)


def test_one_diagonal_gaussian_has_the_moments_of_the_seen_cells():
    rows = with_gaps(overlapping_rows())
    mixture = GaussianMixture(covariance_type="diag", reg_covar=0.0, tol=1e-12).fit(rows)
    np.testing.assert_allclose(mixture.means_[0], np.nanmean(rows, axis=0), rtol=1e-10)
    np.testing.assert_allclose(mixture.covariances_[0], np.nanvar(rows, axis=0), rtol=1e-10)
    spherical = GaussianMixture(covariance_type="spherical", reg_covar=0.0, tol=1e-12).fit(rows)
    squares = np.nansum(np.square(rows - np.nanmean(rows, axis=0)))
    assert spherical.covariances_[0] == pytest.approx(squares / np.isfinite(rows).sum(), rel=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_density_of_a_row_with_gaps_is_that_of_its_seen_cells(family):
    rows = with_gaps(overlapping_rows(60), 0.4)
    rows[7] = np.nan
    mixture = GaussianMixture(K, covariance_type=family, random_state=0).fit(overlapping_rows())
    covariances = {
        "spherical": lambda k: mixture.covariances_[k] * np.eye(M),
        "diag": lambda k: np.diag(mixture.covariances_[k]),
        "tied": lambda k: mixture.covariances_,
        "full": lambda k: mixture.covariances_[k],
    }
    expected = np.zeros(60)
    for n, row in enumerate(rows):
        seen = np.isfinite(row)
        for k in range(K):
            covariance = covariances[family](k)[np.ix_(seen, seen)]
            density = multivariate_normal(mixture.means_[k][seen], covariance).pdf(row[seen]) if seen.any() else 1.0
            expected[n] += mixture.weights_[k] * density
    np.testing.assert_allclose(mixture.score_samples(rows), np.log(expected), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(mixture.predict_proba(rows)[7], mixture.weights_, rtol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_em_with_gaps_climbs_to_a_maximum_of_the_seen_cells_likelihood(family):
    rows = with_gaps(overlapping_rows(150))
    mixture = GaussianMixture(K, covariance_type=family, random_state=0, tol=1e-11, max_iter=5000, reg_covar=0.0)
    mixture.fit(rows)
    assert mixture.n_iter_ > 5
    assert np.diff(mixture.lower_bounds_).min() > -1e-12
    best = mixture.score(rows)
    for name, step in (("means_", 1e-3), ("covariances_", 1e-3)):
        fitted = getattr(mixture, name)
        for index in [(0,) * fitted.ndim, (-1,) * fitted.ndim]:
            scores = []
            for sign in (-1.0, 1.0):
                moved = fitted.copy()
                moved[index] += sign * step
                setattr(mixture, name, moved)
                if name == "covariances_":
                    cholesky = sklearn.mixture._gaussian_mixture._compute_precision_cholesky(moved, family)
                    mixture.precisions_cholesky_ = cholesky
                scores.append(mixture.score(rows))
            assert max(scores) < best, f"{name} {index} is not at a maximum"
            assert abs(scores[0] - scores[1]) < 0.1 * (best - min(scores)), f"the slope of {name} {index} is not 0"
            mixture._set(mixture._parameters(), np.dtype(np.float64))
            setattr(mixture, name, fitted)
            mixture.precisions_cholesky_ = sklearn.mixture._gaussian_mixture._compute_precision_cholesky(
                mixture.covariances_, family
            )


def test_noise_takes_the_scattered_rows():
    random = np.random.default_rng(0)
    rows = np.concatenate([overlapping_rows(600), random.uniform(-60.0, 60.0, (100, M))])
    mixture = GaussianMixture(K, noise=True, random_state=0, tol=1e-6, max_iter=500).fit(rows)
    labels = mixture.predict(rows)
    assert np.mean(labels[600:] == -1) > 0.95
    assert np.mean(labels[:600] == -1) < 0.02
    assert mixture.noise_weight_ == pytest.approx(100 / 700, abs=0.01)
    assert mixture.weights_.sum() + mixture.noise_weight_ == pytest.approx(1.0, abs=1e-12)
    proba = mixture.predict_proba(rows)
    assert proba.shape == (700, K + 1)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0)
    assert mixture._n_parameters() == sklearn.mixture.GaussianMixture(K).fit(rows[:600])._n_parameters() + 1
    volume = np.prod(rows.max(axis=0) - rows.min(axis=0))
    np.testing.assert_allclose(mixture.score_samples(rows)[-1], np.log(mixture.noise_weight_ / volume), rtol=1e-6)
    np.testing.assert_array_equal(np.diff(mixture.lower_bounds_) > -1e-10, True)


def test_noise_with_gaps_is_uniform_over_the_seen_cells():
    rows = with_gaps(overlapping_rows())
    mixture = GaussianMixture(K, noise=True, random_state=0).fit(rows)
    far = np.array([[1e3, np.nan, np.nan, 1e3]])
    low, high = mixture.noise_box_
    expected = np.log(mixture.noise_weight_ / np.prod((high - low)[[0, 3]]))
    np.testing.assert_allclose(mixture.score_samples(far), expected, rtol=1e-10)
    assert mixture.predict(far).tolist() == [-1]


def test_samples_have_the_components_and_the_noise_in_their_shares():
    rows = np.concatenate([overlapping_rows(600), np.random.default_rng(0).uniform(-60.0, 60.0, (200, M))])
    mixture = GaussianMixture(K, noise=True, random_state=0).fit(rows)
    samples, labels = mixture.sample(4000)
    assert samples.shape == (4000, M)
    shares = np.bincount(labels + 1, minlength=K + 1) / 4000
    np.testing.assert_allclose(shares, [mixture.noise_weight_, *mixture.weights_], atol=0.03)
    np.testing.assert_allclose(samples[labels == 1].mean(axis=0), mixture.means_[1], atol=0.3)
    assert (samples[labels == -1] >= mixture.noise_box_[0]).all()


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
def test_the_first_batch_is_one_step_of_em():
    rows = overlapping_rows()
    settings = {"random_state": 3, "covariance_type": "full"}
    batch = GaussianMixture(K, **settings).partial_fit(rows)
    assert_same_fit(batch, GaussianMixture(K, max_iter=1, **settings).fit(rows))
    assert batch.n_iter_ == 1


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("gaps", [False, True])
def test_batches_come_near_the_fit_of_all_rows(family, gaps):
    rows = np.random.default_rng(4).permutation(overlapping_rows(3000))
    rows = with_gaps(rows, 0.1) if gaps else rows
    settings = {"covariance_type": family, "means_init": 3.0 * np.eye(K, M), "tol": 1e-6, "max_iter": 500}
    settings |= {"random_state": 0}
    whole, streamed = GaussianMixture(K, **settings).fit(rows), GaussianMixture(K, **settings)
    for _ in range(5):
        for batch in np.split(rows, 20):
            streamed.partial_fit(batch)
    assert streamed.n_iter_ == 100
    assert streamed.score(rows) == pytest.approx(whole.score(rows), abs=0.01)
    np.testing.assert_allclose(np.sort(streamed.means_, axis=0), np.sort(whole.means_, axis=0), atol=0.25)


def test_fit_forgets_the_batches_before_it():
    rows = overlapping_rows()
    mixture = GaussianMixture(K, random_state=0).partial_fit(rows[:50]).fit(rows)
    assert_same_fit(mixture, GaussianMixture(K, random_state=0).fit(rows))
    mixture.partial_fit(rows[:90])
    assert mixture.n_iter_ == 1


@pytest.mark.parametrize("family", ["diag", "full"])
def test_results_do_not_depend_on_the_size_of_blocks(family, monkeypatch):
    rows = with_gaps(overlapping_rows())
    expected = GaussianMixture(K, covariance_type=family, random_state=0).fit(rows)
    proba = expected.predict_proba(rows)
    monkeypatch.setattr(em, "BLOCK_ELEMENTS", 50)
    monkeypatch.setattr(mixture_rows, "BLOCK_ROWS", 7)
    fitted = GaussianMixture(K, covariance_type=family, random_state=0).fit(rows)
    assert_same_fit(fitted, expected)
    np.testing.assert_allclose(fitted.predict_proba(rows), proba, atol=1e-7)


def test_many_rows_start_from_a_sample(monkeypatch):
    monkeypatch.setattr(mixture_start, "MOST_STARTING_ROWS", 60)
    rows = overlapping_rows(600)
    for init_params in ("kmeans", "k-means++"):
        start = GaussianMixture(K, init_params=init_params, random_state=0, max_iter=0).fit(rows)
        assert len(np.unique(start.means_, axis=0)) == K
        assert start.weights_.sum() <= 60 / 600 + 1e-9


def test_read_only_rows_and_tensors_can_be_fitted():
    rows = overlapping_rows()
    expected = GaussianMixture(K, random_state=0).fit(rows)
    rows.flags.writeable = False
    assert_same_fit(GaussianMixture(K, random_state=0).fit(rows), expected)
    assert_same_fit(GaussianMixture(K, random_state=0).fit(torch.tensor(overlapping_rows())), expected)
    assert_same_fit(GaussianMixture(K, random_state=0).fit(np.asfortranarray(rows)), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("fraction", [0.0, 0.1])
def test_a_gpu_gives_the_fit_of_the_cpu(family, fraction):
    rows = with_gaps(overlapping_rows(900), fraction)
    settings = {"covariance_type": family, "random_state": 0, "noise": True, "tol": 1e-8, "max_iter": 500}
    on_cpu, on_gpu = GaussianMixture(K, **settings).fit(rows), GaussianMixture(K, device="cuda", **settings).fit(rows)
    assert_same_fit(on_gpu, on_cpu, rtol=1e-6)
    np.testing.assert_allclose(on_gpu.predict_proba(rows), on_cpu.predict_proba(rows), atol=1e-6)
    np.testing.assert_array_equal(on_gpu.predict(rows), on_cpu.predict(rows))


def test_what_cannot_be_fitted_is_named():
    rows = overlapping_rows()
    with pytest.raises(ValueError, match="column 2 has no value in any row; leave it out"):
        GaussianMixture(K).fit(np.where(np.arange(M) == 2, np.nan, rows))
    with pytest.raises(ValueError, match=r"no positive weight|at least one non-zero"):
        GaussianMixture(K).fit(rows, sample_weight=np.zeros(240))
    with pytest.raises(ValueError, match="device 'abacus' can't be used here; try device='cpu'"):
        GaussianMixture(K, device="abacus").fit(rows)
    with pytest.raises(ValueError, match="infinity"):
        GaussianMixture(K).fit(np.where(np.arange(M) == 2, np.inf, rows))
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        GaussianMixture(K, max_iter=1, random_state=0).fit(rows)


def test_patterns_of_gaps_cover_all_rows():
    rows = torch.from_numpy(with_gaps(overlapping_rows(50), 0.4))
    numbers = []
    for seen_M, row_R in em_gaps._patterns(rows):
        assert (rows[row_R].isnan() == ~seen_M).all()
        numbers += row_R.tolist()
    assert sorted(numbers) == list(range(50))
