"""Gaussian mixtures by EM on rows that may have weights, from a random start or from clusters.

With weights w_n, EM maximises sum_n w_n log p(x_n), the likelihood of a table in which row n stands w_n times. So the
M-step multiplies each row's responsibilities by its weight, and the mean log-likelihood is a weighted mean; the E-step
does not change.
"""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture

from deepmix.maths import Array
from deepmix.models import GaussianMixture as KernelMixture

MAX_ITERATIONS = 1000
"""Limit on EM iterations; scikit-learn's 100 are often too few for full covariances."""


RELATIVE_REGULARIZATION = 1e-3
"""Added to a GMM's covariances, relative to the latents' mean variance, so that none is singular."""


FITTED = (
    *("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"),
    *("converged_", "n_iter_", "lower_bound_", "n_features_in_"),
)
"""The attributes that a fit sets."""


class WeightedGaussianMixture(GaussianMixture):  # type: ignore[misc]  # scikit-learn is untyped
    """scikit-learn's Gaussian mixture for rows that may have weights, fitted by deepmix's kernels.

    It predicts by scikit-learn's code, as a mixture does whose parameters come from a saved run.
    """

    _weight_N: Array | None = None
    """The weights of the rows that are being fitted, scaled to a mean of 1; they are kept during a fit only."""
    _log_prior_NK: Array | None = None
    """The logarithm of each row's own weights of the Gaussians; None: all rows share the mixture's weights."""

    def fit_rows(self, rows_NM: Array, weight_N: Array | None) -> Self:
        """Fit the mixture to rows, (N, M), with their weights, (N,), and return it."""
        self.fit_labels(rows_NM, weight_N)
        return self

    def fit_labels(self, rows_NM: Array, weight_N: Array | None) -> Array:
        """Fit the mixture to rows, (N, M), with their weights, (N,), and return each row's most probable Gaussian."""
        self._weight_N = None if weight_N is None else weight_N / weight_N.mean()
        try:
            return np.asarray(self.fit_predict(rows_NM))
        finally:
            self._weight_N = None

    def fit_under(self, log_prior_NK: Array, rows_NM: Array, weight_N: Array | None) -> Self:
        """Fit the Gaussians to rows whose weights of the Gaussians are fixed, row by row, and return the mixture."""
        self._log_prior_NK = log_prior_NK
        try:
            return self.fit_rows(rows_NM, weight_N)
        finally:
            self._log_prior_NK = None

    def fit_predict(self, X: Array, y: None = None) -> Array:
        """Fit the mixture by `deepmix.models.GaussianMixture`, except where each row has its own weights."""
        if self._log_prior_NK is not None:
            return np.asarray(super().fit_predict(X, y))
        fitted = KernelMixture(**self.get_params()).fit(X, sample_weight=self._weight_N)
        for name in FITTED:
            setattr(self, name, getattr(fitted, name))
        return np.asarray(self.predict(X))

    # The methods below serve rows with their own weights. They replace scikit-learn's; their further arguments differ
    # from version to version.

    def _initialize_parameters(self, X: Array, random_state: Any, **further: Any) -> None:
        """Start from k-means, which sees the weights too."""
        if self._weight_N is None or self.means_init is not None:
            super()._initialize_parameters(X, random_state, **further)
            return
        kmeans = KMeans(self.n_components, n_init=1, random_state=random_state).fit(X, sample_weight=self._weight_N)
        self._initialize(X, self._weight_N[:, None] * np.eye(self.n_components)[kmeans.labels_])

    def _e_step(self, X: Array, **further: Any) -> tuple[Any, Array]:
        """Return the weighted mean log-likelihood and the log responsibilities."""
        if self._weight_N is None:
            return super()._e_step(X, **further)
        log_prob_N, log_resp_NK = self._estimate_log_prob_resp(X, **further)
        return np.average(log_prob_N, weights=self._weight_N), log_resp_NK

    def _estimate_log_weights(self, **further: Any) -> Array:
        """Return the log weights of the Gaussians, (K,), or (N, K) where each row has its own."""
        return (
            np.asarray(super()._estimate_log_weights(**further)) if self._log_prior_NK is None else self._log_prior_NK
        )

    def _m_step(self, X: Array, log_resp: Array, **further: Any) -> None:
        """Estimate the parameters from the responsibilities times the weights."""
        if self._weight_N is not None:
            log_resp = log_resp + np.log(self._weight_N)[:, None]
        super()._m_step(X, log_resp, **further)


def regularization(z_NM: Array, weight_N: Array | None) -> float:
    """Return what is added to the covariances of a mixture on these rows."""
    return RELATIVE_REGULARIZATION * float(_variance(z_NM, weight_N).mean()) + float(np.finfo(np.float64).eps)


def fit_mixture(
    z_NM: Array,
    labels_N: Array,
    n_clusters: int,
    covariance: Literal["full", "tied", "diag"],
    weight_N: Array | None = None,
    log_prior_NK: Array | None = None,
) -> GaussianMixture:
    """Run EM from the moments of a clustering (report, section 2.3); an empty cluster starts as wide as the data.

    With `log_prior_NK`, each row has its own, fixed weights of the Gaussians.
    """
    added = regularization(z_NM, weight_N)
    means, covariances, counts = [], [], []
    for k in range(n_clusters):
        in_cluster_N = labels_N == k
        own = None if weight_N is None else weight_N[in_cluster_N]
        count = float(np.count_nonzero(in_cluster_N) if own is None else own.sum())
        rows, weights = z_NM[in_cluster_N], own
        if len(rows) < 2 and count <= 1.0:
            rows, weights = z_NM, weight_N
        if covariance == "diag":
            covariances.append(_variance(rows, weights) + added)
        else:
            own_DD = np.atleast_2d(np.cov(rows.T, bias=True, aweights=weights))
            covariances.append(own_DD + added * np.eye(z_NM.shape[1]))
        means.append(np.average(rows, axis=0, weights=weights))
        counts.append(count + 1.0)
    if covariance == "tied":
        precisions = np.linalg.inv(np.average(covariances, axis=0, weights=counts))
    else:
        precisions = 1.0 / np.stack(covariances) if covariance == "diag" else np.linalg.inv(np.stack(covariances))
    mixture = WeightedGaussianMixture(
        n_clusters,
        covariance_type=covariance,
        max_iter=MAX_ITERATIONS,
        reg_covar=added,
        means_init=np.stack(means),
        precisions_init=precisions,
        weights_init=np.array(counts) / sum(counts),
        random_state=0,  # scikit-learn draws a start even when all of it is passed in
    )
    if log_prior_NK is not None:
        return mixture.fit_under(log_prior_NK, z_NM, weight_N)
    return mixture.fit_rows(z_NM, weight_N)


def _variance(rows_NM: Array, weight_N: Array | None) -> Array:
    """Return the variance of each column, (M,)."""
    if weight_N is None:
        return np.asarray(rows_NM.var(axis=0))
    squares_NM = np.square(rows_NM - np.average(rows_NM, axis=0, weights=weight_N))
    return np.asarray(np.average(squares_NM, axis=0, weights=weight_N))
