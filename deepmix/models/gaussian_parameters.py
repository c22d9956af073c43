"""The parameters of a Gaussian mixture: the M-step that estimates them, and the forms that others read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepmix.maths import MixtureStatistics

ILL_DEFINED = (
    "Fitting the mixture model failed because some components have ill-defined empirical covariance (for instance "
    "caused by singleton or collapsed samples). Try to decrease the number of components, increase reg_covar, or "
    "scale the input data."
)
"""scikit-learn's message."""


@dataclass(frozen=True)
class GaussianParameters:
    """Weights, means and covariances, in float64 on the CPU."""

    family: str
    """'spherical', 'diag', 'tied' or 'full'."""
    weight_K: Tensor
    """With a noise component, the weights sum to less than 1: it has the rest."""
    mean_KM: Tensor
    covariance: Tensor
    """In scikit-learn's shapes: (K) for 'spherical', (K, M) for 'diag', (M, M) for 'tied', (K, M, M) for 'full'."""

    @property
    def is_full(self) -> bool:
        """Whether the covariances are matrices."""
        return self.family in ("full", "tied")

    @property
    def noise_weight(self) -> float:
        """What the components' weights leave, at least 0."""
        return max(0.0, 1.0 - float(self.weight_K.sum()))

    @cached_property
    def spread(self) -> Tensor:
        """What `deepmix.kernels.ops.mixture_statistics` reads: log-variances (K, M), or A (K, M, M).

        A is lower triangular with A A^T the precision. The Cholesky factor of the covariance with its rows and columns
        in reverse order gives it: if F is the reversal and F S F = L L^T, then S^-1 = (F L^-T F)(F L^-T F)^T.

        Raises:
            ValueError: a covariance is not positive definite.

        """
        if not self.is_full:
            return self._log_variance_KM
        reversed_inverse = _inverse_factor(self.covariance.flip(-2, -1))
        return reversed_inverse.mT.flip(-2, -1).expand(len(self.mean_KM), -1, -1)

    @property
    def covariances(self) -> Tensor:
        """What `deepmix.maths.em_gaps` reads: log-variances (K, M), or covariances (K, M, M)."""
        if not self.is_full:
            return self._log_variance_KM
        return self.covariance.expand(len(self.mean_KM), -1, -1)

    @property
    def precision_cholesky(self) -> Tensor:
        """scikit-learn's factor: the square roots of the precisions, or upper triangular U with U U^T the precision."""
        return _inverse_factor(self.covariance).mT if self.is_full else self.covariance.rsqrt()

    @property
    def _log_variance_KM(self) -> Tensor:
        if not bool((self.covariance > 0).all()):
            raise ValueError(ILL_DEFINED)
        return self.covariance.log().reshape(len(self.mean_KM), -1).expand_as(self.mean_KM)

    def maximised(
        self, statistics: MixtureStatistics, reg_covar: float, floor: float, n_rows: float | None = None
    ) -> GaussianParameters:
        """Return the M-step's parameters from the statistics of an E-step about these means.

        Args:
            statistics: the sums of an E-step.
            reg_covar: added to all variances.
            floor: added to the responsibilities of each component, so that none is 0.
            n_rows: sum of the rows' weights, of which a noise component has what the others leave; None: the
                components have it all.

        """
        count_K = statistics.responsibility_K + floor
        cell_KM = statistics.cell_responsibility_KM
        moved_KM = (statistics.first_KM + cell_KM * self.mean_KM) / (cell_KM + floor)
        mean_KM = torch.where(cell_KM > 0, moved_KM, self.mean_KM)
        second = statistics.about(mean_KM - self.mean_KM).second
        if self.family == "full":
            covariance = second / count_K.view(-1, 1, 1)
        elif self.family == "tied":
            covariance = second.sum(0) / count_K.sum()
        elif self.family == "diag":
            covariance = second / (cell_KM + floor)
        else:
            covariance = second.sum(1) / (cell_KM + floor).sum(1)
        if self.is_full:
            covariance.diagonal(dim1=-2, dim2=-1).add_(reg_covar)
        else:
            covariance = covariance + reg_covar
        weight_K = count_K / (float(count_K.sum()) if n_rows is None else n_rows)
        result = GaussianParameters(self.family, weight_K, mean_KM, covariance)
        _ = result.spread  # a covariance that is not positive definite is an error now
        return result

    def reweighted(self, factor: float) -> GaussianParameters:
        """Return these parameters with all weights times a factor."""
        return replace(self, weight_K=factor * self.weight_K)

    def replaced(self, weights: Any, means: Any, precisions: Any) -> GaussianParameters:
        """Return these parameters with the values that a user chose for the start, each None if there is none."""
        result = self
        if weights is not None:
            result = replace(result, weight_K=torch.from_numpy(np.asarray(weights, np.float64)))
        if means is not None:
            result = replace(result, mean_KM=torch.from_numpy(np.asarray(means, np.float64)))
        if precisions is not None:
            precision = torch.from_numpy(np.asarray(precisions, np.float64))
            covariance = torch.linalg.inv(precision) if self.is_full else precision.reciprocal()
            result = replace(result, covariance=covariance)
        return result


def _inverse_factor(covariance: Tensor) -> Tensor:
    """Return L^-1 for the Cholesky factors L of covariances, (..., M, M)."""
    cholesky, failures = torch.linalg.cholesky_ex(covariance)
    if bool(failures.any()):
        raise ValueError(ILL_DEFINED)
    eye = torch.eye(covariance.shape[-1], dtype=covariance.dtype).expand_as(covariance)
    return torch.linalg.solve_triangular(cholesky, eye, upper=False)
