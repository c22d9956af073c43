"""From the cells of one column, as text, to its values: whole numbers, numbers, truth values or text.

The rules, in order, over the cells that are not missing, without the spaces around them:
    int64    all are whole numbers, none is missing, and all fit
    float64  all are numbers, or numbers and truth values (1 and 0); NaN where missing; also a column without values
    bool     all are True or False, however capitalised, and none is missing
    object   everything else: `str`, and None where missing
Numbers are what Python's `float` reads, exactly as it reads them, without its underscores. Where a column's cells are
not such numbers, commas may be decimal marks or thousands marks, in all cells of the column alike, and all cells may
have the same sign of a unit, such as % or $, which is left out: 12 % is 12.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from deepmix.data.missing_marks import Marks
from deepmix.maths import Array

TRUTH_VALUES = {"true": 1.0, "false": 0.0}
"""The numbers that stand for a truth value's name in lower case."""


DECIMAL_COMMA = re.compile(r"[+-]?(\d+|[1-9]\d{0,2}(?:[.'\u00a0\u202f ]\d{3})+)(,\d+)?(?:[eE][+-]?\d+)?")
"""A number as Excel writes it in most of Europe: 1.234,5 or 1 234,5."""


THOUSANDS_COMMA = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?")
"""A number with thousands marks as Excel shows it in English: 1,234.5."""


WHOLE = re.compile(r"[+-]?\d+")


SIGNED = re.compile(r"([+-]?)\s*([$\u20ac\u00a3\u00a5\u20b9])\s*(\S.*)|(\S.*?)\s*([%$\u20ac\u00a3\u00a5\u20b9])")
"""A number with a currency's sign before or after it, or a percent sign after it."""


DecimalMark = Literal[".", ",", "unknown"]
"""The decimal mark of a file's numbers."""


Style = Literal["point", "decimal comma", "thousands comma"]
"""How the numbers of a column are written."""


class ColumnValues(NamedTuple):
    """A column's values, (N,), and how its numbers were written."""

    values: Array
    style: str = "point"
    """A `Style`, or what else is unusual, in words that follow 'numbers with a'."""


def is_number(cell: str) -> bool:
    """Whether a cell is a number with a decimal point; the name of a truth value is not one."""
    try:
        _number(cell)
    except ValueError:
        return False
    return True


def read_column(cells: Sequence[str], marks: Marks, decimal: DecimalMark = ".", delimiter: str = ",") -> ColumnValues:
    """Return the values of a column's cells, by the rules of this module.

    Args:
        cells: the cells' text, (N,).
        marks: the marks of a missing value.
        decimal: the decimal mark of the file's numbers, as far as known.
        delimiter: the file's delimiter; where it is a comma, `"1,234"` is a thousand and not 1.234.

    """
    if decimal != ",":
        plain = _plain_numbers(cells)
        if plain is not None:
            return ColumnValues(marks.without_marks(plain))
    missing_N = np.fromiter((marks.is_missing(cell) for cell in cells), bool, len(cells))
    seen = [cell.strip() for cell, missing in zip(cells, missing_N, strict=True) if not missing]
    if not seen:
        return ColumnValues(np.full(len(cells), np.nan))
    if all(cell.lower() in TRUTH_VALUES for cell in seen):
        truths = [cell.lower() == "true" for cell in seen]
        if not missing_N.any():
            return ColumnValues(np.array(truths))
        return ColumnValues(_texts([str(truth) for truth in truths], missing_N))
    for style in _styles(decimal, delimiter):
        numbers = _numbers(seen, style)
        if numbers is not None:
            return ColumnValues(marks.without_marks(_spread(numbers, missing_N)), style)
    sign, unsigned = _without_sign(seen)
    for style in _styles(decimal, delimiter) if sign is not None else ():
        numbers = _numbers(unsigned, style)
        if numbers is not None:
            words = f"{sign} sign" if style == "point" else f"{style} and a {sign} sign"
            return ColumnValues(marks.without_marks(_spread(numbers, missing_N)), words)
    return ColumnValues(_texts(seen, missing_N))


def text_column(cells: Sequence[str], marks: Marks) -> Array:
    """Return a column's cells as text without the spaces around it, None where missing, (N,) object."""
    missing_N = np.fromiter((marks.is_missing(cell) for cell in cells), bool, len(cells))
    return _texts([cell.strip() for cell, missing in zip(cells, missing_N, strict=True) if not missing], missing_N)


def _number(cell: str) -> float:
    if "_" in cell:  # Python takes 1_000 for a number
        raise ValueError(f"'{cell}' is not a number")
    return float(cell)


def _number_or_truth(cell: str) -> float:
    truth = TRUTH_VALUES.get(cell.lower())
    return _number(cell) if truth is None else truth


def _without_sign(seen: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return the sign of a unit that all cells have, and the cells without it; None if they have none in common."""
    common, plain = None, []
    for cell in seen:
        match = SIGNED.fullmatch(cell)
        sign = None if match is None else match[2] or match[5]
        if match is None or sign is None or common not in (None, sign):
            return None, []
        common = sign
        plain.append((match[1] or "") + match[3] if match[2] else match[4])
    return common, plain


def _plain_numbers(cells: Sequence[str]) -> Array | None:
    """Return numbers with decimal points, int64 or float64; None if a cell is something else. The quickest way."""
    objects = np.empty(len(cells), dtype=object)
    objects[:] = cells
    for kind in (np.int64, np.float64):
        try:
            numbers: Array = objects.astype(kind)
        except (ValueError, OverflowError):
            continue
        return None if "_" in "".join(cells) else numbers
    return None


def _styles(decimal: DecimalMark, delimiter: str) -> tuple[Style, ...]:
    """Return the ways to try to read a column's numbers, in order."""
    if decimal == ",":
        return "decimal comma", "point"
    if decimal == "." or delimiter == ",":
        return "point", "thousands comma", "decimal comma"
    return "point", "decimal comma", "thousands comma"


def _numbers(seen: Sequence[str], style: Style) -> Array | None:
    """Return the numbers of cells, int64 where all are whole and fit, else float64; None if one is not a number."""
    readers: dict[Style, Callable[[str], float]] = {
        "point": _number_or_truth,
        "decimal comma": _with_decimal_comma,
        "thousands comma": _with_thousands_comma,
    }
    try:
        numbers = np.array([readers[style](cell) for cell in seen], dtype=np.float64)
    except ValueError:
        return None
    plain = [re.sub(r"[.,'\u00a0\u202f ]", "", cell) for cell in seen] if style != "point" else list(seen)
    whole = all(WHOLE.fullmatch(cell) for cell in plain) and not (
        style != "point" and any(("," if style == "decimal comma" else ".") in cell for cell in seen)
    )
    if whole:
        try:
            return np.array([int(cell) for cell in plain], dtype=np.int64)
        except OverflowError:
            return numbers
    return numbers


def _with_decimal_comma(cell: str) -> float:
    if not DECIMAL_COMMA.fullmatch(cell):
        raise ValueError(f"'{cell}' is not a number with a decimal comma")
    return float(re.sub(r"[.'\u00a0\u202f ]", "", cell).replace(",", "."))


def _with_thousands_comma(cell: str) -> float:
    if THOUSANDS_COMMA.fullmatch(cell):
        return float(cell.replace(",", ""))
    return _number(cell)


def _spread(numbers: Array, missing_N: Array) -> Array:
    """Return the numbers with NaN where cells are missing."""
    if not missing_N.any():
        return numbers
    values = np.full(len(missing_N), np.nan)
    values[~missing_N] = numbers
    return values


def _texts(seen: Sequence[str], missing_N: Array) -> Array:
    values = np.full(len(missing_N), None, dtype=object)
    values[~missing_N] = seen
    return values
