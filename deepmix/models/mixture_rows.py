"""The rows that a Gaussian mixture is fitted to: its E-step over them, and the moments of its starts."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from deepmix.kernels import ops
from deepmix.maths import Array, Gaussian, MixtureParameters, MixtureStatistics, em, em_gaps
from deepmix.models.gaussian_parameters import GaussianParameters

BLOCK_ROWS = 1 << 14
"""Rows whose responsibilities exist at a time, where a result has one row per row."""


@dataclass(frozen=True)
class NoiseBox:
    """The box over which the noise component is uniform: the range of the rows, (M,) each."""

    low_M: Array
    high_M: Array

    @classmethod
    def around(cls, x_NM: Array) -> NoiseBox:
        """Return the smallest box that holds the rows; a column whose values are all equal has width 1."""
        low_M, high_M = (np.asarray(f(x_NM, axis=0), np.float64) for f in (np.nanmin, np.nanmax))
        return cls(low_M, np.where(high_M > low_M, high_M, low_M + 1.0))

    def noise(self, weight: float) -> em_gaps.Noise:
        """Return the component with this weight; 0 switches it off."""
        log_range_M = np.log(self.high_M - self.low_M)
        log_joint = float(np.log(weight) - log_range_M.sum()) if weight > 0 else -np.inf
        return em_gaps.Noise(log_joint, torch.from_numpy(log_range_M))


@dataclass(frozen=True)
class MixtureRows:
    """Rows on a device. Cells may be missing (NaN)."""

    x_NM: Array
    weight_N: Array | None
    """The rows' weights, whose mean is 1; None: 1 each."""
    device: torch.device

    def __len__(self) -> int:
        return len(self.x_NM)

    @cached_property
    def has_gaps(self) -> bool:
        """Whether a cell is missing."""
        return bool(np.isnan(np.sum(self.x_NM, dtype=np.float64)))

    @cached_property
    def _z_NM(self) -> Tensor:
        return _tensor(self.x_NM).to(self.device)

    @cached_property
    def _row_weight_N(self) -> Tensor | None:
        return None if self.weight_N is None else _tensor(self.weight_N).to(self.device)

    def _on_device(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor.to(self.device) for tensor in tensors)

    def statistics(self, parameters: GaussianParameters, box: NoiseBox | None) -> MixtureStatistics:
        """Return the E-step's sums, in float64 on the CPU; the moments are about the parameters' means."""
        noise = _noise(parameters, box)
        mean_KM, log_weight_K = parameters.mean_KM, parameters.weight_K.log()
        if self.has_gaps:
            mean_KM, spread, log_weight_K, log_range_M = self._on_device(
                mean_KM, parameters.covariances, log_weight_K, noise.log_range_M
            )
            noise = replace(noise, log_range_M=log_range_M)
            statistics = em_gaps.gap_statistics(self._z_NM, mean_KM, spread, log_weight_K, self._row_weight_N, noise)
            return statistics.map(Tensor.cpu)
        dtype = self._z_NM.dtype
        rounded_KM = mean_KM.to(dtype)
        center_KM, spread, log_weight_K = self._on_device(
            rounded_KM, parameters.spread.to(dtype), log_weight_K.to(dtype)
        )
        statistics = ops.mixture_statistics(
            self._z_NM, center_KM, spread, log_weight_K, self._row_weight_N, noise.log_joint
        )
        return statistics.map(Tensor.cpu).about(mean_KM - rounded_KM)

    def log_joint_blocks(self, parameters: GaussianParameters, box: NoiseBox | None) -> Iterator[Tensor]:
        """Yield log [w_k p(z_n | k)] of blocks of rows, (R, K), or (R, K + 1) where the last column is the noise."""
        noise = _noise(parameters, box)
        log_weight_K = parameters.weight_K.log()
        for start in range(0, len(self), BLOCK_ROWS):
            z_RM = self._z_NM[start : start + BLOCK_ROWS]
            if self.has_gaps:
                mean_KM, spread, weight_K = self._on_device(parameters.mean_KM, parameters.covariances, log_weight_K)
                log_joint_RK = em_gaps.gap_log_joint(z_RM, mean_KM, spread, weight_K)
            else:
                mean_KM, spread, weight_K = (
                    tensor.to(self.device, z_RM.dtype)
                    for tensor in (parameters.mean_KM, parameters.spread, log_weight_K)
                )
                if parameters.is_full:
                    log_prob_RK, _ = ops.component_log_prob_full(z_RM, mean_KM, spread, weight_K)
                else:
                    mixture = MixtureParameters(Gaussian(mean_KM, spread), weight_K)
                    log_prob_RK, _ = ops.component_log_prob(z_RM, mixture)
                log_joint_RK = log_prob_RK + weight_K
            log_joint_RK = log_joint_RK.cpu()
            if box is not None:
                log_noise_R = noise.log_joint_of(~z_RM.isnan().cpu()).unsqueeze(1)
                log_joint_RK = torch.cat([log_joint_RK, log_noise_R.to(log_joint_RK.dtype)], 1)
            yield log_joint_RK

    def moments(
        self, responsibilities: Callable[[slice], Array], n_components: int, *, full: bool
    ) -> MixtureStatistics:
        """Return the moments of rows about `column_mean_M`, from their responsibilities, (R, K) for each slice.

        The columns' means fill the gaps.
        """
        total: MixtureStatistics | None = None
        for rows in em.row_blocks(_tensor(self.x_NM), n_components * (self.x_NM.shape[1] if full else 1)):
            x_RM = torch.from_numpy(self.filled(rows).astype(np.float64))
            r_RK = torch.from_numpy(responsibilities(rows).astype(np.float64))
            if self.weight_N is not None:
                r_RK = r_RK * torch.from_numpy(self.weight_N[rows].astype(np.float64)).unsqueeze(1)
            d_RM = x_RM - torch.from_numpy(self.column_mean_M)
            second = (r_RK.T.unsqueeze(2) * d_RM).mT @ d_RM if full else r_RK.T @ d_RM.square()
            part = MixtureStatistics(torch.zeros((), dtype=torch.float64), r_RK.sum(0), r_RK.T @ d_RM, second)
            total = part if total is None else total.plus(part)
        assert total is not None, "there must be at least one row"
        return total

    @cached_property
    def column_mean_M(self) -> Array:
        """The weighted mean of each column's seen cells, (M,) float64."""
        if self.has_gaps:
            weight_N = np.ones(len(self)) if self.weight_N is None else self.weight_N
            seen_NM = ~np.isnan(self.x_NM)
            return np.asarray(weight_N @ np.nan_to_num(self.x_NM) / (weight_N @ seen_NM))
        if self.weight_N is None:
            return np.asarray(self.x_NM.mean(axis=0, dtype=np.float64))
        return np.asarray(self.weight_N @ self.x_NM, np.float64) / float(self.weight_N.sum())

    def filled(self, rows: slice | Array) -> Array:
        """Return some of the rows, with the columns' means in the missing cells."""
        x_RM = self.x_NM[rows]
        return np.where(np.isnan(x_RM), self.column_mean_M.astype(x_RM.dtype), x_RM) if self.has_gaps else x_RM


def _noise(parameters: GaussianParameters, box: NoiseBox | None) -> em_gaps.Noise:
    if box is None:
        return em_gaps.Noise(-np.inf, torch.zeros(parameters.mean_KM.shape[1], dtype=torch.float64))
    return box.noise(parameters.noise_weight)


def _tensor(array: Array) -> Tensor:
    """Return a tensor that shares the array's memory and is only read, so that the array may be a read-only map."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(np.ascontiguousarray(array))
