"""`deepmix inspect`, and the flags of tables that it shares with other commands."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from deepmix.cli.table_flags import table_flags
from deepmix.data import ColumnOptions, TableOptions
from tests.cli.conftest import refuses


@pytest.fixture
def customers(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    lines = ["customer_id,age,plan,spend,half,price,empty,note"]
    for i in range(100):
        age = "" if i % 10 == 0 else round(float(random.normal(50, 9)), 1)
        spend = round(float(np.exp(random.normal(5, 1))), 2)
        plan = ["basic", "plus", "pro"][random.integers(3)]
        note = f"customer {i} wrote these words"
        lines.append(f"{1000 + i},{age},{plan},{spend},{spend / 2:.3f},9.99,,{note}")
    lines += ["1100,,,,,,,", "1101,,,,,,,"]
    path = tmp_path / "customers.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_table_and_the_facts(deepmix, customers):
    result = deepmix("inspect", customers)
    assert result.returncode == 0, result.stderr
    rows = {line.split()[0]: " ".join(line.split()) for line in result.stdout.splitlines() if line.strip()}
    assert rows["customer_id"].startswith("customer_id identifier - 102 - 1000 to 1101 ")
    assert rows["age"].startswith("age continuous gaussian-per-column")
    assert "11.8 %" in rows["age"]  # 12 of 102
    assert rows["plan"].startswith("plan categorical categorical 3 2.0 % ")
    assert rows["spend"].startswith("spend positive log-normal")
    assert rows["half"].startswith("half duplicate")
    assert "102 rows; 2 without a value in the modelled columns; 1 repeat an earlier row." in result.stdout
    for line in ("Left out as constant: price", "Left out as empty: empty", "Left out as duplicate: half"):
        assert line in result.stdout
    assert "Training models 3 of 8 columns: 5 features, 3 cells (1 gaussian-per-column, 1 categorical, 1 log-normal)."


def test_json(deepmix, customers):
    values = json.loads(deepmix("inspect", customers, "--json").stdout)
    assert [(column["name"], column["kind"]) for column in values["columns"]] == [
        *(("customer_id", "identifier"), ("age", "continuous"), ("plan", "categorical"), ("spend", "positive")),
        *(("half", "duplicate"), ("price", "constant"), ("empty", "empty"), ("note", "text")),
    ]
    assert [values[key] for key in ("rows", "rows_with_nothing", "duplicated_rows")] == [102, 2, 1]
    assert (values["features"], values["cells"]) == (5, 3)
    assert [block["likelihood"] for block in values["blocks"]] == ["gaussian-per-column", "categorical", "log-normal"]


def test_toml_is_what_columns_takes(deepmix, customers, tmp_path):
    text = deepmix("inspect", customers, "--toml", "--column", "spend=continuous:student-t", "--drop", "age").stdout
    (tmp_path / "schema.toml").write_text(text)
    assert deepmix("inspect", customers, "--columns", "schema.toml", "--toml").stdout == text
    assert '"spend" = { kind = "continuous", likelihood = "student-t" }' in text
    assert 'drop = ["age"]' in text


def test_errors_name_flags(deepmix, customers, tmp_path):
    refuses(deepmix("inspect", customers, "--drop", "nix"), 2, "there is no column 'nix'; the columns are:")
    both = ("--drop", "age", "--condition", "age")
    refuses(deepmix("inspect", customers, *both), 2, "'age' is named by --drop and by --condition")
    refuses(deepmix("inspect", customers, "--column", "age"), 2, "write it as NAME=KIND or NAME=KIND:LIKELIHOOD")
    refuses(deepmix("inspect", customers, "--column", "plan=count"), 2, "--missing ", "is not a number")
    refuses(deepmix("inspect", tmp_path / "none.csv"), 2, "there is no file")
    refuses(deepmix("inspect", customers, "--json", "--toml"), 2, "exclude each other")


def options_of(*words: object) -> TableOptions:
    """Return the options that a command with the shared flags gets."""
    seen = []

    @click.command()
    @table_flags
    @click.option("--other")
    def command(table_options: TableOptions, other: str | None) -> None:
        assert other is None
        seen.append(table_options)

    result = CliRunner().invoke(command, list(map(str, words)), catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return seen[0]


def test_flags(tmp_path):
    assert options_of() == TableOptions()
    words = "--column a=b=count --column c=:student-t --drop d --drop e --id-column f --weight-column g --condition h"
    assert options_of(*words.split(), "--missing", "?") == TableOptions(
        {"a=b": ColumnOptions("count"), "c": ColumnOptions(None, "student-t")}, ("d", "e"), "f", "g", ("h",), ("?",)
    )


def test_a_flag_goes_before_the_file(tmp_path):
    path = tmp_path / "schema.toml"
    path.write_text('drop = ["d"]\nid_column = "i"\n[columns]\na = "count"\nb = "binary"\n')
    options = options_of("--columns", path, "--column", "a=ordinal", "--drop", "e", "--id-column", "j")
    assert options == TableOptions(
        {"a": ColumnOptions("ordinal"), "b": ColumnOptions("binary")}, drop=("d", "e"), id_column="j"
    )
