"""Dates: how text writes them, days since 1970, units and cycles."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from deepmix.data import TableOptions, infer_schema
from deepmix.data.dates import cycles_of_days, date_order, dates_of_days, days_of_dates, days_of_text, unit_of_days

DAYS = pd.Series(pd.date_range("2020-02-25", periods=60, freq="D"))


@pytest.mark.parametrize(
    ("form", "order"),
    [
        ("%Y-%m-%d", "ymd"),
        ("%Y/%m/%d", "ymd"),
        ("%Y-%m-%dT%H:%M:%S", "ymd"),
        ("%Y-%m-%d %H:%M", "ymd"),
        ("%d.%m.%Y", "dmy"),
        ("%d/%m/%Y", "dmy"),
        ("%m/%d/%Y", "mdy"),
    ],
)
def test_text_is_read_as_it_was_written(form, order):
    texts = DAYS.dt.strftime(form).tolist()
    assert date_order(texts) == order
    np.testing.assert_array_equal(days_of_text(texts, order), days_of_dates(DAYS))


def test_one_digit_months_and_zones():
    assert days_of_text(["1970-1-2"], "ymd").tolist() == [1.0]
    assert days_of_text(["2.1.1970"], "dmy").tolist() == [1.0]
    assert days_of_text(["1970-01-01T06:00:00Z", "1970-01-01T06:00:00+06:00"], "ymd").tolist() == [0.25, 0.0]
    zoned = pd.Series(pd.to_datetime(["1970-01-01T06:00:00+06:00"]))
    assert days_of_dates(zoned).tolist() == [0.0]


@pytest.mark.parametrize("texts", [["03/04/2021", "05/06/2021"], ["red", "blue"], ["12", "13"], ["1.5", "2.5"]])
def test_what_is_ambiguous_or_no_date(texts):
    assert date_order(texts) is None


def test_impossible_dates_are_nan():
    assert np.isnan(days_of_text(["2021-02-30", "soon", None, ""], "ymd")).all()


def test_units():
    assert unit_of_days(np.array([1.0, 5.0])) == "D"
    assert unit_of_days(np.array([1.25, 5.0])) == "h"
    assert unit_of_days(np.array([1.0 + 7 / 1440])) == "min"
    assert unit_of_days(np.array([1.0 + 7 / 86400])) == "s"
    assert dates_of_days(np.array([0.9, np.nan]), "D").astype(str).tolist()[0].startswith("1970-01-02")
    assert np.isnat(dates_of_days(np.array([0.9, np.nan]), "D")[1])


def test_cycles_are_those_that_the_dates_pass_through_and_resolve():
    assert cycles_of_days(np.arange(800.0)) == ("year", "week")
    assert cycles_of_days(np.arange(0, 20, 1 / 24)) == ("week", "day")
    assert cycles_of_days(np.arange(5.0)) == ()
    assert cycles_of_days(np.arange(0.0, 700.0, 7.0)) == ("year",)
    january = days_of_text([f"{year}-01-01" for year in range(1990, 2020)], "ymd")
    assert cycles_of_days(january) == ()


def test_a_column_of_dates():
    random = np.random.default_rng(0)
    dates = pd.Timestamp("2020-01-01 08:00") + pd.to_timedelta(random.integers(0, 800 * 24, 300), unit="h")
    texts = pd.Series(dates.strftime("%Y/%m/%d %H:%M")).where(np.arange(300) != 7, "unknown")
    schema = infer_schema(pd.DataFrame({"when": texts}), np.arange(300), TableOptions(), None)
    (column,) = schema.columns
    assert (column.kind, column.cycles, column.date_unit) == ("datetime", ("year", "week", "day"), "h")
    assert "'unknown'" in column.reason
    cells, notes = schema.cells(pd.DataFrame({"when": texts}))
    assert notes == ()
    assert cells.shape == (300, 7)
    again = schema.frame(cells)["when"]
    assert again[7] is pd.NaT
    assert (again.drop(7) == pd.Series(dates).drop(7)).all()
    radius = cells[:, 1::2] ** 2 + cells[:, 2::2] ** 2
    np.testing.assert_allclose(np.delete(radius, 7, axis=0), 1.0, rtol=1e-5)
