"""The maps of a schema: frame to cells to features, and cells back to the frame."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from deepmix.data import OTHER, CellBlock, TableOptions, TableSchema, infer_schema
from deepmix.errors import UsageError
from deepmix.runs.conversion import from_plain, to_plain

N = 300


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    random = np.random.default_rng(3)
    days = pd.Timestamp("2019-05-04") + pd.to_timedelta(random.integers(0, 900, N), unit="D")
    table = pd.DataFrame(
        {
            "name": [f"row {i}" for i in range(N)],
            "height": random.normal(170, 9, N).round(1),
            "colour": random.choice(["red", "green", "blue"], N, p=[0.5, 0.3, 0.2]),
            "income": np.exp(random.normal(10, 1, N)).round(2),
            "rank": random.integers(1, 6, N),
            "visits": random.poisson(2.0, N),
            "member": random.random(N) < 0.3,
            "joined": days,
            "wild": np.where(np.arange(N) == 5, 99999.0, random.normal(0, 2, N).round(3)),
            "batch": random.choice(["x", "y"], N),
            "age": random.integers(18, 90, N),
            "importance": random.integers(1, 4, N).astype(float),
        }
    )
    for column in ("height", "colour", "income", "rank", "visits", "member", "joined"):
        table[column] = table[column].astype(object if column in ("member", "colour") else table[column].dtype)
        table[column] = table[column].where(random.random(N) > 0.1)
    return table


OPTIONS = TableOptions(conditions=("batch", "age"), weight_column="importance")


@pytest.fixture(scope="module")
def schema(frame) -> TableSchema:
    return infer_schema(frame, np.arange(250), OPTIONS, None)


MODELLED = ["height", "colour", "income", "rank", "visits", "member", "joined", "wild"]


def test_layout(schema):
    assert [c.name for c in schema.modelled] == MODELLED
    assert schema.blocks == (
        CellBlock("gaussian-per-column", 6),
        CellBlock("categorical", 1, (3,)),
        CellBlock("log-normal", 1),
        CellBlock("ordinal", 1, (5,)),
        CellBlock("negative-binomial", 1),
        CellBlock("bernoulli", 1),
        CellBlock("student-t", 1),
    )
    assert schema.cell_columns == (
        *("height", "joined", "joined", "joined", "joined", "joined"),
        *("colour", "income", "rank", "visits", "member", "wild"),
    )
    assert schema.feature_columns == (
        *("height", "colour", "colour", "colour", "income", "rank", "visits", "member"),
        *("joined", "joined", "joined", "joined", "joined", "wild"),
    )


def cells_of(schema: TableSchema, cells: np.ndarray, name: str) -> np.ndarray:
    return cells[:, np.array(schema.cell_columns) == name]


def features_of(schema: TableSchema, features: np.ndarray, name: str) -> np.ndarray:
    return features[:, np.array(schema.feature_columns) == name]


def test_units_of_cells(frame, schema):
    cells, notes = schema.cells(frame)
    assert cells.dtype == np.float32
    assert notes == ()
    training = frame[:250]
    height = (frame["height"] - training["height"].mean()) / training["height"].std(ddof=0)
    np.testing.assert_allclose(cells_of(schema, cells, "height")[:, 0], height, rtol=1e-5, atol=1e-6)
    income = frame["income"] / np.exp(np.log(training["income"]).mean())
    np.testing.assert_allclose(cells_of(schema, cells, "income")[:, 0], income, rtol=1e-5)
    middle, iqr = training["wild"].median(), training["wild"].quantile(0.75) - training["wild"].quantile(0.25)
    wild = (frame["wild"] - middle) / (iqr / 1.349)
    np.testing.assert_allclose(cells_of(schema, cells, "wild")[:, 0], wild, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(cells_of(schema, cells, "visits")[:, 0], frame["visits"].astype(np.float32))
    np.testing.assert_array_equal(cells_of(schema, cells, "rank")[:, 0], frame["rank"].astype(np.float32) - 1)
    np.testing.assert_array_equal(cells_of(schema, cells, "member")[:, 0], frame["member"].astype(np.float32))
    colours = frame["colour"].map({"red": 0.0, "green": 1.0, "blue": 2.0}).astype(np.float32)
    np.testing.assert_array_equal(cells_of(schema, cells, "colour")[:, 0], colours)
    weekday = frame["joined"].dt.day_of_week.to_numpy()  # 1970-01-01 was a Thursday, day 3
    expected = np.sin(2 * np.pi * (weekday - 3) / 7)
    np.testing.assert_allclose(cells_of(schema, cells, "joined")[:, 3], expected, atol=1e-5)


def test_features_are_centred_scaled_and_0_where_missing(frame, schema):
    cells, _ = schema.cells(frame)
    features = schema.features(cells)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features[:250].mean(axis=0), 0.0, atol=1e-6)
    missing = frame[MODELLED].isna()
    for name in MODELLED:
        assert np.all(features_of(schema, features, name)[missing[name]] == 0.0)
    for name in ("height", "income", "rank", "visits", "joined", "wild"):
        seen = features_of(schema, features, name)[:250][~missing[name][:250]]
        scales = {"rank": [0.5], "joined": [1.0, 0.5, 0.5, 0.5, 0.5]}.get(name, [1.0])
        np.testing.assert_allclose(seen.std(axis=0), scales, rtol=1e-4)
    member = features_of(schema, features, "member")[:, 0]
    assert member.max() - member[~missing["member"]].min() == pytest.approx(0.5**0.5)
    colours = features_of(schema, features, "colour")
    red, green = (colours[frame["colour"] == level][0] for level in ("red", "green"))
    assert ((red - green) ** 2).sum() == pytest.approx(0.5)
    logs = np.log(frame["income"])
    income = (logs - logs[:250].mean()) / logs[:250].std(ddof=0)
    np.testing.assert_allclose(features_of(schema, features, "income")[:, 0], income.fillna(0.0), atol=1e-5)


def test_an_outlier_does_not_flatten_its_column(frame, schema):
    features = features_of(schema, schema.features(schema.cells(frame)[0]), "wild")[:, 0]
    others = np.delete(features, 5)
    assert features[5] < 9.0
    assert others.std() > 0.7


def test_a_cell_that_is_rarely_lit_is_no_outlier():
    """A pixel that one row of 1,000 lights: its feature stays within the clip."""
    random = np.random.default_rng(0)
    pixels = random.poisson(1.5, (1000, 40))
    pixels[:, 3] = np.arange(1000) == 5
    frame = pd.DataFrame(pixels, columns=[f"p{i}" for i in range(40)])
    schema = infer_schema(frame, np.arange(1000), TableOptions(), None)
    features = schema.features(schema.cells(frame)[0])[:, 3]
    assert schema.columns[3].kind == "continuous"
    assert features[5] == pytest.approx(8.0, abs=0.05)
    assert features.mean() == pytest.approx(0.0, abs=1e-6)


def test_frame_is_the_inverse(frame, schema):
    cells, _ = schema.cells(frame)
    again = schema.frame(cells)
    assert list(again.columns) == MODELLED
    for name in ("height", "income", "wild", "rank", "visits"):
        np.testing.assert_allclose(again[name].astype(float), frame[name].astype(float), rtol=1e-6)
    for name in ("colour", "member", "joined"):
        seen = frame[name].notna()
        assert (again[name][seen] == frame[name][seen]).all()
        assert again[name][~seen].isna().all()
    assert again["joined"].dtype.kind == "M"
    whole = schema.frame(schema.cells(frame.dropna(subset=MODELLED))[0])
    assert [whole[name].dtype.kind for name in ("rank", "visits", "member")] == ["i", "i", "b"]


def test_frame_rounds_what_a_model_makes(schema):
    cells = np.full((1, len(schema.cell_columns)), 0.321, dtype=np.float32)
    row = schema.frame(cells).iloc[0]
    assert row["height"] == round(row["height"], 1)
    assert (row["visits"], row["rank"], row["colour"], row["member"]) == (0, 1, "red", False)
    top = schema.frame(np.full_like(cells, 99.0)).iloc[0]
    assert (top["visits"], top["rank"], top["colour"], top["member"]) == (99, 5, "blue", True)


def test_record_round_trip(schema):
    assert from_plain(TableSchema, json.loads(json.dumps(to_plain(schema), allow_nan=False))) == schema


def test_columns_are_matched_by_name(frame, schema):
    cells, _ = schema.cells(frame)
    moved, notes = schema.cells(frame[frame.columns[::-1]].assign(further=1))
    np.testing.assert_array_equal(moved, cells)
    assert notes == ("columns that the training table did not have are left out: 'further'",)
    without, notes = schema.cells(frame.drop(columns="height"))
    assert np.isnan(cells_of(schema, without, "height")).all()
    assert notes == ("columns that the table lacks count as missing in every row: 'height'",)
    with pytest.raises(UsageError, match="none of the training table's columns"):
        schema.cells(frame[["name"]])


def test_new_levels_and_numbers_out_of_range_are_missing_with_a_note(frame, schema):
    rows = frame[:3].assign(colour=["red", "mauve", "red"], income=[-5.0, 0.0, 7.0])
    cells, notes = schema.cells(rows)
    assert np.isnan(cells_of(schema, cells, "colour")[:, 0]).tolist() == [False, True, False]
    assert np.isnan(cells_of(schema, cells, "income")[:, 0]).tolist() == [True, True, False]
    assert "levels of 'colour' that the training rows did not have count as missing: 'mauve'" in notes
    assert any("'income'" in note and "the first in row 1 (-5.0)" in note for note in notes)


def test_new_levels_share_other():
    frame = pd.DataFrame({"x": np.arange(200) % 7 * 1.5, "level": ["a", "b"] * 95 + list("cdefghijkl")})
    schema = infer_schema(frame, np.arange(200), TableOptions(), None)
    cells, notes = schema.cells(pd.DataFrame({"x": [1.5, 3.0], "level": ["b", "new"]}))
    assert cells_of(schema, cells, "level")[:, 0].tolist() == [1.0, 2.0]
    assert notes == (f"rare and new levels of 'level' count as {OTHER}: 'new'",)
    assert schema.frame(cells)["level"].tolist() == ["b", OTHER]


def test_cells_of_the_wrong_kind_are_listed_at_once(frame, schema):
    rows = frame[:4].astype(object)
    rows.loc[1, "height"], rows.loc[2, "visits"], rows.loc[3, "joined"] = "tall", "often", "soon"
    with pytest.raises(UsageError) as failure:
        schema.cells(rows)
    for words in ("'height' (continuous; row 2: 'tall')", "'visits' (count; row 3: 'often')", "row 4: 'soon'"):
        assert words in str(failure.value)


def test_values_may_be_stored_in_another_type(frame, schema):
    cells, _ = schema.cells(frame)
    text = frame.astype(object).map(lambda cell: None if pd.isna(cell) else str(cell))
    again, notes = schema.cells(text)
    assert notes == ()
    np.testing.assert_allclose(again, cells, rtol=1e-6)


def test_marks_of_missing_values():
    frame = pd.DataFrame({"x": [1.5, -999.0, 2.5, 3.5] * 20, "y": ["a", "unknown", "b", "c"] * 20})
    schema = infer_schema(frame, np.arange(80), TableOptions(missing=("-999", "unknown")), None)
    assert [c.missing for c in schema.columns] == [0.25, 0.25]
    assert schema.columns[0].low == 1.5
    assert np.isnan(schema.cells(frame)[0][1]).all()


def test_conditions(frame, schema):
    conditions = schema.conditions(frame)
    assert conditions is not None
    for place, level in enumerate("xy"):
        is_level = frame["batch"] == level
        np.testing.assert_allclose(conditions[:, place], is_level - is_level[:250].mean(), rtol=1e-6)
    age = (frame["age"] - frame["age"][:250].mean()) / frame["age"][:250].std(ddof=0)
    np.testing.assert_allclose(conditions[:, 2], age, rtol=1e-5, atol=1e-6)
    assert schema.conditions(frame.assign(batch="z").drop(columns="age")).tolist() == [[0.0, 0.0, 0.0]] * N


def test_weights(frame, schema):
    np.testing.assert_array_equal(schema.weights(frame), frame["importance"])
    assert schema.weights(frame.drop(columns="importance")) is None
    with pytest.raises(UsageError, match="weight column 'importance' has no number greater than 0 in row 2"):
        schema.weights(frame.assign(importance=[1.0, 0.0, *[1.0] * (N - 2)]))
    with pytest.raises(UsageError, match="row 3"):
        infer_schema(frame.assign(importance=[1, 1, None, *[1] * (N - 3)]), np.arange(N), OPTIONS, None)


def test_row_names(frame, schema):
    assert schema.row_names(frame).tolist() == frame["name"].tolist()
    assert schema.row_names(frame.drop(columns="name")) is None
    named = frame[:2].drop(columns="name").set_axis(["p", "q"])
    assert schema.row_names(named).tolist() == ["p", "q"]
    chosen = infer_schema(frame, np.arange(N), TableOptions(id_column="age"), None)
    assert chosen.row_names(frame[:2]).tolist() == frame["age"][:2].astype(str).tolist()


def test_zeros_of_a_positive_column_have_a_logarithm():
    random = np.random.default_rng(0)
    values = np.exp(random.normal(8, 1, 200))
    values[::10] = 0.0
    schema = infer_schema(pd.DataFrame({"x": values}), np.arange(200), TableOptions(), None)
    (column,) = schema.columns
    assert column.offset == pytest.approx(np.quantile(values[values > 0], 0.05) / 2)
    cells, _ = schema.cells(pd.DataFrame({"x": values}))
    assert (cells > 0).all()
    np.testing.assert_allclose(schema.frame(cells)["x"], values, rtol=1e-5, atol=1e-3)
