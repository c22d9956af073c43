"""Options that choose the papers' fully connected networks; `--help` reads them, so nothing slow is imported here."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import ClassVar

from deepmix.errors import UsageError
from deepmix.models.likelihood_choice import check_likelihood_name

SMALL_DATA_FEATURES = 128
"""Below this many columns the small trunk is used: for Digits (64 columns), the supplement has 64-256-256-M."""

SMALL_TRUNK, LARGE_TRUNK = "256-256", "500-500-2000"
"""Hidden widths, the supplement's; the large ones are from DEC (VaDE section 4.2)."""

WIDTHS = re.compile(r"[1-9][0-9]*(-[1-9][0-9]*)*")
MOST_WIDTH = 10_000_000
"""Largest width; wider layers fit into no memory."""


def trunk_widths(hidden: str, n_features: int, large: str = LARGE_TRUNK) -> tuple[int, ...]:
    """Return the hidden widths for 'auto' (SMALL_TRUNK or the large ones) or for widths such as '500-500-2000'."""
    if hidden == "auto":
        hidden = SMALL_TRUNK if n_features < SMALL_DATA_FEATURES else large
    return tuple(int(width) for width in hidden.split("-"))


def check_hidden(hidden: str) -> None:
    """Raise a UsageError unless `hidden` is 'auto' or widths joined by dashes."""
    if hidden != "auto" and not WIDTHS.fullmatch(hidden):
        raise UsageError(f"hidden must be 'auto' or widths such as {LARGE_TRUNK}, got '{hidden}'")
    if hidden != "auto":
        check_widths("hidden", hidden)


def check_widths(name: str, widths: str) -> None:
    """Raise a UsageError if an option's text is not widths joined by dashes, or one of them is above MOST_WIDTH."""
    if not WIDTHS.fullmatch(widths):
        raise UsageError(f"{name} must be widths such as {SMALL_TRUNK}, got '{widths}'")
    if any(len(number) > len(str(MOST_WIDTH)) or int(number) > MOST_WIDTH for number in widths.split("-")):
        raise UsageError(f"the widths in {name} must be at most {MOST_WIDTH:,}, got '{widths}'")


@dataclass(frozen=True)
class NetworkOptions:
    """Options of the observation model and the networks of a model that is not a recipe; a model's own come after."""

    likelihood: str = field(
        default="auto",
        metadata={
            "help": "the observation model, an installed likelihood; auto: bernoulli where the data lie in 0..1, else "
            "gaussian"
        },
    )
    hidden: str = field(
        default="auto",
        metadata={"help": "hidden widths, data side first, such as 500-500-2000; auto: 256-256 below 128 columns"},
    )

    LARGE: ClassVar[str] = LARGE_TRUNK
    """Hidden widths of 'auto' for data with more columns."""

    def __post_init__(self) -> None:
        check_likelihood_name(self.likelihood)
        check_hidden(self.hidden)

    def widths(self, n_features: int) -> tuple[int, ...]:
        """Return the hidden widths, data side first."""
        return trunk_widths(self.hidden, n_features, self.LARGE)
