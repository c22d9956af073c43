"""What sets a cluster of a table's rows apart, in words: a sentence, a name, and the values in them."""

from __future__ import annotations

import datetime
import math
from collections import Counter
from collections.abc import Sequence

from deepmix.data import ColumnSchema
from deepmix.report.analysis import label_text
from deepmix.report.column_cells import LEVEL_KINDS
from deepmix.report.html.markup import CONTROL, number
from deepmix.report.profiles import ClusterProfile, Difference

MOST_CLAUSES = 4
"""Differences that a cluster's sentence gives."""


TERMS = 2
"""Differences in a cluster's name; more only if two names would be the same."""


MOST_TERMS = 4
"""Most differences in a name; names that are still the same then get a number."""


NAME_LENGTH = 24
"""Characters of a column's name or of a level inside a cluster's name."""


LEVEL_LENGTH = 60
"""Characters of a column's name or of a level inside a sentence."""


YES, NO = frozenset({"yes", "true", "y", "t"}), frozenset({"no", "false", "n", "f", "none"})
"""Levels, in small letters, that say whether a row has what the column is named after."""


WORDED_SHARES = (
    (1 / 10, "one in ten"),
    (1 / 4, "a quarter"),
    (1 / 3, "a third"),
    (1 / 2, "half"),
    (2 / 3, "two thirds"),
    (3 / 4, "three quarters"),
    (9 / 10, "nine in ten"),
)
"""Shares that have words."""


WORDED_WITHIN = 0.015
"""Distance from such a share up to which its words are used."""


CALENDAR_YEARS = (1000, 2999)
"""Whole numbers in this range are written without a thousands separator, as they may be years."""


DIGITS, MOST_DIGITS = 3, 7
"""Significant digits of a number, and of two numbers that differ only in later digits."""


def sentence(profile: ClusterProfile) -> str:
    """Return what sets a cluster apart as one sentence, such as "Two thirds have no contract (19 % elsewhere)."."""
    if not profile.n_rows:
        return "No row is in this cluster."
    clauses = [_clause(difference) for difference in profile.differences[:MOST_CLAUSES]]
    if not clauses:
        return "No column sets these rows apart from the others."
    text = "; ".join(clauses)
    has_capitals = text.split()[0] != text.split()[0].lower()  # such as a column named pH
    return f"{text}." if has_capitals else f"{text[:1].upper()}{text[1:]}."


def cluster_names(profiles: Sequence[ClusterProfile]) -> tuple[str, ...]:
    """Return a short name of each cluster, such as "high spend, no contract"; all names are different."""
    terms = [list(dict.fromkeys(map(_term, _nameable(profile)))) for profile in profiles]
    lengths = [min(TERMS, len(words)) for words in terms]

    def joined() -> list[str]:
        return [", ".join(words[:n]) or "nothing special" for words, n in zip(terms, lengths, strict=True)]

    names = joined()
    for _ in range(TERMS, MOST_TERMS):
        counts = Counter(names)
        for k, name in enumerate(names):
            if counts[name] > 1:
                lengths[k] = min(lengths[k] + 1, len(terms[k]))
        names = joined()
    return tuple(
        _numbered(["empty" if not profile.n_rows else name for profile, name in zip(profiles, names, strict=True)])
    )


def _numbered(names: Sequence[str]) -> list[str]:
    """Return names with numbers behind those that repeat an earlier one."""
    unique: list[str] = []
    for name in names:
        version, i = name, 1
        while version in unique or (i > 1 and version in names):
            i += 1
            version = f"{name} ({i})"
        unique.append(version)
    return unique


def share_text(share: float) -> str:
    """Return a share in words where there are some, else in per cent."""
    if math.isnan(share):
        return "-"
    if share in (0.0, 1.0):
        return "all" if share else "none"
    if share > 0.97:
        return "nearly all"
    near = [words for value, words in WORDED_SHARES if abs(value - share) <= WORDED_WITHIN]
    return near[0] if near else percent_text(share)


def percent_text(share: float) -> str:
    """Return a share in whole per cent; with a decimal where it would be 0 % or 100 % and is not."""
    if math.isnan(share):
        return "-"
    if 0.0 < share < 0.0005:
        return "under 0.1 %"
    if 0.9995 <= share < 1.0:
        return "over 99.9 %"
    decimals = 1 if 0.0 < share < 0.005 or 0.995 <= share < 1.0 else 0
    return f"{100 * share:.{decimals}f} %"


def value_text(column: ColumnSchema, value: float, digits: int = DIGITS) -> str:
    """Return a column's number or date as text, '-' where there is none."""
    if not math.isfinite(value):
        return "-"
    if column.kind == "datetime":
        return date_text(value)
    if _are_years(column):
        return f"{value:.{max(digits - DIGITS, 0)}f}"
    return number(value, digits)


def value_texts(column: ColumnSchema, *values: float) -> tuple[str, ...]:
    """Return several numbers or dates of a column as text, with more digits where different ones would look alike."""
    texts: tuple[str, ...] = ()
    for digits in range(DIGITS, MOST_DIGITS + 1):
        texts = tuple(value_text(column, value, digits) for value in values)
        if len(set(texts)) == len(set(values)):
            break
    return texts


def date_text(days: float) -> str:
    """Return a number of days since 1970 as a date."""
    try:
        return (datetime.date(1970, 1, 1) + datetime.timedelta(days=math.floor(days))).isoformat()
    except OverflowError:
        return f"{days:.0f} days after 1970"


def column_text(column: ColumnSchema) -> str:
    """Return a column's name as it is read in a sentence: spaces for underscores, and on one line."""
    return " ".join(CONTROL.sub("\N{REPLACEMENT CHARACTER}", column.name).replace("_", " ").split()) or "unnamed column"


def _clause(difference: Difference) -> str:
    column, level = difference.column, difference.level
    name = _clipped(column_text(column), LEVEL_LENGTH)
    if difference.aspect == "missing":
        return f"{name} is missing for {share_text(difference.here)} ({percent_text(difference.others)} elsewhere)"
    if difference.aspect == "level":
        share, elsewhere = share_text(difference.here), f"({percent_text(difference.others)} elsewhere)"
        if level is not None and level.casefold() in YES:
            return f"{share} have {name} {elsewhere}"
        if level is not None and level.casefold() in NO:
            return f"{share} have no {name} {elsewhere}"
        return f"{name} is {_clipped(level or '', LEVEL_LENGTH)} for {share} {elsewhere}"
    here, others = value_texts(column, difference.here, difference.others)
    verb = "are" if _is_plural(name) else "is"
    return f"{'median ' if difference.aspect == 'median' else ''}{name} {verb} {here} ({others} elsewhere)"


def _nameable(profile: ClusterProfile) -> list[Difference]:
    """Return the differences for a name, one per column: first numbers and what most of the cluster's rows share."""
    first: dict[str, Difference] = {}
    for difference in sorted(profile.differences, key=_is_of_few):
        first.setdefault(difference.column.name, difference)
    return list(first.values())


def _is_of_few(difference: Difference) -> bool:
    """Return whether a level or a gap is the cluster's because of fewer than half of its rows."""
    return difference.aspect in ("level", "missing") and difference.here < 0.5


def _term(difference: Difference) -> str:
    name, level, more = _clipped(column_text(difference.column)), difference.level, difference.effect > 0.0
    if difference.aspect == "missing":
        if _is_of_few(difference):
            return f"{name} {'often' if more else 'rarely'} missing"
        return f"no {name} known"
    if level is None:
        low, high = ("early", "late") if difference.column.kind == "datetime" else ("low", "high")
        if difference.column.kind == "count" and _is_plural(column_text(difference.column)):
            low, high = "few", "many"
        return f"{high if more else low} {name}"
    is_switch = difference.column.kind == "binary" and set(difference.column.levels or ()) == {"0", "1"}
    is_yes = level.casefold() in YES or (is_switch and level == "1")
    is_no = level.casefold() in NO or (is_switch and level == "0")
    if _is_of_few(difference):
        word = "more" if more != is_no else "less"
        return f"{word} {name}" if is_yes or is_no else f"{word} {name} {_clipped(level)}"
    if is_yes or is_no:
        return name if is_yes else f"no {name}"
    return f"{name} {_clipped(level)}"


def _are_years(column: ColumnSchema) -> bool:
    """Return whether a column's numbers may be years."""
    ends = [end for end in (column.low, column.high) if isinstance(end, int | float)]
    return column.decimals == 0 and bool(ends) and all(CALENDAR_YEARS[0] <= end <= CALENDAR_YEARS[1] for end in ends)


def _is_plural(name: str) -> bool:
    """Return whether an English name looks like a plural."""
    return name.endswith("s") and not name.endswith(("ss", "us", "is"))


def _clipped(text: str, length: int = NAME_LENGTH) -> str:
    text = " ".join(CONTROL.sub("\N{REPLACEMENT CHARACTER}", text).split())
    return text if len(text) <= length else text[: length - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def cell_text(column: ColumnSchema, cell: object) -> str:
    """Return one cell of a table as text; 'missing' where it has no value."""
    import pandas as pd

    if pd.isna(cell):
        return "missing"
    if isinstance(cell, pd.Timestamp):
        return cell.date().isoformat() if cell == cell.normalize() else cell.isoformat(sep=" ")
    if column.kind in LEVEL_KINDS or isinstance(cell, str):
        return " ".join(label_text(cell).split())
    value = float(cell)  # type: ignore[arg-type]
    text = f"{value:,.{MOST_DIGITS}g}" if column.decimals is None else f"{value:,.{column.decimals}f}"
    return (text.replace(",", "") if _are_years(column) else text).replace("-", "\N{MINUS SIGN}")
