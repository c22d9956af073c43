"""Text cells of CSV files that people open in a spreadsheet."""

from __future__ import annotations

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""First characters of a cell that a spreadsheet may run as a formula, full-width forms included (OWASP on CSV)."""


NEUTRAL = "'"
"""A spreadsheet takes what follows this mark as text."""


def spreadsheet_safe(text: str) -> str:
    """Return a cell's text so that no spreadsheet runs it as a formula.

    A text that starts like a formula, spaces aside, gets an apostrophe in front. Numbers such as -1.5e3 and single
    characters such as '-' are not formulas and stay as they are. Quoting cells for CSV is left to the `csv` module.
    """
    start = text.lstrip(" \u00a0")
    if len(start) < 2 or not start.startswith(FORMULA_STARTS) or _is_number(start):
        return text
    return NEUTRAL + text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and text == text.strip() and "_" not in text
