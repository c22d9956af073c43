"""The marks of a missing value in tables and labels."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from deepmix.maths import Array

USUAL_MARKS = frozenset({"", "na", "n/a", "<na>", "nan", "null", "?", "-", "#n/a"})
"""What tables hold where a value is missing, in lower case and without spaces around it."""


PYTHON_MARK = "None"
"""A mark only in this capitalisation: 'none' is an answer, as in 'contract: none'."""


@dataclass(frozen=True)
class Marks:
    """The usual marks of a missing value, and a user's further ones."""

    texts: frozenset[str] = USUAL_MARKS
    numbers: tuple[float, ...] = ()
    """Marks that are numbers, such as -999; a column of numbers holds them however they are written."""

    def is_missing(self, cell: str) -> bool:
        """Whether a cell's text is a mark of a missing value."""
        text = cell.strip()
        return text == PYTHON_MARK or text.lower() in self.texts

    def without_marks(self, values: Array) -> Array:
        """Return numbers with NaN in place of marks; without any, the same array."""
        if not self.numbers:
            return values
        marked = np.isin(values, self.numbers)
        return np.where(marked, np.nan, values.astype(np.float64)) if marked.any() else values


def marks_with(further: Collection[str]) -> Marks:
    """Return the usual marks with a user's further ones."""
    texts = frozenset(mark.strip().lower() for mark in further)
    numbers = []
    for text in texts:
        try:
            numbers.append(float(text))
        except ValueError:
            continue
    return Marks(USUAL_MARKS | texts, tuple(sorted(numbers)))
