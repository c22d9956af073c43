"""What this package's adversarial models share: options and constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from deepmix.models import NetworkOptions

LEAK = 0.2
"""Slope of the discriminators' units below 0."""

MOMENTUM = 0.5
"""Adam's first coefficient, low as in other adversarial networks (Radford et al. 2016)."""


@dataclass(frozen=True)
class AdversarialOptions(NetworkOptions):
    """Options of a model's observation model and networks."""

    LARGE: ClassVar[str] = "1000-1000"  # the paper's (section 5)
