"""scikit-learn's Gaussian mixture on the kernels, also for weighted, incomplete, noisy and streamed rows."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import sklearn.mixture
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from torch import Tensor

from deepmix.maths import Array, MixtureStatistics
from deepmix.models.gaussian_parameters import GaussianParameters
from deepmix.models.mixture_rows import MixtureRows, NoiseBox
from deepmix.models.mixture_start import starting_responsibilities

STARTING_NOISE = 0.05
"""Weight of the noise component at the start."""


STEP_POWER = 0.7
"""`partial_fit` moves its sums by (t + 1)^-STEP_POWER towards those of batch t; in (1/2, 1], where EM converges (Cappe
and Moulines, 2009), and in the middle, where Liang and Klein (2009) find it fastest."""


@dataclass
class _Climb:
    """One run of EM."""

    parameters: GaussianParameters
    bounds: list[float] = field(default_factory=list)
    """The mean log-likelihood before each M-step."""
    converged: bool = False

    @property
    def bound(self) -> float:
        return self.bounds[-1] if self.bounds else -np.inf


class GaussianMixture(sklearn.mixture.GaussianMixture):  # type: ignore[misc]  # scikit-learn is untyped
    """scikit-learn's `GaussianMixture`, computed by deepmix's kernels in one pass over the rows per iteration.

    The parameters that scikit-learn has too mean what they mean there, and from the same start the results are the
    same up to rounding. Rows in float32 are computed in float32, with sums in float64. No array has
    `len(X) * n_components` elements, except what `predict_proba` returns.

    Cells may be missing (NaN). EM then maximises the likelihood of the seen cells: with 'diag' and 'spherical'
    covariances the missing ones just leave the sums; with 'full' and 'tied' ones they enter by their conditional
    moments given the seen cells.

    Args:
        n_components: K, the number of Gaussians.
        covariance_type: 'full', 'tied', 'diag' or 'spherical'.
        tol: EM stops when the mean log-likelihood changes by less than this.
        reg_covar: added to all variances.
        max_iter: most iterations of EM per start.
        n_init: number of starts, of which the most likely fit remains.
        init_params: 'kmeans', 'k-means++', 'random' or 'random_from_data'.
        weights_init: (K,) weights at the start.
        means_init: (K, M) means at the start.
        precisions_init: precisions at the start, in the shape of `precisions_`.
        random_state: an int, a RandomState or None.
        warm_start: whether `fit` goes on from the last fit.
        verbose: 0, 1 or 2, as in scikit-learn.
        verbose_interval: number of iterations between two messages.
        noise: whether there is one more component, uniform over the smallest box that holds the rows; rows that belong
            to it are labelled -1. `weights_` then sums to 1 - `noise_weight_`.
        device: the torch device that the rows are moved to, such as 'cpu' or 'cuda'.

    Attributes:
        weights_: (K,)
        means_: (K, M)
        covariances_: (K,), (K, M), (M, M) or (K, M, M) for 'spherical', 'diag', 'tied' and 'full'.
        precisions_: the inverses of the covariances.
        precisions_cholesky_: scikit-learn's factors of the precisions.
        converged_: whether the best start converged.
        n_iter_: its number of iterations; after `partial_fit`, the number of batches.
        lower_bound_: mean log-likelihood of the rows at the last E-step of the fit, in nats.
        lower_bounds_: the same at every E-step.
        noise_weight_: weight of the noise component, if there is one.
        noise_box_: (2, M) the corners of its box.
        n_features_in_: M.
        feature_names_in_: (M,) the columns' names, if they have any.

    """

    _parameter_constraints: dict[str, Any] = {  # noqa: RUF012  # scikit-learn reads it from the class
        **sklearn.mixture.GaussianMixture._parameter_constraints,
        "noise": ["boolean"],
        "device": [str, torch.device],
    }

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        noise: bool = False,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__(
            n_components=n_components,
            covariance_type=covariance_type,
            tol=tol,
            reg_covar=reg_covar,
            max_iter=max_iter,
            n_init=n_init,
            init_params=init_params,
            weights_init=weights_init,
            means_init=means_init,
            precisions_init=precisions_init,
            random_state=random_state,
            warm_start=warm_start,
            verbose=verbose,
            verbose_interval=verbose_interval,
        )
        self.noise, self.device = noise, device

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Run EM on rows.

        Args:
            X: (N, M) numbers; a missing cell is NaN.
            y: ignored.
            sample_weight: (N,) weights; a row of weight 2 counts as two rows.

        Raises:
            ValueError: a parameter or the rows can't be used, or a covariance isn't positive definite.

        """
        self._fit_rows(X, sample_weight)
        return self

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> Array:
        """Run EM on rows and return the component of each row, (N,) int64; -1 is the noise."""
        return self._labels(self._fit_rows(X, sample_weight))

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Do one step of stepwise EM with a batch of rows; the first batch also decides the start."""
        self._validate_params()
        is_first = not hasattr(self, "_sums")
        rows = self._rows(X, sample_weight, reset=is_first, min_rows=self.n_components if is_first else 1)
        if is_first:
            self._check_starts(rows)
            self.n_iter_, self.lower_bounds_, self.converged_ = 0, [], False
            self._box = NoiseBox.around(rows.x_NM) if self.noise else None
            parameters = self._start(rows, check_random_state(self.random_state))
        else:
            parameters = self._parameters()
        n_rows = _total(rows)
        batch = rows.statistics(parameters, self._box).scaled(1.0 / n_rows)
        step = 1.0 if is_first else (self.n_iter_ + 1.0) ** -STEP_POWER
        sums = batch if is_first else self._sums.scaled(1.0 - step).plus(batch.scaled(step))
        moved = parameters.maximised(sums, self.reg_covar, _floor(rows) / n_rows, 1.0 if self.noise else None)
        self._sums: MixtureStatistics = sums.about(moved.mean_KM - parameters.mean_KM)
        self.n_iter_ += 1
        self.lower_bound_ = float(batch.log_likelihood)
        self.lower_bounds_.append(self.lower_bound_)
        self._set(moved, np.dtype(np.float64))
        return self

    def predict(self, X: Any) -> Array:
        """Return the most probable component of each row, (N,) int64; -1 is the noise."""
        return self._labels(self._new_rows(X))

    def predict_proba(self, X: Any) -> Array:
        """Return the components' probabilities, (N, K); with a noise component (N, K + 1), where it is the last."""
        return self._by_block(self._new_rows(X), lambda log_joint_RK: log_joint_RK.softmax(1))

    def score_samples(self, X: Any) -> Array:
        """Return the log-likelihood of each row's seen cells, (N,), in nats."""
        return self._by_block(self._new_rows(X), lambda log_joint_RK: log_joint_RK.logsumexp(1))

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the mean log-likelihood of the rows."""
        log_prob_N = self.score_samples(X)
        if sample_weight is None:
            return float(np.mean(log_prob_N))
        return float(np.average(log_prob_N, weights=_check_sample_weight(sample_weight, log_prob_N)))

    def sample(self, n_samples: int = 1) -> tuple[Array, Array]:
        """Return random rows, (n_samples, M), and their components, (n_samples,), sorted; -1, the noise, is first."""
        check_is_fitted(self)
        if not self.noise or n_samples < 1:
            return super().sample(n_samples)
        random = check_random_state(self.random_state)
        n_noise = random.binomial(n_samples, self.noise_weight_)
        rows, labels = random.uniform(*self.noise_box_, (n_noise, self.n_features_in_)), np.full(n_noise, -1)
        if n_noise == n_samples:
            return rows, labels
        components = copy.copy(self)
        components.weights_ = self.weights_ / self.weights_.sum()
        components.noise, components.random_state = False, random
        others, their_labels = components.sample(n_samples - n_noise)
        return np.concatenate([rows, others]), np.concatenate([labels, their_labels])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.array_api_support = False
        return tags

    def _fit_rows(self, X: Any, sample_weight: Any) -> MixtureRows:
        self._validate_params()
        rows = self._rows(X, sample_weight, reset=True, min_rows=2)
        if len(rows) < self.n_components:
            raise ValueError(
                "Expected n_samples >= n_components "
                f"but got n_components = {self.n_components}, n_samples = {len(rows)}"
            )
        self._check_starts(rows)
        goes_on = self.warm_start and hasattr(self, "converged_")
        if not goes_on:
            self._box = NoiseBox.around(rows.x_NM) if self.noise else None
        best = self._climb(rows, self._parameters(), self.lower_bound_) if goes_on else self._best_climb(rows)
        self.__dict__.pop("_sums", None)  # the next partial_fit starts from scratch
        self.converged_, self.n_iter_ = best.converged, len(best.bounds)
        self.lower_bound_, self.lower_bounds_ = best.bound, best.bounds
        self._set(best.parameters, rows.x_NM.dtype)
        if not best.converged and self.max_iter > 0:
            warnings.warn(
                "Best performing initialization did not converge. Try different init parameters, or increase "
                "max_iter, tol, or check for degenerate data.",
                ConvergenceWarning,
                stacklevel=3,
            )
        return rows

    def _best_climb(self, rows: MixtureRows) -> _Climb:
        random = check_random_state(self.random_state)
        best: _Climb | None = None
        for number in range(self.n_init):
            self._print_verbose_msg_init_beg(number)
            climb = self._climb(rows, self._start(rows, random), -np.inf)
            if best is None or climb.bound > best.bound or best.bound == -np.inf:
                best = climb
        assert best is not None
        return best

    def _climb(self, rows: MixtureRows, parameters: GaussianParameters, bound: float) -> _Climb:
        """Run EM from parameters; `bound` is the mean log-likelihood that the first one is compared with."""
        climb = _Climb(parameters)
        n_rows = _total(rows)
        for number in range(1, self.max_iter + 1):
            statistics = rows.statistics(climb.parameters, self._box)
            climb.parameters = climb.parameters.maximised(
                statistics, self.reg_covar, _floor(rows), n_rows if self.noise else None
            )
            climb.bounds.append(float(statistics.log_likelihood) / n_rows)
            change, bound = climb.bound - bound, climb.bound
            self._print_verbose_msg_iter_end(number, change)
            if abs(change) < self.tol:
                climb.converged = True
                break
        if self.max_iter > 0:
            self._print_verbose_msg_init_end(climb.bound, climb.converged)
        return climb

    def _check_starts(self, rows: MixtureRows) -> None:
        """Check the values that the user chose for the start, as scikit-learn does, whose versions differ a little."""
        has_namespace = "xp" in inspect.signature(super()._check_parameters).parameters
        super()._check_parameters(rows.x_NM, **({"xp": np} if has_namespace else {}))

    def _start(self, rows: MixtureRows, random: np.random.RandomState) -> GaussianParameters:
        """Return the parameters of a start: scikit-learn's, from the same random numbers."""
        initial = (self.weights_init, self.means_init, self.precisions_init)
        if all(value is not None for value in initial):
            zero_KM = torch.zeros(self.n_components, rows.x_NM.shape[1], dtype=torch.float64)
            empty = GaussianParameters(self.covariance_type, zero_KM[:, 0], zero_KM, zero_KM)
            start = empty.replaced(*initial)
        else:
            responsibilities = starting_responsibilities(
                rows, self.n_components, self.init_params, random, has_noise=self.noise
            )
            full = self.covariance_type in ("full", "tied")
            moments = rows.moments(responsibilities, self.n_components, full=full)
            mean_KM = torch.from_numpy(rows.column_mean_M).expand(self.n_components, -1)
            empty = GaussianParameters(self.covariance_type, mean_KM[:, 0], mean_KM, mean_KM)
            start = empty.maximised(moments, self.reg_covar, _floor(rows), _total(rows)).replaced(*initial)
        if self.noise:
            start = start.reweighted(1.0 - STARTING_NOISE)
        return start

    def _rows(self, X: Any, sample_weight: Any, *, reset: bool, min_rows: int = 1) -> MixtureRows:
        """Check rows and their weights."""
        x_NM = validate_data(
            self,
            X.numpy(force=True) if isinstance(X, Tensor) else X,
            reset=reset,
            dtype=[np.float64, np.float32],
            ensure_all_finite="allow-nan",
            ensure_min_samples=min_rows,
        )
        try:
            device = torch.device(self.device)
            torch.empty(0, dtype=torch.float64, device=device)
        except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
            raise ValueError(f"device '{self.device}' can't be used here; try device='cpu'") from error
        weight_N = None
        if sample_weight is not None:
            weight_N = _check_sample_weight(sample_weight, x_NM, dtype=x_NM.dtype, ensure_non_negative=True)
            if not weight_N.any():
                raise ValueError("sample_weight has no positive weight; at least one row needs one")
            weight_N = weight_N / weight_N.mean()
        rows = MixtureRows(x_NM, weight_N, device)
        if reset and rows.has_gaps and (empty_J := np.flatnonzero(np.isnan(x_NM).all(axis=0))).size:
            raise ValueError(f"column {empty_J[0]} has no value in any row; leave it out")
        return rows

    def _new_rows(self, X: Any) -> MixtureRows:
        check_is_fitted(self)
        return self._rows(X, None, reset=False)

    def _by_block(self, rows: MixtureRows, reduce: Callable[[Tensor], Tensor]) -> Array:
        box = NoiseBox(*self.noise_box_) if self.noise else None
        blocks = [reduce(block).numpy() for block in rows.log_joint_blocks(self._parameters(), box)]
        return np.concatenate(blocks)

    def _labels(self, rows: MixtureRows) -> Array:
        label_N = self._by_block(rows, lambda log_joint_RK: log_joint_RK.argmax(1))
        return np.where(label_N == self.n_components, -1, label_N) if self.noise else label_N

    def _parameters(self) -> GaussianParameters:
        """Return the fitted parameters."""
        names = ("weights_", "means_", "covariances_")
        values = (torch.from_numpy(np.array(getattr(self, name), np.float64)) for name in names)
        return GaussianParameters(self.covariance_type, *values)

    def _set(self, parameters: GaussianParameters, dtype: np.dtype[Any]) -> None:
        """Set the fitted attributes, in the rows' dtype."""
        values = (parameters.weight_K, parameters.mean_KM, parameters.covariance, parameters.precision_cholesky)
        self._set_parameters(tuple(value.numpy().astype(dtype) for value in values))
        if self._box is not None:
            self.noise_weight_ = parameters.noise_weight
            self.noise_box_ = np.stack([self._box.low_M, self._box.high_M])

    def _n_parameters(self) -> int:
        return int(super()._n_parameters()) + int(self.noise)


def _floor(rows: MixtureRows) -> float:
    """Return what scikit-learn adds to the components' responsibilities, so that none is 0."""
    return 10.0 * float(np.finfo(rows.x_NM.dtype).eps)


def _total(rows: MixtureRows) -> float:
    return float(len(rows)) if rows.weight_N is None else float(rows.weight_N.sum(dtype=np.float64))
