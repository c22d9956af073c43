"""docs/tables.md states the rules of the code: kinds, likelihoods and thresholds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deepmix.data import (
    ColumnOptions,
    duplicates,
    kinds,
    missing_marks,
    number_kinds,
    read_table_options,
    schema_inference,
)
from deepmix.data.column_schema import LIKELIHOODS, SETTABLE_KINDS
from deepmix.inference.imputation import N_DRAWS

PAGE = (Path(__file__).parents[2] / "docs" / "tables.md").read_text("utf-8")


UNWRAPPED = " ".join(PAGE.split())


TABLE_ROW = re.compile(r"^\| `([a-z]+)` \|.*\| ([^|]+) \|$", re.MULTILINE)


def test_kinds_and_their_likelihoods_are_those_of_the_code():
    section = page_section("What each kind becomes")
    listed = {kind: tuple(re.findall(r"`([a-z-]+)`", cell)) for kind, cell in TABLE_ROW.findall(section)}
    assert listed == LIKELIHOODS


@pytest.mark.parametrize("kind", SETTABLE_KINDS)
def test_every_kind_is_in_the_table_of_kinds(kind):
    assert re.search(rf"^\|.*`{kind}`.*\|$", page_section("How a column gets its kind"), re.MULTILINE)


@pytest.mark.parametrize(
    "sentence",
    [
        f"at least {kinds.CLEAN:.0%} of the cells are dates".replace("%", " %"),
        f"with fewer than {number_kinds.LEAST_ROWS} rows only if all values differ",
        f"At most {number_kinds.FEW_VALUES} values in even steps",
        f"`ordinal` if there are at least {number_kinds.ROWS_PER_STEP} rows per value",
        f"At most {number_kinds.FEW_CODES} values above 0 with at least {number_kinds.ROWS_PER_CODE} rows per value, "
        f"which lie more than {number_kinds.GAPPED:.0f} times further apart",
        f"a median of at most {number_kinds.SMALL:.0f}; 99 % of the values at most {number_kinds.GREATEST_COUNT:,.0f}",
        f"exceeds {number_kinds.SKEWED}, that of the logarithms is smaller, and q95 is more than "
        f"{number_kinds.STRETCHED:.0f} times q05",
        f"If the excess kurtosis exceeds {number_kinds.HEAVY_TAILED:.0f}, the likelihood is Student's t",
        f"at least {schema_inference.MATRIX_COLUMNS} columns of numbers",
        f"at least {100 * schema_inference.MATRIX_FRACTION:.0f} % of the modelled columns",
        f"above {duplicates.LEAST_CORRELATION}, and a median residual of at most {duplicates.MOST_RESIDUAL} robust",
        f"Above {duplicates.MOST_COLUMNS:,} columns with values in the same rows",
        f"at most {kinds.MOST_LEVELS} common levels",
        f"fewer than {1000 * kinds.LEAST_FRACTION:.0f} in 1,000 rows",
        f"draws {N_DRAWS} times y",
    ],
)
def test_thresholds_are_those_of_the_code(sentence):
    assert sentence in UNWRAPPED


def test_words_of_identifiers_and_marks_of_missing_values_are_those_of_the_code():
    words = re.findall(r"`([a-z]+)`", page_section("How a column gets its kind").split("the last word of")[1])
    assert set(words[: len(kinds.SURE_ID_WORDS)]) == kinds.SURE_ID_WORDS
    words = re.findall(r"`([a-z]+)`", page_section("How a column gets its kind").split("the last word of")[2])
    assert set(words[: len(kinds.NUMBER_WORDS)]) == kinds.NUMBER_WORDS
    marks = UNWRAPPED.split("or one of")[1].split("in any capitalisation")[0]
    assert {mark.lower() for mark in re.findall(r"`([^`]+)`", marks)} == missing_marks.USUAL_MARKS - {""}


def test_the_schema_file_of_the_page_is_read(tmp_path):
    file = tmp_path / "columns.toml"
    file.write_text(re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0], "utf-8")
    options = read_table_options(file)
    assert (options.drop, options.id_column, options.missing) == (("comment",), "customer_id", ("-999",))
    assert options.columns == {
        "visits": ColumnOptions("count"),
        "income": ColumnOptions(likelihood="student-t"),
        "satisfaction": ColumnOptions("ordinal", levels=("low", "medium", "high")),
    }


def page_section(heading):
    return PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
