"""Checks of what a user says about a table's columns, each failing with one sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from deepmix.data.checks import LARGEST
from deepmix.data.column_schema import LIKELIHOODS, NUMBER_KINDS, SETTABLE_KINDS
from deepmix.data.column_values import days_of, level_names_of, numbers_of, storage_of
from deepmix.data.kinds import common_levels, short
from deepmix.data.table_options import ColumnOptions, TableOptions
from deepmix.errors import UsageError, option
from deepmix.maths import Array

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 12
"""Names that a message lists at most."""


BUILT_IN = tuple(dict.fromkeys(name for names in LIKELIHOODS.values() for name in names))
"""The built-in likelihoods of columns."""


def check_options(columns: Sequence[str], options: TableOptions, label_column: str | None) -> None:
    """Check that options name columns of the table, each for one purpose.

    Raises:
        UsageError: a column is not there, or it is asked to be two things.

    """
    uses: dict[str, str] = {}
    named = [
        *((name, "drop") for name in options.drop),
        *((name, "condition") for name in options.conditions),
        *((name, what) for what, name in _single(options, label_column)),
    ]
    unknown = [name for name in [*(name for name, _ in named), *options.columns] if name not in columns]
    if unknown:
        raise UsageError(f"there is no column {listed(unknown)}; the columns are: {listed(columns)}")
    for name, what in named:
        if name in uses:
            raise UsageError(f"column '{name}' is named by {option(uses[name])} and by {option(what)}; leave one out")
        uses[name] = what
    for name, request in options.columns.items():
        if name in uses:
            raise UsageError(f"column '{name}' is named by {option(uses[name])} and has a kind; leave one out")
        check_request(name, request)


def _single(options: TableOptions, label_column: str | None) -> Iterable[tuple[str, str]]:
    single = {
        "label_column": label_column,
        "weight_column": options.weight_column,
        "id_column": options.id_column,
    }
    return [(what, name) for what, name in single.items() if name is not None]


def check_request(name: str, request: ColumnOptions) -> None:
    """Check that a column's requested kind exists and that its likelihood suits it.

    Raises:
        UsageError: they do not.

    """
    if request.kind is not None and request.kind not in SETTABLE_KINDS:
        kinds = ", ".join(sorted(SETTABLE_KINDS))
        raise UsageError(f"unknown kind '{request.kind}' of column '{name}'; choose one of: {kinds}")
    if request.levels is not None and request.kind not in (None, "ordinal"):
        raise UsageError(f"column '{name}' has levels and the kind {request.kind}; only ordinal columns take levels")
    if request.kind is not None and request.likelihood is not None:
        check_likelihood_suits(name, request.kind, request.likelihood)


def check_likelihood_suits(name: str, kind: str, likelihood: str) -> None:
    """Check that a likelihood suits a column's kind.

    Raises:
        UsageError: it does not; the message lists those that do.

    """
    suitable = LIKELIHOODS.get(kind, ())
    if not suitable:
        raise UsageError(f"column '{name}' is of the kind {kind}, which is not modelled; leave out '{likelihood}'")
    if likelihood not in suitable and (likelihood in BUILT_IN or kind not in NUMBER_KINDS):
        raise UsageError(
            f"likelihood '{likelihood}' does not suit column '{name}' of the kind {kind}; "
            f"choose one of: {', '.join(suitable)}"
        )


def kind_for(kind: str, likelihood: str | None) -> str:
    """Return the kind of a column for which a user names only a likelihood.

    It is the inferred kind if the two suit each other, else the first kind that a built-in likelihood belongs to.
    """
    if likelihood is None or likelihood in LIKELIHOODS.get(kind, ()):
        return kind
    if likelihood not in BUILT_IN:
        return kind if kind in NUMBER_KINDS else "continuous"
    return next(kind for kind, suitable in LIKELIHOODS.items() if likelihood in suitable)


LONGEST_MARK = 24
"""Longer cells, and those with spaces, are texts rather than marks of a missing value."""


def check_values(name: str, kind: str, request: ColumnOptions, seen: pd.Series, date_order: str | None) -> None:
    """Check that a column's values are of the kind that a user wants.

    Args:
        name: the column's name.
        kind: the kind.
        request: what the user says.
        seen: the values of the training rows that are not missing.
        date_order: how its texts write dates, or None.

    Raises:
        UsageError: a value is not of the kind; the message shows the first.

    """
    none = np.zeros(len(seen), dtype=bool)
    if not len(seen):
        raise UsageError(f"column '{name}' can't be {kind}, as no training row has a value; leave out its kind")
    wrong, what = none, ""
    if kind in NUMBER_KINDS:
        numbers, wrong = numbers_of(seen, none)
        what = "not a number"
        if not wrong.any():
            wrong, what = _unsuitable_numbers(numbers, kind)
    elif kind == "datetime":
        _, wrong = days_of(seen, none, date_order)
        what = "not a date such as 2021-03-04"
    elif request.levels is not None:
        names = level_names_of(seen, none)
        wrong = np.array([level not in request.levels for level in names])
        what = "not one of the levels " + listed(request.levels)
    elif kind == "categorical" and len(common_levels(Counter(level_names_of(seen, none).tolist()))) < 2:
        raise UsageError(f"column '{name}' can't be categorical, as too few rows share a value; leave it out")
    elif kind == "binary" and len(set(level_names_of(seen, none))) != 2:
        n_values = len(set(level_names_of(seen, none)))
        raise UsageError(f"column '{name}' can't be binary, as it has {n_values} different values; use another kind")
    elif kind == "ordinal" and storage_of(seen) == "text":
        raise UsageError(f"ordinal column '{name}' is text, whose order is not known; list its levels in order")
    if wrong.any():
        cell = str(seen.iloc[int(np.argmax(wrong))])
        is_mark = cell.split() == [cell] and len(cell) <= LONGEST_MARK
        cure = f"count it as missing with {option('missing', cell)}" if is_mark else "empty such cells"
        shown = f"'{cell}'" if is_mark else short(cell)
        raise UsageError(
            f"column '{name}' can't be {kind}, as it holds {shown}, which is {what}; use another kind, or {cure}"
        )


def _unsuitable_numbers(numbers: Array, kind: str) -> tuple[Array, str]:
    if kind == "positive":
        return numbers < 0.0, "less than 0"
    if kind == "count":
        return (numbers < 0.0) | (numbers != np.round(numbers)), "not a whole number of at least 0"
    return np.zeros(len(numbers), dtype=bool), ""


def check_size(name: str, numbers: Array, rows: Sequence[object]) -> None:
    """Check that a column's numbers, NaN where there is none, can be squared and added up.

    Raises:
        UsageError: one is too large; the message names the first row.

    """
    with np.errstate(invalid="ignore"):
        wrong = np.abs(numbers) > LARGEST
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UsageError(
            f"column '{name}' is {numbers[row]:g} in row {rows[row]}, which is too large to compute with; correct it, "
            f"or count it as missing with {option('missing', f'{numbers[row]:g}')}"
        )


def check_weights(name: str, numbers: Array, rows: Sequence[object]) -> None:
    """Check that weights are positive and finite.

    Raises:
        UsageError: one is not; the message names the first row.

    """
    wrong = ~(np.isfinite(numbers) & (numbers > 0.0))
    if wrong.any():
        row = rows[int(np.argmax(wrong))]
        raise UsageError(
            f"weight column '{name}' has no number greater than 0 in row {row}; fill it in or remove the row"
        )


def listed(names: Iterable[str]) -> str:
    """Return names in quotes with commas, cut after a dozen."""
    names = list(names)
    text = ", ".join(f"'{name}'" for name in names[:SHOWN])
    return text + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
