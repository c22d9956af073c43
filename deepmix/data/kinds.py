"""The rules that choose the kind of a column from its name and its training rows; no rule sees a label."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from deepmix.data.column_schema import OTHER
from deepmix.data.column_values import days_of, level_name, level_names_of, number_of, numbers_of, storage_of
from deepmix.data.dates import date_order
from deepmix.data.number_kinds import LEAST_ROWS, Decision, counts_up, number_kind, suspected_mark, whole_numbers
from deepmix.maths import Array

if TYPE_CHECKING:
    import pandas as pd

CLEAN = 0.95
"""Fraction of a text column's cells that must be dates, or numbers, for the others to count as missing."""


MOST_LEVELS = 50
"""Levels that a categorical column has at most beside OTHER."""


LEAST_FRACTION = 0.002
"""Fraction of the training rows below which a level is rare; one that a single row has is always rare."""


SURE_ID_WORDS = frozenset({"id", "ids", "uuid", "guid", "rowid"})
"""Last words of the names of identifiers that are not names of measurements: an index may be one, as of body mass."""


ID_WORDS = SURE_ID_WORDS | {"key", "idx", "index"}
"""Last words of the names of identifiers."""


NUMBER_WORDS = ID_WORDS | {"no", "nr", "number", "code"}
"""Last words of the names of columns whose numbers, if all differ, are identifiers."""


CODE_WORDS = ID_WORDS | {"code", "zip", "zipcode", "postcode", "fips"}
"""Last words of the names of columns whose numbers, if they recur, are levels."""


UNNAMED = re.compile(r"|Unnamed: \d+")
"""Names of the column that a table's index becomes when it is written."""


def last_word(name: str) -> str:
    """Return the last word of a column's name in small letters: 'id' of customer_id, customerID and ID."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)
    return words[-1].lower() if words else ""


def kind_of(name: str, column: pd.Series, missing: Array, *, is_first: bool) -> tuple[Decision, str | None]:
    """Return the kind of a column by the rules, and how it writes dates if it is text that holds dates.

    Args:
        name: the column's name.
        column: the cells of the training rows in the file's order.
        missing: (N,) whether each cell is missing.
        is_first: whether the column is the file's first.

    """
    seen = column[~missing]
    none = np.zeros(len(seen), dtype=bool)
    if not len(seen):
        return Decision("empty", "no row has a value"), None
    storage = storage_of(seen)
    if storage == "number":
        x, infinite = numbers_of(seen, none)
        return _number_decision(name, x[~infinite], is_first=is_first), None
    names = level_names_of(seen, none)
    counts = Counter(names.tolist())
    if len(counts) == 1:
        return Decision("constant", f"every value is {short(names[0])}"), None
    if storage == "date":
        return Decision("datetime", "dates"), None
    if storage == "text":
        order = date_order(counts)
        if order is not None:
            days, _ = days_of(seen, none, order)
            if np.mean(np.isfinite(days)) >= CLEAN and len(np.unique(days[np.isfinite(days)])) > 1:
                return Decision("datetime", f"text that holds dates ({order})"), order
        x, strays = numbers_of(seen, none)
        if strays.mean() <= 1.0 - CLEAN and len(np.unique(x[~strays])) > 2:
            return _number_decision(name, x[~strays], is_first=is_first), None
    if len(counts) == 2:
        return _two_values(sorted(counts)), None
    return _text_decision(name, counts), None


def _two_values(levels: list[str]) -> Decision:
    return Decision("binary", f"two values, {' and '.join(map(short, levels))}")


def _number_decision(name: str, x: Array, *, is_first: bool) -> Decision:
    """Return the kind of a column of finite numbers."""
    values = np.unique(x)
    if not len(values):
        return Decision("empty", "no row has a finite number")
    if len(values) <= 2:
        levels = [level_name(value) for value in values]
        return _two_values(levels) if len(levels) == 2 else Decision("constant", f"every value is {short(levels[0])}")
    word, n_values = last_word(name), len(values)
    if whole_numbers(x) and (len(x) >= LEAST_ROWS or word in SURE_ID_WORDS):
        if n_values == len(x) and (word in NUMBER_WORDS or UNNAMED.fullmatch(name)):
            return Decision("identifier", "all values differ, and its name is one of an identifier")
        if counts_up(x, is_first=is_first):
            return Decision("identifier", "whole numbers that count the rows")
        if len(x) >= LEAST_ROWS and word in ID_WORDS and n_values > len(x) / 2:
            return Decision("identifier", "most values differ, and its name is one of an identifier")
    decision = number_kind(x, is_code=word in CODE_WORDS)
    if decision.kind == "categorical" and _common_fraction(Counter(map(level_name, x.tolist()))) < 0.5:
        return Decision("identifier", "codes, as its name says, most of them in few rows")
    mark = suspected_mark(x)
    if mark is None:
        return decision
    n_rows = int(np.sum(x == mark))
    return decision._replace(reason=f"{decision.reason}; {mark:.0f} in {n_rows} rows may mark missing values")


def _text_decision(name: str, counts: Counter[str]) -> Decision:
    """Return the kind of a text column from how often each text occurs."""
    n_rows = sum(counts.values())
    n_words = sum(len(text.split()) for text in counts) / len(counts)
    if last_word(name) in ID_WORDS and n_rows >= LEAST_ROWS and len(counts) > n_rows / 2:
        return Decision("identifier", "most values differ, and its name is one of an identifier")
    if len(counts) == n_rows and n_words < 3.0:
        return Decision("identifier", "text that differs in every row")
    if n_words >= 3.0 and len(counts) > n_rows / 2:
        return Decision("text", f"free text, {n_words:.0f} words on average")
    levels = common_levels(counts)
    if _common_fraction(counts) < 0.5:
        return Decision("text", f"text with {len(counts)} values, most of them in few rows")
    rare = sorted(set(counts) - set(levels))
    pooled = "".join(f"; {short(level)} is rare and counts as {OTHER}" for level in rare)
    if len(rare) > 1:
        pooled = f"; {len(rare)} rare ones share {OTHER}"
    return Decision("categorical", f"text with {len(counts)} values{pooled}")


def _common_fraction(counts: Counter[str]) -> float:
    """Return the fraction of the rows whose level is not rare."""
    return sum(counts[level] for level in common_levels(counts) if level != OTHER) / sum(counts.values())


def common_levels(counts: Counter[str]) -> tuple[str, ...]:
    """Return the levels of a categorical column, the most frequent first, and OTHER at the end if some are rare.

    A level is rare if only one row has it, or fewer than 2 in 1000 rows, or if MOST_LEVELS others are more frequent.
    """
    least = max(2.0, LEAST_FRACTION * sum(counts.values()))
    ranked = sorted(counts, key=lambda level: (-counts[level], level))
    common = tuple(level for level in ranked[:MOST_LEVELS] if counts[level] >= least and level != OTHER)
    return common if len(common) == len(counts) else (*common, OTHER)


def sorted_levels(column: pd.Series, names: Array) -> list[str]:
    """Return the different level names of a column: numbers and truth values in their order, texts by the alphabet."""
    levels = set(names.tolist()) - {None}
    if storage_of(column) == "number":
        return sorted(levels, key=float)
    return sorted(levels)


def short(text: str, width: int = 24) -> str:
    """Return a text in quotes, on one line, and cut where it is long."""
    text = " ".join(text.split())
    number = number_of(text)
    if number is not None and len(text) > 8:
        text = f"{number:.6g}"
    return f"'{text}'" if len(text) <= width else f"'{text[: width - 3]}...'"
