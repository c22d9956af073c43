"""The rules that choose a column's kind: each with a column that it is for and one that it must leave alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from deepmix.data import OTHER, ColumnSchema, TableOptions, infer_schema
from deepmix.data.number_kinds import excess_kurtosis, quantile_skewness, robust_scale
from deepmix.errors import UsageError

N = 400


RANDOM = np.random.default_rng(0)


NORMAL = RANDOM.normal(size=N)


def column(values: object, name: str = "x", options: TableOptions | None = None) -> ColumnSchema:
    """Return the schema of one column, in a table with another one that can be modelled."""
    frame = pd.DataFrame({"beside": NORMAL[: len(pd.Series(values))], name: values})
    schema = infer_schema(frame, np.arange(len(frame)), options or TableOptions(), None)
    return schema.columns[1]


WHOLE_COUNTS = RANDOM.poisson(1.0, N).clip(max=5)


@pytest.mark.parametrize(
    ("values", "kind", "likelihood"),
    [
        (RANDOM.normal(7, 3, N), "continuous", "gaussian-per-column"),
        (np.where(np.arange(N) == 7, 99999.0, RANDOM.normal(50, 1, N)), "continuous", "student-t"),
        (RANDOM.standard_cauchy(N), "continuous", "student-t"),
        (np.exp(NORMAL), "positive", "log-normal"),
        (np.exp(NORMAL) * (RANDOM.random(N) > 0.2), "positive", "log-normal"),
        (np.exp(NORMAL * 0.1), "continuous", "gaussian-per-column"),
        (np.round(np.exp(NORMAL + 10)), "positive", "log-normal"),
        (WHOLE_COUNTS, "count", "negative-binomial"),
        (WHOLE_COUNTS.astype(float), "count", "negative-binomial"),
        (RANDOM.negative_binomial(0.5, 0.02, N), "count", "negative-binomial"),
        (RANDOM.poisson(40, N), "continuous", "gaussian-per-column"),
        (RANDOM.integers(1, 6, N), "ordinal", "ordinal"),
        (RANDOM.choice([4, 6, 8], N), "ordinal", "ordinal"),
        (RANDOM.choice([5, 10, 20, 50, 100], N), "ordinal", "ordinal"),
        (RANDOM.choice([0.0, 0.5, 1.0], N), "ordinal", "ordinal"),
        (RANDOM.choice([408, 415, 510], N), "categorical", "categorical"),
        (RANDOM.choice(["a", "b", "c"], N), "categorical", "categorical"),
        (RANDOM.choice(["no", "yes"], N), "binary", "bernoulli"),
        (RANDOM.random(N) > 0.5, "binary", "bernoulli"),
        (RANDOM.choice([1, 2], N), "binary", "bernoulli"),
        (pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(N), "D"), "datetime", "gaussian-per-column"),
    ],
)
def test_modelled_kinds(values, kind, likelihood):
    schema = column(values)
    assert (schema.kind, schema.likelihood) == (kind, likelihood)


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("customer_id", RANDOM.permutation(N) * 7 + 100_000, "identifier"),
        ("Unnamed: 0", np.arange(N), "identifier"),
        ("x", RANDOM.permutation(N), "identifier"),
        ("x", [f"SKU{i}" for i in range(N)], "identifier"),
        ("body_mass", RANDOM.permutation(np.arange(2000, 8000, 10))[:N] + RANDOM.integers(0, 9, N), "continuous"),
        ("shop_id", RANDOM.integers(0, 20, N), "categorical"),
        ("patient_id", RANDOM.integers(0, 250, N), "identifier"),
        ("zip_code", RANDOM.choice([10115, 20095, 80331, 50667], N), "categorical"),
        ("note", [f"this is the comment of customer {i}" for i in range(N)], "text"),
        ("genus", [f"genus{i // 2 if i < 40 else i}" for i in range(N)], "text"),
        ("x", [14.62] * N, "constant"),
        ("x", [None] * N, "empty"),
        ("x", [np.nan] * N, "empty"),
    ],
)
def test_kinds_by_name_and_what_is_left_out(name, values, kind):
    schema = column(values, name)
    assert schema.kind == kind
    assert schema.reason


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("customer_id", [1001, 1007, 1003], "identifier"),
        ("customer_id", [1001, 1007, 1001, 1009], "continuous"),
        ("customer_id", [1001.5, 1007.0, 1003.0], "continuous"),
        ("glycemic_index", [31, 55, 70], "continuous"),
        ("number", [31, 55, 70], "continuous"),
        ("age", [31, 55, 70], "continuous"),
    ],
)
def test_in_few_rows_only_a_name_without_doubt_makes_an_identifier(name, values, kind):
    frame = pd.DataFrame({name: values, "other": np.linspace(0.0, 1.5, len(values))})
    assert infer_schema(frame, np.arange(len(values)), TableOptions(), None).columns[0].kind == kind


def test_the_first_column_counts_rows_if_it_only_rises():
    rising = np.cumsum(RANDOM.integers(1, 50, N))
    frame = pd.DataFrame({"first": rising, "second": rising**2, "beside": NORMAL})
    kinds = [c.kind for c in infer_schema(frame, np.arange(N), TableOptions(), None).columns]
    assert kinds[0] == "identifier"
    assert kinds[1] != "identifier"


def test_rare_levels_share_one():
    values = ["a"] * 300 + ["b"] * 98 + ["c", "d"]
    schema = column(values)
    assert schema.levels == ("a", "b", OTHER)
    assert schema.fractions == pytest.approx((0.75, 0.245, 0.005))
    many = [f"level{i}" for i in range(60) for _ in range(5)]
    levels = column(many).levels
    assert levels is not None
    assert len(levels) == 51
    assert levels[-1] == OTHER


def test_stray_cells_of_a_clean_column_are_missing_and_said():
    cells = [f"{value:.3f}" for value in NORMAL]
    schema = column(["n.k.", *cells[1:]])
    assert (schema.kind, schema.strays) == ("continuous", ("n.k.",))
    assert "'n.k.'" in schema.reason
    assert schema.missing == 1 / N
    assert column([*["n.k."] * 40, *cells[40:]]).kind == "text"


def test_a_mark_of_missing_values_is_pointed_out():
    ages = RANDOM.integers(18, 90, N)
    marked = np.where(np.arange(N) % 10 == 0, -999, ages)
    assert "; -999 in 40 rows may mark missing values" in column(marked).reason
    assert "mark" not in column(np.where(np.arange(N) == 5, -999, ages)).reason
    assert "mark" not in column(np.where(ages == 89, 99, ages)).reason
    assert "mark" not in column(marked, options=TableOptions(missing=("-999",))).reason


def test_only_training_rows_count():
    frame = pd.DataFrame({"x": np.r_[NORMAL[:200], np.full(200, 1e6)], "level": ["a", "b", "c"] * 133 + ["d"]})
    schema = infer_schema(frame, np.arange(200), TableOptions(), None)
    x, level = schema.columns
    assert x.mean == pytest.approx(NORMAL[:200].mean())
    assert x.spread == pytest.approx(NORMAL[:200].std())
    assert level.levels == ("a", "b", "c")
    shuffled = infer_schema(frame, RANDOM.permutation(200), TableOptions(), None)
    assert shuffled == schema == infer_schema(frame, np.arange(400) < 200, TableOptions(), None)


def test_labels_change_nothing():
    frame = pd.DataFrame({"x": NORMAL, "level": RANDOM.choice(["a", "b", "c"], N), "y": RANDOM.choice(["p", "q"], N)})
    other = frame.assign(y=RANDOM.normal(size=N))
    first, second = (infer_schema(table, np.arange(N), TableOptions(), "y") for table in (frame, other))
    assert first.columns[:2] == second.columns[:2]
    assert first.columns[2].kind == second.columns[2].kind == "label"


def test_duplicates_name_the_first_column():
    minutes = np.round(np.abs(NORMAL) * 100, 1)
    outlier = np.where(np.arange(N) == 0, 1e9, 0.0)
    frame = pd.DataFrame(
        {
            "minutes": minutes,
            "charge": np.round(minutes * 0.17, 2),
            "rest": 1440.0 - minutes,
            "code": (state := RANDOM.choice(["a", "b", "c"], N)),
            "state": pd.Series(state).map({"a": "Ohio", "b": "Iowa", "c": "Utah"}),
            "left": NORMAL + outlier,
            "right": RANDOM.normal(size=N) + outlier,
            "near": minutes + RANDOM.normal(size=N),
        }
    )
    schema = infer_schema(frame, np.arange(N), TableOptions(), None)
    duplicates = {c.name: c.reason for c in schema.columns if c.kind == "duplicate"}
    assert set(duplicates) == {"charge", "rest", "state"}
    assert duplicates["charge"] == "it is a linear function of 'minutes'"
    assert duplicates["state"].endswith("'code'")


def test_columns_that_are_missing_elsewhere_are_no_duplicates():
    frame = pd.DataFrame({"a": NORMAL, "b": np.where(np.arange(N) % 2, NORMAL, np.nan), "c": NORMAL})
    kinds = [c.kind for c in infer_schema(frame, np.arange(N), TableOptions(), None).columns]
    assert kinds == ["continuous", "continuous", "duplicate"]


@pytest.mark.parametrize(("width", "kinds"), [(40, {"continuous"}), (31, {"count"})])
def test_a_matrix_of_measurements_has_no_counts(width, kinds):
    frame = pd.DataFrame({f"p{i}": RANDOM.poisson(1.5, 200) for i in range(width)})
    schema = infer_schema(frame, np.arange(200), TableOptions(), None)
    assert {c.kind for c in schema.columns} == kinds


def test_statistics_of_the_rules():
    """Of a log-normal the quantile skewness is (e^s + e^-s - 2) / (e^s - e^-s) = tanh(s / 2), s = 1.645 sigma."""
    grid = (np.arange(20001) + 0.5) / 20001
    from scipy import stats

    sigma = 0.8
    assert quantile_skewness(stats.lognorm.ppf(grid, sigma)) == pytest.approx(np.tanh(1.6449 * sigma / 2), abs=1e-3)
    assert quantile_skewness(stats.norm.ppf(grid)) == pytest.approx(0.0, abs=1e-9)
    x = RANDOM.exponential(size=1000)
    assert excess_kurtosis(x) == pytest.approx(stats.kurtosis(x))
    assert robust_scale(stats.norm.ppf(grid) * 3 + 2) == pytest.approx((2.0, 3.0), rel=1e-3)
    assert robust_scale(np.r_[np.zeros(900), np.ones(100)]) == pytest.approx((0.0, 0.3))


def test_a_table_without_a_column_to_model_is_refused():
    with pytest.raises(UsageError, match="no column of the table can be modelled"):
        infer_schema(pd.DataFrame({"x": [1.0] * 30}), np.arange(30), TableOptions(), None)
