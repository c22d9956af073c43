"""From a table's training rows to its schema: the rules for single columns, then those for all columns together."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from deepmix.data.column_requests import (
    check_likelihood_suits,
    check_options,
    check_size,
    check_values,
    check_weights,
    kind_for,
)
from deepmix.data.column_schema import LEVEL_KINDS, LIKELIHOODS, NUMBER_KINDS, ColumnSchema
from deepmix.data.column_statistics import with_facts, with_levels, with_statistics
from deepmix.data.column_values import days_of, is_missing, level_names_of, numbers_of, storage_of
from deepmix.data.dates import date_order
from deepmix.data.duplicates import repeated_columns
from deepmix.data.kinds import kind_of
from deepmix.data.number_kinds import FEW_VALUES, Decision, continuous, whole_numbers
from deepmix.data.schema import TableSchema
from deepmix.data.table_file import is_column_number
from deepmix.data.table_options import ColumnOptions, TableOptions
from deepmix.errors import UsageError, option
from deepmix.maths import Array

if TYPE_CHECKING:
    import pandas as pd

MATRIX_COLUMNS = 32
"""Least number of columns of a matrix of measurements, such as pixels, genes or sensors."""


MATRIX_FRACTION = 0.9
"""Least fraction of its modelled columns that hold numbers with more than two values."""


ROW_NAMES = Decision("identifier", "names the rows, as requested")


WEIGHT = Decision("weight", "weighs the rows, as requested")


class _Column(NamedTuple):
    """A column while the rules look at it."""

    values: pd.Series
    """The training rows, in the file's order."""
    missing: Array
    decision: Decision
    request: ColumnOptions
    date_order: str | None = None


def infer_schema(
    frame: pd.DataFrame, train_rows: Array, options: TableOptions, label_column: str | None = None
) -> TableSchema:
    """Return the schema of a table; kinds, levels and statistics come from its training rows alone, labels from none.

    Args:
        frame: a table with unique names of columns.
        train_rows: numbers of the training rows from 0, or a truth value for each row.
        options: what the user says about the columns, which overrides the rules.
        label_column: the column of labels, by name or number from 1, or None.

    Raises:
        UsageError: the options name a column that is not there or ask for a kind that a column can't have, or no column
            can be modelled.

    """
    names = [str(name) for name in frame.columns]
    if label_column not in names and is_column_number(label_column, len(names)):
        label_column = names[int(str(label_column)) - 1]
    check_options(names, options, label_column)
    rows = np.asarray(train_rows)
    rows = np.flatnonzero(rows) if rows.dtype == bool else np.sort(rows)
    uses = _uses(options, label_column)
    columns: dict[str, _Column] = {}
    for position, name in enumerate(names):
        values = frame.iloc[rows, position]
        missing = is_missing(values, options.missing)
        if name not in uses:
            check_size(name, numbers_of(values, missing)[0], (rows + 1).tolist())
        if uses.get(name) == WEIGHT:
            check_weights(name, numbers_of(values, missing)[0], (rows + 1).tolist())
        if name in uses:
            columns[name] = _Column(values, missing, uses[name], ColumnOptions())
        else:
            request = options.columns.get(name, ColumnOptions())
            decision, order = _decide(name, values, missing, request, is_first=position == 0)
            columns[name] = _Column(values, missing, decision, request, order)
    columns = _without_repeats(_as_matrix(columns))
    schema = TableSchema(tuple(_described(name, column) for name, column in columns.items()), tuple(options.missing))
    if not schema.modelled:
        reasons = "; ".join(f"'{column.name}': {column.reason}" for column in schema.columns[:4])
        raise UsageError(
            f"no column of the table can be modelled ({reasons}); keep a column that tells rows apart, or say what one "
            f"is with {option('column', 'NAME=KIND')}"
        )
    return schema


def _uses(options: TableOptions, label_column: str | None) -> dict[str, Decision]:
    """Return the kinds that options give to columns by their use."""
    uses = {name: Decision("dropped", "left out, as requested") for name in options.drop}
    uses |= {name: Decision("condition", "known to encoder and decoder, not modelled") for name in options.conditions}
    if options.id_column is not None:
        uses[options.id_column] = ROW_NAMES
    if options.weight_column is not None:
        uses[options.weight_column] = WEIGHT
    if label_column is not None:
        uses[label_column] = Decision("label", "for scoring only")
    return uses


def _decide(
    name: str, values: pd.Series, missing: Array, request: ColumnOptions, *, is_first: bool
) -> tuple[Decision, str | None]:
    """Return the kind of a column by the user's request, else by the rules."""
    if request == ColumnOptions():
        return kind_of(name, values, missing, is_first=is_first)
    seen = values[~missing]
    order = None
    if request.kind is not None or request.levels is not None:
        decision = Decision(request.kind or "ordinal", "as requested")
        if decision.kind == "datetime" and storage_of(seen) == "text":
            order = date_order(level_names_of(seen, np.zeros(len(seen), dtype=bool)))
    else:
        inferred, order = kind_of(name, values, missing, is_first=is_first)
        kind = kind_for(inferred.kind, request.likelihood)
        decision = inferred if kind == inferred.kind else Decision(kind, "as its likelihood requires")
    if decision.kind in LIKELIHOODS:
        check_values(name, decision.kind, request, seen, order)
    if request.likelihood is not None:
        check_likelihood_suits(name, decision.kind, request.likelihood)
        return decision._replace(likelihood=request.likelihood), order
    if decision.kind == "continuous" and decision.likelihood is None:
        numbers, _ = numbers_of(seen, np.zeros(len(seen), dtype=bool))
        decision = decision._replace(likelihood=continuous(numbers).likelihood)
    return decision, order


def _as_matrix(columns: dict[str, _Column]) -> dict[str, _Column]:
    """Return the columns with all numbers continuous, if the table is a matrix of measurements."""
    modelled = {name: column for name, column in columns.items() if column.decision.kind in LIKELIHOODS}
    numbers = [name for name, column in modelled.items() if storage_of(column.values[~column.missing]) == "number"]
    many = [name for name in numbers if modelled[name].decision.kind != "binary"]
    if len(many) < MATRIX_COLUMNS or len(many) < MATRIX_FRACTION * len(modelled):
        return columns
    decision = Decision("continuous", f"one of {len(numbers)} columns of numbers, a matrix of measurements")
    free = [name for name in numbers if columns[name].request == ColumnOptions()]
    return columns | {
        name: columns[name]._replace(decision=decision._replace(likelihood="gaussian-per-column")) for name in free
    }


def _without_repeats(columns: dict[str, _Column]) -> dict[str, _Column]:
    """Return the columns; those that repeat an earlier one are duplicates, unless the user says what they are."""
    numbers: dict[str, Array] = {}
    levels: dict[str, Array] = {}
    for name, (values, missing, decision, _, order) in columns.items():
        if decision.kind in ("binary", "categorical") or (decision.kind == "ordinal" and storage_of(values) == "text"):
            levels[name] = level_names_of(values, missing)
        elif decision.kind in NUMBER_KINDS or decision.kind == "ordinal":
            numbers[name], _ = numbers_of(values, missing)
        elif decision.kind == "datetime":
            numbers[name], _ = days_of(values, missing, order)
    repeats = repeated_columns(numbers, levels)
    duplicates = {
        name: columns[name]._replace(decision=Decision("duplicate", f"{how} '{first}'"))
        for name, (first, how) in repeats.items()
        if columns[name].request == ColumnOptions()
    }
    return columns | duplicates


def _described(name: str, column: _Column) -> ColumnSchema:
    """Return the schema of a column with the statistics of its training rows."""
    values, missing, decision, request, order = column
    kind: Any = decision.kind
    schema = ColumnSchema(name, kind, decision.reason, names_rows=decision == ROW_NAMES)
    schema = with_facts(schema, values, missing)
    if kind == "condition":
        return _condition(schema, values, missing)
    if schema.names_rows:
        return _row_names(schema, values, missing)
    if kind not in LIKELIHOODS:
        return schema
    likelihood = decision.likelihood or LIKELIHOODS[kind][0]
    schema = dataclasses.replace(schema, likelihood=likelihood, date_order=order)
    schema = with_statistics(schema, values, missing, request.levels)
    if kind in LEVEL_KINDS or not schema.strays:
        return schema
    what = "dates" if kind == "datetime" else "numbers"
    examples = ", ".join(f"'{cell}'" for cell in schema.strays)
    return dataclasses.replace(
        schema, reason=f"{schema.reason}; cells that are not {what} ({examples}) count as missing"
    )


def _condition(schema: ColumnSchema, values: pd.Series, missing: Array) -> ColumnSchema:
    """Return a condition with its levels, or with mean and spread if it is numbers with more than a dozen values."""
    if schema.distinct < 2:
        raise UsageError(f"condition column '{schema.name}' has fewer than two different values; leave it out")
    if storage_of(values) == "number":
        numbers, _ = numbers_of(values, missing)
        x = numbers[np.isfinite(numbers)]
        if len(x) and (schema.distinct > FEW_VALUES or not whole_numbers(x)):
            return dataclasses.replace(schema, mean=float(x.mean()), spread=float(x.std()) or 1.0)
    return with_levels(schema, values, missing)


def _row_names(schema: ColumnSchema, values: pd.Series, missing: Array) -> ColumnSchema:
    """Return the column that names the rows; its reason says how many rows share a name."""
    n_shared = int(values[~missing].duplicated(keep=False).sum())
    if n_shared == 0:
        return schema
    return dataclasses.replace(
        schema, reason=f"{schema.reason}; {n_shared} training rows share a name with another row"
    )
