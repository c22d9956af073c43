"""The record of how many clusters were chosen, and from what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class RunnerUp:
    """Another number of clusters, and what speaks for it."""

    n_components: int
    criteria: Sequence[str]
    """'peaks', 'step', 'modes', 'bic' and 'icl': the criteria that prefer it."""


@dataclass(frozen=True)
class ComponentChoice:
    """How many clusters were chosen, from what range, by which criterion, and the values that it compared."""

    n_components: int
    """K, or 1 where the rows show no groups."""
    lowest: int
    highest: int
    criterion: Literal["peaks", "modes", "range"]
    """What decided: the peaks of the neighbours' density, the modes of a Gaussian mixture, or the end of the range."""
    n_groups: int
    """The number of groups before it was brought into the range."""
    n_rows: int
    """Rows that were looked at."""
    dimensions: float
    """Dimensions that these rows fill."""
    depth: Mapping[str, float]
    """By number of groups: the depth of the shallowest valley between so many groups; above 1 it is not chance."""
    bic: Mapping[str, float]
    """By number of Gaussians: the least BIC of a mixture, in nats times two; smaller is better."""
    n_gaussians: int | None
    """The number of Gaussians with the least BIC; None where no mixtures were needed."""
    n_modes: int | None
    """The peaks of that mixture's density."""
    runners_up: Sequence[RunnerUp]
