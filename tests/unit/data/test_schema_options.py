"""What a user says about columns: kinds, likelihoods, levels, uses, and the file that holds them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from deepmix.data import ColumnOptions, TableOptions, TableSchema, infer_schema, read_table_options, schema_toml
from deepmix.errors import UsageError

N = 120


RANDOM = np.random.default_rng(5)


FRAME = pd.DataFrame(
    {
        "key": [f"k{i}" for i in range(N)],
        "age": RANDOM.integers(18, 90, N),
        "income": np.exp(RANDOM.normal(10, 2, N)).round(2),
        "size": RANDOM.choice(["small", "middle", "large"], N),
        "flag": RANDOM.choice(["no", "yes"], N),
        "change": RANDOM.normal(size=N),
        "site": RANDOM.choice(["p", "q"], N),
        "weight": 1.5,
        "price": 14.62,
        'odd "name"\n': RANDOM.poisson(1.0, N),
        "kind": RANDOM.choice(["a", "b"], N),
    }
)


def schema_of(label: str | None = None, **options: object) -> TableSchema:
    return infer_schema(FRAME, np.arange(N), TableOptions(**options), label)


def column(name: str, request: ColumnOptions):
    return next(c for c in schema_of(columns={name: request}).columns if c.name == name)


@pytest.mark.parametrize(
    ("name", "kind", "likelihood", "expected"),
    [
        ("age", "count", None, ("count", "negative-binomial")),
        ("age", "count", "poisson", ("count", "poisson")),
        ("age", None, "poisson", ("count", "poisson")),
        ("age", None, "student-t", ("continuous", "student-t")),
        ("age", None, "my-plugin", ("continuous", "my-plugin")),
        ("age", "categorical", None, ("categorical", "categorical")),
        ("income", "continuous", None, ("continuous", "student-t")),
        ("income", None, "gaussian-per-column", ("continuous", "gaussian-per-column")),
        ("flag", "binary", "categorical", ("binary", "categorical")),
        ("change", "dropped", None, ("dropped", None)),
        ("key", "text", None, ("text", None)),
    ],
)
def test_requests_go_before_the_rules(name, kind, likelihood, expected):
    schema = column(name, ColumnOptions(kind, likelihood))
    assert (schema.kind, schema.likelihood) == expected


def test_levels_of_an_ordinal_column():
    levels = ("small", "middle", "large")
    schema = column("size", ColumnOptions(levels=levels))
    assert (schema.kind, schema.levels) == ("ordinal", levels)
    assert schema.mean == pytest.approx(FRAME["size"].map({"small": 0, "middle": 1, "large": 2}).mean())


@pytest.mark.parametrize(
    ("name", "request_", "words"),
    [
        ("size", ColumnOptions("count"), "holds '.*', which is not a number"),
        ("change", ColumnOptions("positive"), "less than 0"),
        ("income", ColumnOptions("count"), "not a whole number"),
        ("size", ColumnOptions("binary"), "3 different values"),
        ("size", ColumnOptions("datetime"), "not a date"),
        ("size", ColumnOptions("ordinal"), "list its levels in order"),
        ("size", ColumnOptions(levels=("small", "large")), "'middle', which is not one of the levels"),
        ("key", ColumnOptions("categorical"), "too few rows share a value"),
        ("age", ColumnOptions("quantity"), "unknown kind 'quantity' of column 'age'; choose one of: binary, "),
        ("size", ColumnOptions("categorical", "poisson"), "does not suit .*; choose one of: categorical"),
        ("age", ColumnOptions("count", "gaussian-per-column"), "choose one of: negative-binomial, poisson"),
        ("size", ColumnOptions(likelihood="poisson"), "not a number"),
        ("key", ColumnOptions("text", "bernoulli"), "not modelled"),
        ("age", ColumnOptions("count", levels=("1",)), "only ordinal columns take levels"),
        ("missing", ColumnOptions("count"), "no column 'missing'; the columns are: 'key', 'age'"),
    ],
)
def test_requests_that_a_column_cannot_meet(name, request_, words):
    with pytest.raises(UsageError, match=words):
        column(name, request_)


def test_uses_of_columns():
    schema = schema_of(
        "kind", drop=("change",), id_column="age", weight_column="weight", conditions=("site",), missing=("-1",)
    )
    kinds = {c.name: c.kind for c in schema.columns}
    assert [kinds[name] for name in ("change", "age", "weight", "site", "kind", "price")] == [
        *("dropped", "identifier", "weight", "condition", "label", "constant")
    ]
    assert schema.row_names(FRAME).tolist() == FRAME["age"].astype(str).tolist()
    assert schema_of(str(len(FRAME.columns))).columns[-1].kind == "label"


def test_names_of_rows_that_are_not_unique_are_counted():
    frame = pd.DataFrame({"city": ["Ulm", "Bonn", "Ulm", "Trier", "Bonn", "Ulm", None, None], "x": np.arange(8.0) ** 2})
    schemas = [infer_schema(frame, rows, TableOptions(id_column="city")) for rows in (range(8), [0, 1, 3])]
    assert [schema.columns[0].reason for schema in schemas] == [
        "names the rows, as requested; 5 training rows share a name with another row", "names the rows, as requested",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"drop": ("nix", "nax")}, "no column 'nix', 'nax'; the columns are: 'key'"),
        ({"drop": ("age",), "id_column": "age"}, "'age' is named by drop and by id_column"),
        ({"drop": ("age",), "columns": {"age": ColumnOptions("count")}}, "'age' is named by drop and has a kind"),
        ({"conditions": ("price",)}, "fewer than two different values"),
        ({"weight_column": "change"}, "no number greater than 0 in row"),
    ],
)
def test_uses_that_clash(options, words):
    with pytest.raises(UsageError, match=words):
        schema_of(**options)


def test_a_schema_as_toml_reads_back_to_the_same_schema(tmp_path):
    first = schema_of(
        "kind",
        columns={"size": ColumnOptions(levels=("small", "middle", "large"))},
        drop=("change",), id_column="key", weight_column="weight", conditions=("site",), missing=("-1", "n.k."),
    )  # fmt: skip
    path = tmp_path / "schema.toml"
    path.write_text(schema_toml(first), "utf-8")
    options = read_table_options(path)
    assert options.missing == ("-1", "n.k.")
    assert 'odd "name"\n' in options.columns
    second = infer_schema(FRAME, np.arange(N), options, "kind")
    for before, after in zip(first.columns, second.columns, strict=True):
        assert (before.name, before.kind, before.likelihood) == (after.name, after.kind, after.likelihood)
        assert (before.levels, before.mean, before.names_rows) == (after.levels, after.mean, after.names_rows)
    assert schema_toml(second) == schema_toml(schema_of("kind", **vars(options)))


def test_a_file_of_options(tmp_path):
    path = tmp_path / "schema.toml"
    path.write_text(
        'drop = ["a"]\nconditions = ["site"]\nmissing = [-999, "?"]\n[columns]\nage = "continuous"\n'
        '[columns.income]\nkind = "ordinal"\nlevels = ["low", "high"]\n'
    )
    columns = {"age": ColumnOptions("continuous"), "income": ColumnOptions("ordinal", None, ("low", "high"))}
    assert read_table_options(path) == TableOptions(columns, drop=("a",), conditions=("site",), missing=("-999", "?"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dorp = ['a']", "unknown key 'dorp' in '.*'; choose one of: columns, drop, "),
        ("[columns.age]\nkinds = 'count'", "unknown key 'kinds' of column 'age'"),
        ("[columns]\nage = 3", "must be a kind or a table of kind, likelihood, levels"),
        ("columns = 3", "must be a table"),
        ("drop = 'a'", "must be a list such as"),
        ("id_column = 3", "must be text in quotes"),
        ("[columns]\nage = 'quantity'", "unknown kind"),
        ("drop = [", "can't be read"),
    ],
)
def test_a_file_with_a_fault(tmp_path, text, words):
    path = tmp_path / "schema.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=words):
        read_table_options(path)


@pytest.mark.parametrize(
    ("cell", "shown", "cure"),
    [
        ("unknown", "'unknown'", "count it as missing with missing=unknown"),
        ('said "no",\nand left for good', "'said \"no\", and left f...'", "empty such cells"),
    ],
)
def test_a_cell_of_another_kind_is_shown_on_one_line(cell, shown, cure):
    frame = pd.DataFrame({"age": [cell, *(str(i % 9) for i in range(40))], "other": np.arange(41) % 7})
    with pytest.raises(UsageError) as failure:
        infer_schema(frame, np.arange(41), TableOptions(columns={"age": ColumnOptions("count")}))
    assert f"as it holds {shown}, which is not a number; use another kind, or {cure}" in str(failure.value)
