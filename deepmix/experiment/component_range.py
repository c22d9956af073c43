"""The request that K be chosen: `auto`, or a range such as `2:20`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Self

from deepmix.errors import UsageError, option

MOST_COMPONENTS = 60
"""The largest K that `auto` considers."""

FEWEST_ROWS_PER_COMPONENT = 5
"""`auto` considers no K that leaves fewer training rows per cluster."""


@dataclass(frozen=True)
class ComponentRange:
    """The numbers of clusters among which one is chosen from the rows; both ends are None for `auto`."""

    lowest: int | None = None
    highest: int | None = None

    TYPE_NAME: ClassVar[str] = "auto or a range such as 2:20"
    """What the help calls its values."""

    def __post_init__(self) -> None:
        if self.lowest is not None and self.highest is not None and not 1 <= self.lowest <= self.highest:
            raise UsageError(
                f"the range of {option('components')} must go up from at least 1, got {self.lowest}:{self.highest}; "
                f"give for example {option('components', '2:20')}"
            )

    @classmethod
    def from_text(cls, text: str) -> Self | None:
        """Return the range that a text such as '2:20' or 'auto' stands for; None where it is neither."""
        if text.strip().lower() == "auto":
            return cls()
        match = re.fullmatch(r"\s*(\d+)\s*:\s*(\d+)\s*", text)
        return None if match is None else cls(int(match[1]), int(match[2]))

    def limits(self, n_rows: int) -> tuple[int, int]:
        """Return both ends for so many rows."""
        if self.lowest is not None and self.highest is not None:
            return self.lowest, self.highest
        return 1, max(1, min(MOST_COMPONENTS, n_rows // FEWEST_ROWS_PER_COMPONENT))
