"""Modes of Gaussian mixtures: how many Gaussians the rows need, and how many separate peaks these make together.

Several Gaussians may share a peak, as in a group that is not Gaussian; Gaussians whose densities together have no
valley between them count as one group (Hennig 2010, "Methods for merging Gaussian mixture components").
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from deepmix.maths import Array

FAMILIES = ("full", "tied", "diag", "spherical")
"""Kinds of covariances; BIC chooses."""

MOST_STARTS = 4
"""With at most this many Gaussians at first, all families are tried for every number; else only the best at first."""

REGULARIZATION = 1e-4
"""Added to variances, relative to the rows' mean variance, which is 1."""

EM_ITERATIONS = 100

STARTS = 2

PATIENCE = 3
"""Numbers of Gaussians that are tried after the best."""

ROWS_PER_GAUSSIAN, ROWS_PER_COLUMN = 8, 2
"""A mixture has at least so many rows per Gaussian, and so many per Gaussian and column."""

STEPS = 12
"""Intervals of the path between two Gaussians on which the saddle is searched."""

DEEP = 0.5
"""Two peaks are separate where the density between them falls below this fraction of the lower peak."""

VERY_DEEP = 0.05
"""The same where rows are few, as chance makes valleys there; `benchmarks/components.py --few` measures it."""

SMALLEST_WEIGHT = 0.1
"""Weight of one of K groups at least, as a fraction of 1 / K."""


@dataclass(frozen=True)
class Modes:
    """What Gaussian mixtures say about the number of groups."""

    n_gaussians: int
    """G, with the least BIC."""
    covariance: str
    """The kind of covariances of that mixture."""
    n_modes: int
    """Separate peaks of that mixture's density."""
    is_settled: bool
    """Whether more Gaussians were tried, and were worse: else the rows need more than were tried."""
    bic: Mapping[int, float]
    """The least BIC by number of Gaussians; smaller is better."""
    icl: Mapping[int, float]
    """The same plus twice the entropy of the rows' assignment, in nats."""


def find_modes(rows_ND: Array, lowest: int, sure: int, highest: int, seed: int, deep: float = DEEP) -> Modes | None:
    """Fit mixtures of `lowest` to `highest` Gaussians to rows of mean variance 1, and return what the best one shows.

    Numbers above `sure` are tried until PATIENCE of them are worse than the best. Peaks are separate where the density
    between them falls below the fraction `deep`. None where there are too few rows.
    """
    rows_per_mode = max(ROWS_PER_GAUSSIAN, ROWS_PER_COLUMN * rows_ND.shape[1])
    highest = min(highest, len(rows_ND) // rows_per_mode)
    if highest < lowest:
        return None
    families: tuple[str, ...] = FAMILIES
    if lowest > MOST_STARTS:
        families = (min(FAMILIES, key=lambda family: _fit(rows_ND, lowest, family, seed)[1]),)
    fits: list[tuple[str, GaussianMixture, float]] = []
    for family in families:
        best = min(fits, key=lambda one: one[2], default=None)
        limit = None if best is None else (best[1].n_components, best[2])
        fits += [(family, *one) for one in _scan(rows_ND, (lowest, sure, highest), family, seed, limit)]
    family, mixture, _ = min(fits, key=lambda one: one[2])
    bic: dict[int, float] = {}
    icl: dict[int, float] = {}
    for _, one, value in fits:
        if value < bic.get(one.n_components, np.inf):
            bic[one.n_components] = value
            icl[one.n_components] = value + 2.0 * _entropy(one.predict_proba(rows_ND))
    last = max(one.n_components for name, one, _ in fits if name == family)
    merges_M2 = np.array(mode_merges(mixture)).reshape(-1, 2)
    return Modes(
        n_gaussians=mixture.n_components,
        covariance=family,
        n_modes=count_modes(merges_M2, deep),
        is_settled=mixture.n_components < last,
        bic=dict(sorted(bic.items())),
        icl=dict(sorted(icl.items())),
    )


def _scan(
    rows_ND: Array, numbers: tuple[int, int, int], family: str, seed: int, limit: tuple[int, float] | None
) -> list[tuple[GaussianMixture, float]]:
    """Return mixtures of a family and their BIC, in the order of their numbers of Gaussians.

    Args:
        rows_ND: the rows.
        numbers: the lowest number of Gaussians, the one up to which patience has no end, and the highest.
        family: the kind of covariances.
        seed: makes the result reproducible.
        limit: the best number of Gaussians of another family and its BIC; a family that is still worse with more
            Gaussians is given up.

    """
    lowest, sure, highest = numbers
    fits: list[tuple[GaussianMixture, float]] = []
    least = lowest
    for n_gaussians in range(lowest, highest + 1):
        fits.append(_fit(rows_ND, n_gaussians, family, seed))
        if fits[-1][1] <= fits[least - lowest][1]:
            least = n_gaussians
        if n_gaussians >= sure and n_gaussians - least >= PATIENCE:
            break
        is_worse = limit is not None and fits[least - lowest][1] > limit[1]
        if limit is not None and is_worse and n_gaussians >= limit[0] + PATIENCE:
            break
    return fits


def mode_merges(mixture: GaussianMixture) -> list[tuple[float, float]]:
    """Return, for each peak but the highest, how far the density falls before a higher peak, and the lesser weight.

    The fall is the log of the peak's density over the saddle's. The saddle is sought on the line between two means and
    on the ridge that holds all critical points of two Gaussians (Ray and Lindsay 2005), and is the higher of the two.
    """
    mean_GD, precision_GDD = mixture.means_, _precisions(mixture)
    n_gaussians = len(mean_GD)
    log_root_G = np.log(mixture.weights_) + 0.5 * np.linalg.slogdet(precision_GDD)[1]

    def log_density(points_SD: Array) -> Array:
        """Return the log density up to a constant, (S,)."""
        centred_GSD = points_SD - mean_GD[:, None]
        square_GS = ((centred_GSD @ precision_GDD) * centred_GSD).sum(axis=2)
        return np.asarray(logsumexp(log_root_G[:, None] - 0.5 * square_GS, axis=0))

    peak_G = log_density(mean_GD)
    step_S = np.linspace(0.0, 1.0, STEPS + 1)[1:-1, None]
    saddles = []
    for i in range(n_gaussians):
        for j in range(i):
            line_SD = mean_GD[i] + step_S * (mean_GD[j] - mean_GD[i])
            left_SD = (1.0 - step_S) * (precision_GDD[i] @ mean_GD[i])
            right_SD = step_S * (precision_GDD[j] @ mean_GD[j])
            mixed_SDD = (1.0 - step_S)[:, :, None] * precision_GDD[i] + step_S[:, :, None] * precision_GDD[j]
            ridge_SD = np.linalg.solve(mixed_SDD, (left_SD + right_SD)[:, :, None])[:, :, 0]
            on_paths = log_density(np.concatenate([line_SD, ridge_SD])).reshape(2, -1).min(axis=1)
            saddles.append((min(float(on_paths.max()), float(peak_G[i]), float(peak_G[j])), i, j))
    group, peak, weight = list(range(n_gaussians)), peak_G.tolist(), mixture.weights_.tolist()
    merges = []
    for saddle, i, j in sorted(saddles, reverse=True):
        high, low = group[i], group[j]
        if high == low:
            continue
        if peak[high] < peak[low]:
            high, low = low, high
        merges.append((peak[low] - saddle, min(weight[low], weight[high])))
        weight[high] += weight[low]
        group = [high if one == low else one for one in group]
    return merges


def count_modes(merges_M2: Array, deep: float = DEEP) -> int:
    """Return the largest number of groups that deep valleys separate, each of them with enough weight."""
    weight_M = merges_M2[merges_M2[:, 0] > -np.log(deep), 1]
    for n_modes in range(len(weight_M) + 1, 1, -1):
        if np.count_nonzero(weight_M >= SMALLEST_WEIGHT / n_modes) >= n_modes - 1:
            return n_modes
    return 1


def _fit(rows_ND: Array, n_gaussians: int, family: str, seed: int) -> tuple[GaussianMixture, float]:
    mixture = GaussianMixture(
        n_gaussians,
        covariance_type=family,
        reg_covar=REGULARIZATION,
        max_iter=EM_ITERATIONS,
        n_init=STARTS,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last digits of a BIC do not matter
        mixture.fit(rows_ND)
    return mixture, float(mixture.bic(rows_ND))


def _entropy(prob_NG: Array) -> float:
    return float(-(prob_NG * np.log(np.maximum(prob_NG, 1e-300))).sum())


def _precisions(mixture: GaussianMixture) -> Array:
    """Return the Gaussians' precision matrices, (G, D, D)."""
    n_gaussians, n_columns = mixture.means_.shape
    precisions = mixture.precisions_
    if mixture.covariance_type == "full":
        return np.asarray(precisions)
    if mixture.covariance_type == "tied":
        return np.repeat(precisions[None], n_gaussians, axis=0)
    return np.asarray(np.reshape(precisions, (n_gaussians, -1, 1)) * np.eye(n_columns))
