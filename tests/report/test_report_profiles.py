"""What sets the clusters of a table apart, against NumPy, SciPy and pandas, and in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from deepmix.data import ColumnSchema, TableSchema
from deepmix.report.phrases import cluster_names, percent_text, sentence, share_text, value_text, value_texts
from deepmix.report.profiles import ClusterProfile, profile_clusters
from deepmix.report.tallies import LEAST_DIFFERENCE, quantiles, ranks


def schema_of(**kinds: str) -> TableSchema:
    return TableSchema(tuple(ColumnSchema(name, kind, "", "some") for name, kind in kinds.items()))


def profiles_of(frame: pd.DataFrame, cluster_N: Sequence[int], weight_N: np.ndarray | None = None, **kinds: str):
    cluster_N = np.asarray(cluster_N)
    return profile_clusters(frame, schema_of(**kinds), cluster_N, int(cluster_N.max()) + 1, weight_N)


@pytest.fixture
def mixed() -> tuple[pd.DataFrame, np.ndarray]:
    """A table of 300 rows with a number, a skewed number, levels, dates and missing cells, and clusters."""
    random = np.random.default_rng(0)
    cluster_N = np.repeat([0, 1, 2], 100)
    frame = pd.DataFrame(
        {
            "charge": random.normal(60 + 20 * cluster_N, 5.0),
            "income": np.exp(random.normal(3.0 + cluster_N, 0.8)),
            "contract": np.where(random.random(300) < 0.2 + 0.3 * cluster_N, "yes", "no"),
            "start": pd.Timestamp("2020-01-01") + pd.to_timedelta(365 * cluster_N, unit="D"),
        }
    )
    frame.loc[random.random(300) < np.where(cluster_N == 1, 0.5, 0.02), "charge"] = np.nan
    frame.loc[::17, "contract"] = None
    return frame, cluster_N


KINDS = {"charge": "continuous", "income": "positive", "contract": "binary", "start": "datetime"}


def test_a_number_has_pandas_mean_spread_and_missing_fraction(mixed):
    frame, cluster_N = mixed
    for k, profile in enumerate(profiles_of(frame, cluster_N, **KINDS)):
        column, inside, outside = profile.columns[0], frame.charge[cluster_N == k], frame.charge[cluster_N != k]
        assert column.measure == "mean"
        for summary, cells in ((column.here, inside), (column.others, outside)):
            assert summary.centre == pytest.approx(cells.mean())
            assert summary.spread == pytest.approx(cells.std(ddof=0))
            assert summary.missing == pytest.approx(cells.isna().mean())
        assert column.effects == pytest.approx([(inside.mean() - outside.mean()) / frame.charge.std(ddof=0)])


def test_a_skewed_number_is_described_by_medians_and_compared_by_ranks(mixed):
    frame, cluster_N = mixed
    assert stats.skew(frame.income) > 1.0
    rank_N = stats.rankdata(frame.income)
    for k, profile in enumerate(profiles_of(frame, cluster_N, **KINDS)):
        column, inside_N = profile.columns[1], cluster_N == k
        assert column.measure == "median"
        assert column.here.centre == pytest.approx(np.median(frame.income[inside_N]))
        assert column.others.centre == pytest.approx(np.median(frame.income[~inside_N]))
        low, high = np.quantile(frame.income[inside_N], [0.25, 0.75], method="averaged_inverted_cdf")
        assert column.here.spread == pytest.approx(high - low)
        apart = (rank_N[inside_N].mean() - rank_N[~inside_N].mean()) / rank_N.std()
        assert column.effects == pytest.approx([apart])


def test_one_enormous_value_does_not_hide_a_difference():
    cluster_N = np.repeat([0, 1], 100)
    value_N = np.random.default_rng(1).normal(cluster_N * 3.0, 1.0)
    value_N[0] = 1e9
    (first, _) = profiles_of(pd.DataFrame({"v": value_N}), cluster_N, v="continuous")
    assert first.columns[0].effects[0] < -1.0
    assert first.differences[0].aspect == "median"


def test_shares_of_levels_and_their_differences(mixed):
    frame, cluster_N = mixed
    table = pd.crosstab(cluster_N, frame.contract, normalize="index")
    seen = frame.contract.notna()
    for k, profile in enumerate(profiles_of(frame, cluster_N, **KINDS)):
        column = profile.columns[2]
        assert column.levels == ("no", "yes")
        assert column.here.shares == pytest.approx(table.loc[k].to_numpy())
        p, q = column.here.shares[1], column.others.shares[1]
        r = (frame.contract[seen] == "yes").mean()
        assert column.effects[1] == pytest.approx((p - q) / np.sqrt(r * (1 - r)))
        assert column.effects[0] == pytest.approx(-column.effects[1])


def test_missing_values_set_a_cluster_apart(mixed):
    frame, cluster_N = mixed
    _, second, _ = profiles_of(frame, cluster_N, **KINDS)
    (missing,) = (one for one in second.differences if one.aspect == "missing")
    gone_N = frame.charge.isna().to_numpy()
    p, q = gone_N[cluster_N == 1].mean(), gone_N[cluster_N != 1].mean()
    assert (missing.column.name, missing.here, missing.others) == ("charge", pytest.approx(p), pytest.approx(q))
    assert missing.effect == pytest.approx((p - q) / gone_N.std())


def test_dates_are_days_since_1970(mixed):
    frame, cluster_N = mixed
    column = profiles_of(frame, cluster_N, **KINDS)[2].columns[3]
    assert value_text(column.column, column.here.centre) == "2021-12-31"
    zoned = frame.assign(start=frame.start.dt.tz_localize("UTC"))
    assert profiles_of(zoned, cluster_N, **KINDS)[2].columns[3].here == column.here


def test_a_row_of_weight_two_counts_like_two_rows(mixed):
    frame, cluster_N = mixed
    weight_N = np.where(np.arange(300) % 3 == 0, 2.0, 1.0)
    rows = np.repeat(np.arange(300), weight_N.astype(int))
    twice = frame.iloc[rows].reset_index(drop=True)
    for one, two in zip(
        profiles_of(frame, cluster_N, weight_N, **KINDS), profiles_of(twice, cluster_N[rows], **KINDS), strict=True
    ):
        assert one.share == pytest.approx(two.share)
        for a, b in zip(one.columns, two.columns, strict=True):
            assert a.effects == pytest.approx(b.effects)
            assert a.missing_effect == pytest.approx(b.missing_effect)
            for side in ("here", "others"):
                first, second = getattr(a, side), getattr(b, side)
                assert first.shares == pytest.approx(second.shares)
                assert (first.missing, first.centre, first.spread) == pytest.approx(
                    (second.missing, second.centre, second.spread), nan_ok=True
                )


def test_weights_are_on_any_scale(mixed):
    frame, cluster_N = mixed
    small, large = (profiles_of(frame, cluster_N, np.full(300, weight), **KINDS) for weight in (1e-6, 1e6))
    assert [len(one.differences) for one in small] == [len(one.differences) for one in large]


def test_random_clusters_are_not_set_apart():
    random = np.random.default_rng(2)
    frame = pd.DataFrame({f"c{i}": random.normal(size=120) for i in range(20)})
    frame["level"] = random.choice(["a", "b", "c"], 120)
    kinds = {f"c{i}": "continuous" for i in range(20)} | {"level": "categorical"}
    said = [one for p in profiles_of(frame, np.arange(120) % 10, **kinds) for one in p.differences]
    assert len(said) <= 2  # 210 differences, of which 0.3 % exceed three standard errors by chance
    shifted = profiles_of(frame.assign(c0=frame.c0 + (np.arange(120) % 10 == 0) * 3.0), np.arange(120) % 10, **kinds)
    assert shifted[0].differences[0].column.name == "c0"


def test_small_differences_are_not_said():
    cluster_N = np.repeat([0, 1], 2000)
    value_N = np.tile(np.linspace(-1.0, 1.0, 2000), 2)
    for step, is_said in ((LEAST_DIFFERENCE - 0.02, False), (LEAST_DIFFERENCE + 0.04, True)):
        frame = pd.DataFrame({"v": value_N + step * value_N.std() * cluster_N})
        assert bool(profiles_of(frame, cluster_N, v="continuous")[1].differences) is is_said


def test_a_column_that_repeats_an_earlier_one_is_not_said_twice():
    cluster_N = np.repeat([0, 1], 50)
    minutes = np.random.default_rng(3).normal(100 + 50 * cluster_N, 10.0)
    frame = pd.DataFrame({"minutes": minutes, "charge": -0.17 * minutes, "calls": np.sqrt(minutes) % 1})
    first, _ = profiles_of(frame, cluster_N, minutes="continuous", charge="continuous", calls="continuous")
    assert [column.repeats for column in first.columns] == [None, "minutes", None]
    assert [one.column.name for one in first.differences] == ["minutes"]
    assert first.columns[1].effects == pytest.approx([-first.columns[0].effects[0]])


def test_a_column_whose_levels_go_with_those_of_an_earlier_one_repeats_it():
    city = np.tile(["Bonn", "Jena", "Kiel"], 40)
    frame = pd.DataFrame({"city": city, "code": np.char.lower(city), "last": city.copy(), "gaps": city.astype(object)})
    frame.loc[0, "last"] = "Jena"
    frame.loc[frame.gaps == "Kiel", "gaps"] = None
    (profile,) = profiles_of(frame, np.zeros(120, dtype=int), **dict.fromkeys(frame, "categorical"))
    assert [column.repeats for column in profile.columns] == [None, "city", None, None]


def test_empty_single_and_unassigned_clusters():
    frame = pd.DataFrame({"v": [1.0, 2.0, np.nan, 50.0], "w": [np.nan] * 4, "l": ["a", None, "b", "b"]})
    kinds = {"v": "continuous", "w": "continuous", "l": "categorical"}
    first, second, third = profile_clusters(frame, schema_of(**kinds), np.array([0, 0, 2, -1]), 3)
    assert [first.n_rows, second.n_rows, third.n_rows] == [2, 0, 1]
    assert second.columns[0].effects == (0.0,)
    assert np.isnan(second.columns[0].here.centre)
    assert second.differences == ()
    assert sentence(second) == "No row is in this cluster."
    assert first.columns[0].others.centre == 50.0
    assert third.columns[0].here.missing == 1.0
    (only,) = profile_clusters(frame, schema_of(**kinds), np.zeros(4, dtype=int), 1)
    assert only.differences == ()
    assert cluster_names([only]) == ("nothing special",)


def test_levels_of_every_type_and_levels_that_the_schema_does_not_list():
    frame = pd.DataFrame({"b": [True, False, True], "i": [1, 0, 1], "f": [2.0, np.nan, 3.0], "s": ["x", "y", "z"]})
    schema = TableSchema(
        (
            ColumnSchema("b", "binary", "", "bernoulli", levels=("False", "True")),
            ColumnSchema("i", "binary", "", "bernoulli", levels=("0", "1")),
            ColumnSchema("f", "ordinal", "", "ordinal", levels=("3", "2")),
            ColumnSchema("s", "categorical", "", "categorical", levels=("x",)),
            ColumnSchema("key", "identifier", ""),
        )
    )
    (profile,) = profile_clusters(frame, schema, np.zeros(3, dtype=int), 1)
    assert [column.here.shares for column in profile.columns] == [
        pytest.approx((1 / 3, 2 / 3)),
        pytest.approx((1 / 3, 2 / 3)),
        pytest.approx((1 / 2, 1 / 2)),
        pytest.approx((1 / 3, 2 / 3)),
    ]
    assert profile.columns[3].levels == ("x", "(other)")


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.5, 0.9, 1.0])
def test_quantiles_are_numpys(fraction):
    value_n = np.sort(np.random.default_rng(4).normal(size=40))
    expected = np.quantile(value_n, fraction, method="averaged_inverted_cdf")
    assert quantiles(value_n, np.ones(40), (fraction,)) == pytest.approx([expected])


def test_ranks_are_scipys():
    value_N = np.array([3.0, 1.0, np.nan, 3.0, 2.0])
    seen_N = np.isfinite(value_N)
    expected = (stats.rankdata(value_N[seen_N]) - 0.5) / 4
    assert ranks(value_N, np.ones(5))[seen_N] == pytest.approx(expected)
    assert np.isnan(ranks(value_N, np.ones(5))[2])


def two_groups(n_contract: int) -> tuple[ClusterProfile, ...]:
    """Return profiles of two clusters of 300 rows; `n_contract` rows of the first have no contract, 57 of the other."""
    cluster_N = np.repeat([0, 1], 300)
    contract = ["no"] * n_contract + ["yes"] * (300 - n_contract) + ["no"] * 57 + ["yes"] * 243
    spread_n = np.linspace(-9.0, 9.0, 300)
    frame = pd.DataFrame({"contract": contract, "monthly_charges": np.concatenate([92.0 + spread_n, 64.0 + spread_n])})
    return profiles_of(frame, cluster_N, contract="binary", monthly_charges="continuous")


def test_a_cluster_as_a_sentence_and_a_name():
    first, second = two_groups(200)
    assert sentence(first) == "Monthly charges are 92 (64 elsewhere); two thirds have no contract (19 % elsewhere)."
    assert sentence(second).endswith("81 % have contract (33 % elsewhere).")
    assert cluster_names((first, second)) == ("high monthly charges, no contract", "low monthly charges, contract")


def test_names_differ_although_the_differences_are_the_same():
    cluster_N = np.repeat([0, 1, 2, 3], 40)
    frame = pd.DataFrame({"a": 10.0 * (cluster_N < 2) + np.tile(np.linspace(0, 1, 40), 4)})
    names = cluster_names(profiles_of(frame, cluster_N, a="continuous"))
    assert names == ("high a", "high a (2)", "low a", "low a (2)")
    frame["b"] = 5.0 * (cluster_N % 2) + np.tile(np.linspace(0, 1, 40), 4)
    names = cluster_names(profiles_of(frame, cluster_N, a="continuous", b="continuous"))
    assert len(set(names)) == 4
    assert all("(" not in name for name in names)


def test_a_name_does_not_give_to_all_rows_what_few_have():
    """More rows of the first cluster are blue, and lack v, than elsewhere, but fewer than half of its rows."""
    colour = ["blue"] * 40 + ["red"] * 60 + ["blue"] * 5 + ["red"] * 95
    frame = pd.DataFrame({"colour": colour, "v": [np.nan] * 45 + [1.0] * 155, "w": [0.0] * 100 + [1.0] * 100})
    first, second = profiles_of(frame, np.repeat([0, 1], 100), colour="categorical", v="continuous", w="continuous")
    assert cluster_names([first, second]) == ("low w, v often missing", "high w, colour red")
    frame = frame[["colour"]]
    first, second = profiles_of(frame, np.repeat([0, 1], 100), colour="categorical")
    assert cluster_names([first, second]) == ("more colour blue", "colour red")


def test_one_row_does_not_give_a_cluster_its_level():
    levels = ["rare"] + ["common"] * 3 + ["rare"] + ["common"] * 395
    cluster_N = np.repeat([0, 1], [4, 396])
    first, _ = profiles_of(pd.DataFrame({"l": levels}), cluster_N, l="categorical")
    assert max(first.columns[0].effects) > 3.0
    assert first.differences == ()
    levels[1] = levels[2] = "rare"
    first, _ = profiles_of(pd.DataFrame({"l": levels}), cluster_N, l="categorical")
    assert first.differences[0].level == "rare"


def test_names_are_short_and_on_one_line():
    frame = pd.DataFrame({"n\nx" * 50: ["\u202elevel " * 30] * 40 + ["z"] * 40})
    schema = TableSchema((ColumnSchema("n\nx" * 50, "categorical", "", "categorical"),))
    for name in cluster_names(profile_clusters(frame, schema, np.repeat([0, 1], 40), 2)):
        assert len(name) <= 60
        assert "\n" not in name
        assert "\u202e" not in name


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "none"), (1.0, "all"), (0.99, "nearly all"), (0.66, "two thirds"), (0.5, "half"), (0.43, "43 %")],
)
def test_shares_in_words(share, text):
    assert share_text(share) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0 %"),
        (0.0001, "under 0.1 %"),
        (0.003, "0.3 %"),
        (0.0099, "1 %"),
        (0.996, "99.6 %"),
        (0.9999, "over 99.9 %"),
        (1.0, "100 %"),
    ],
)
def test_only_nothing_is_0_per_cent_and_only_everything_100(share, text):
    assert percent_text(share) == text


def test_values_have_more_digits_where_different_ones_would_look_alike():
    number, year = ColumnSchema("v", "continuous", ""), ColumnSchema("y", "count", "", decimals=0, low=2007, high=2009)
    assert value_texts(number, 1.0001, 1.0002) == ("1.0001", "1.0002")
    assert value_texts(number, 1.5, 1.5) == ("1.50", "1.50")
    assert value_text(year, 2007.9) == "2008"
    assert value_texts(year, 2007.9, 2008.1) == ("2007.9", "2008.1")
    assert value_text(number, 2007.9) == "2,008"
    assert value_text(number, float("nan")) == "-"
