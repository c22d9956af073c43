"""How many clusters: the number of groups that rows show, which is 1 where they show none.

Two criteria look at the same rows. The peaks of the neighbours' density (`valleys`) need no shape, but many rows, and
few dimensions; the modes of a Gaussian mixture (`gaussian_modes`) need few rows, but groups that are roughly Gaussian.
A peak counts by itself if chance hardly explains it. Further modes count where the neighbours do not contradict them.
Of few rows the neighbours say nothing; modes then count where the valleys between them are very deep.
`benchmarks/results/components.md` compares this rule with others.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import sparse

from deepmix.data import Split, narrow
from deepmix.experiment.clustering_features import clustering_features
from deepmix.experiment.component_range import MOST_COMPONENTS, ComponentRange
from deepmix.experiment.gaussian_modes import DEEP, PATIENCE, VERY_DEEP, Modes, find_modes
from deepmix.experiment.valleys import FEWEST_ROWS_OF_VALLEYS, Valleys, find_valleys
from deepmix.maths import Array, single_blas_thread
from deepmix.runs import ComponentChoice, RunnerUp

MOST_ROWS = 5000
"""Rows that are looked at."""

MOST_VALUES = 20_000_000
"""Values that are looked at; the rows of very wide data are fewer."""

FEWEST_ROWS = 50
"""With fewer rows nothing is said about groups where nobody asked."""

FEW_COMPONENTS = 10
"""The largest number of groups that is tried where the question is only whether there are any."""

MIXTURE_ROWS = 2000
"""Rows that mixtures are fitted to."""

MIXTURE_COMPONENTS, MIXTURE_VARIANCE = 20, 0.95
"""Mixtures take the principal components that hold this fraction of the variance, at most so many."""

DISTINCT_FRACTION = 0.2
"""Columns with fewer distinct values, relative to rows, are spread out: two levels alone make no groups."""

FEW_DIMENSIONS = 3.5
"""Up to here the neighbours' density is reliable enough to contradict a mixture."""

NOT_CONTRADICTED = 0.55
"""Relative depth that the neighbours' valleys have at least where a mixture's modes are groups."""

FIRST_DIVISION = 0.95
"""The same where the neighbours alone show one group, and the question is whether there are any."""

SMALL_DEPTH = 0.25
"""Depths below this are alike."""

SLACK = 0.1
"""Fraction by which a mixture of many Gaussians may have too many."""


def choose_components(split: Split, requested: ComponentRange, seed: int) -> ComponentChoice:
    """Return how many clusters the training rows show, and what was compared."""
    rows_ND = _features(split, MOST_ROWS, seed)
    with single_blas_thread(rows_ND.size):
        return choose_for_rows(rows_ND, requested, seed)


def shows_groups(split: Split, seed: int) -> bool:
    """Return whether the training rows show several groups, or are too few to say; this is quicker than a choice."""
    if len(split.train) < FEWEST_ROWS:
        return True
    rows_ND = _features(split, MIXTURE_ROWS, seed)
    with single_blas_thread(rows_ND.size):
        if find_valleys(rows_ND, MOST_COMPONENTS).n_peaks() > 1:
            return True
        return choose_for_rows(rows_ND, ComponentRange(1, FEW_COMPONENTS), seed).n_groups > 1


def _features(split: Split, most: int, seed: int) -> Array:
    """Return features of at most so many training rows, (N, D) float64; rows with more weight are likelier."""
    random = np.random.default_rng(seed)
    most = max(min(most, MOST_VALUES // max(split.x.shape[1], 1)), 2)
    train = split.train
    if len(train) > most:
        weights = split.weights_of(train)
        chances = None if weights is None else weights / weights.sum()
        train = train[np.sort(random.choice(len(train), most, replace=False, p=chances))]
    return continuous_rows(clustering_features(replace(split, train=train), seed), seed)


def continuous_rows(features_ND: Any, seed: int) -> Array:
    """Return rows, dense or sparse, with columns of few values spread out, narrowed, and without copies."""
    random = np.random.default_rng(seed)
    rows_ND = np.asarray(features_ND.toarray() if sparse.issparse(features_ND) else features_ND, dtype=np.float64)
    rows_ND = np.array(rows_ND.reshape(len(rows_ND), -1))
    for column_N in rows_ND.T:
        values = np.unique(column_N)
        if 1 < len(values) < DISTINCT_FRACTION * len(column_N):
            column_N += random.uniform(-0.5, 0.5, len(column_N)) * np.median(np.diff(values))
    return np.asarray(np.unique(narrow(rows_ND, seed), axis=0))


def choose_for_rows(rows_ND: Array, requested: ComponentRange, seed: int) -> ComponentChoice:
    """Return how many groups rows show, (N, D) float64 without copies, within a range.

    Rows without groups give 1 whatever the range; a number of groups outside it gives its nearer end.
    """
    lowest, highest = requested.limits(len(rows_ND))
    valleys = find_valleys(rows_ND, max(highest, 2))
    n_peaks = valleys.n_peaks()
    modes = _modes(rows_ND, valleys, highest, seed)
    n_groups = n_peaks
    if modes is not None and modes.is_settled:
        n_groups = max(n_peaks, _supported(modes.n_modes, valleys, len(rows_ND)))
    n_components = 1 if n_groups == 1 else min(max(n_groups, lowest), highest)
    criterion = "range" if n_components != n_groups else "peaks" if n_groups == n_peaks else "modes"
    others: dict[str, int | None] = {"peaks": n_peaks, "step": _next_step(valleys, n_components)}
    if modes is not None:
        others |= {"modes": modes.n_modes, "bic": modes.n_gaussians, "icl": min(modes.icl, key=lambda g: modes.icl[g])}
    numbers = {name: number for name, number in others.items() if number is not None}
    most_shown = min(highest, max([n_components, *numbers.values()]) + 3)
    return ComponentChoice(
        n_components=n_components,
        lowest=lowest,
        highest=highest,
        criterion=criterion,  # type: ignore[arg-type]
        n_groups=n_groups,
        n_rows=len(rows_ND),
        dimensions=round(valleys.dimensions, 2),
        depth={str(k): round(float(valleys.depth_K[k]), 3) for k in range(2, most_shown + 1)},
        bic={} if modes is None else {str(g): round(value, 1) for g, value in modes.bic.items()},
        n_gaussians=None if modes is None else modes.n_gaussians,
        n_modes=None if modes is None else modes.n_modes,
        runners_up=[
            RunnerUp(number, [name for name, other in numbers.items() if other == number])
            for number in sorted(set(numbers.values()))
            if number != n_components
        ],
    )


def _modes(rows_ND: Array, valleys: Valleys, highest: int, seed: int) -> Modes | None:
    """Return what mixtures show; None where the neighbours' density leaves nothing open."""
    lowest = max(1, valleys.n_peaks() - 1)
    sure, most = lowest, highest
    if _may_contradict(valleys, len(rows_ND)):
        sure = most = valleys.n_peaks(NOT_CONTRADICTED)
        if most == valleys.n_peaks():
            return None
    deep = VERY_DEEP if len(rows_ND) < FEWEST_ROWS_OF_VALLEYS else DEEP
    return find_modes(principal_rows(rows_ND, seed), lowest, sure, most + PATIENCE, seed, deep)


def _may_contradict(valleys: Valleys, n_rows: int) -> bool:
    """Return whether the neighbours' density is reliable enough to contradict a mixture."""
    return valleys.dimensions < FEW_DIMENSIONS and n_rows >= FEWEST_ROWS_OF_VALLEYS


def _supported(n_modes: int, valleys: Valleys, n_rows: int) -> int:
    """Return the largest number of a mixture's modes that the neighbours do not contradict; 1 where they do."""
    if not _may_contradict(valleys, n_rows):
        return n_modes
    least_depth = FIRST_DIVISION if valleys.n_peaks() == 1 else NOT_CONTRADICTED
    fewest = max(2, math.ceil((1.0 - SLACK) * n_modes))
    numbers = range(min(n_modes, len(valleys.depth_K) - 1), fewest - 1, -1)
    return next((k for k in numbers if valleys.depth_K[k] > least_depth), 1)


def _next_step(valleys: Valleys, n_components: int) -> int | None:
    """Return the other number of groups after which the depth falls most, by a factor; None where none is deep."""
    depth_K = np.append(valleys.depth_K, 0.0)
    fall_K = depth_K[:-1] / np.maximum(depth_K[1:], SMALL_DEPTH)
    numbers = [k for k in range(2, len(fall_K)) if k != n_components and depth_K[k] > NOT_CONTRADICTED]
    return max(numbers, key=lambda k: fall_K[k], default=None)


def principal_rows(rows_ND: Array, seed: int) -> Array:
    """Return the leading principal components of at most MIXTURE_ROWS rows, of mean variance 1."""
    if len(rows_ND) > MIXTURE_ROWS:
        rows_ND = rows_ND[np.random.default_rng(seed).choice(len(rows_ND), MIXTURE_ROWS, replace=False)]
    centred_ND = rows_ND - rows_ND.mean(axis=0)
    _, length_C, axes_CD = np.linalg.svd(centred_ND, full_matrices=False)
    share_C = np.cumsum(np.square(length_C)) / max(float(np.square(length_C).sum()), 1e-300)
    n_columns = min(int(np.searchsorted(share_C, MIXTURE_VARIANCE)) + 1, MIXTURE_COMPONENTS, len(length_C))
    projected_NC = centred_ND @ axes_CD[:n_columns].T
    return np.asarray(projected_NC / max(float(np.sqrt(np.square(projected_NC).mean())), 1e-300))
