from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import make_blobs
from sklearn.impute import KNNImputer
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import StandardScaler
from table_data import SOURCES, Source, read_table
from table_rivals import (
    Encoding,
    NotApplicableError,
    Rival,
    famd_gmm,
    fill_iterative,
    fill_knn,
    fill_mean_mode,
    k_prototypes,
    one_hot_gmm,
    one_hot_k_means,
)


@pytest.fixture
def mixed() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "x": [1.0, np.nan, 3.0, 4.0, 9.0],
            "colour": ["red", "green", None, "red", "blue"],
            "n": pd.array([1, 2, 3, None, 5], dtype="Int64"),
            "member": pd.array([True, None, False, True, True], dtype="boolean"),
        }
    )


def test_numbers_are_standardised_and_levels_one_hot(mixed):
    encoded = Encoding(mixed).encode(mixed)
    numbers = mixed[["x", "n"]].to_numpy(dtype=float, na_value=np.nan)
    np.testing.assert_allclose(encoded[:, :2], StandardScaler().fit_transform(numbers))
    nan = np.nan
    colours = [[0, 0, 1], [0, 1, 0], [nan, nan, nan], [0, 0, 1], [1, 0, 0]]
    np.testing.assert_array_equal(encoded[:, 2:5], colours)
    np.testing.assert_array_equal(encoded[:, 5:], [[0, 1], [nan, nan], [1, 0], [0, 1], [0, 1]])


def test_only_missing_cells_are_filled_in_the_columns_own_units(mixed):
    encoding = Encoding(mixed)
    encoded = np.nan_to_num(encoding.encode(mixed), nan=0.0)
    encoded[2, 2:5] = [0.1, 0.7, 0.2]
    filled = encoding.fill(mixed, encoded)
    assert list(filled.columns) == list(mixed.columns)
    assert filled["x"].tolist() == [1.0, pytest.approx(17 / 4), 3.0, 4.0, 9.0]
    assert filled["n"].tolist() == [1, 2, 3, pytest.approx(11 / 4), 5]
    assert filled["colour"].tolist() == ["red", "green", "green", "red", "blue"]
    assert filled["member"].tolist() == [True, False, False, True, True]


def test_mean_and_mode(mixed):
    filled = fill_mean_mode(mixed, 0)
    assert filled["x"].tolist() == [1.0, 17 / 4, 3.0, 4.0, 9.0]
    assert filled["colour"].tolist() == ["red", "green", "red", "red", "blue"]
    assert filled["member"].tolist() == [True, True, False, True, True]


@pytest.mark.parametrize("fill", [fill_mean_mode, fill_knn, fill_iterative])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_imputations_keep_known_cells_and_leave_none_empty(fill, mixed):
    filled = fill(mixed, 0)
    assert not filled.isna().any().any()
    for name in mixed:
        known = mixed[name].notna()
        assert filled.loc[known, name].tolist() == mixed.loc[known, name].tolist()


def test_knn_is_scikit_learns_on_standardised_numbers():
    x = np.random.default_rng(0).normal(size=(30, 3)) * [1.0, 10.0, 100.0] + 5.0
    x[::7, 0] = x[3::7, 2] = np.nan
    scaler = StandardScaler().fit(x)
    expected = scaler.inverse_transform(KNNImputer().fit_transform(scaler.transform(x)))
    filled = fill_knn(pd.DataFrame(x, columns=["a", "b", "c"]), 0)
    np.testing.assert_allclose(filled.to_numpy(dtype=float), expected)


def test_iterative_imputation_recovers_a_linear_column():
    x = np.random.default_rng(0).normal(size=100)
    frame = pd.DataFrame({"x": x, "y": 3.0 * x + 1.0})
    frame.loc[::5, "y"] = np.nan
    np.testing.assert_allclose(fill_iterative(frame, 0)["y"].to_numpy(dtype=float), 3.0 * x + 1.0, atol=1e-3)


def test_iterative_imputation_recovers_levels_that_a_number_decides():
    x, labels = make_blobs(150, 2, centers=[(0, 0), (9, 0), (0, 9)], cluster_std=0.3, random_state=0)
    frame = pd.DataFrame(x, columns=["a", "b"])
    frame["colour"], frame["right"] = np.array(["red", "green", "blue"])[labels], labels == 1
    holed = frame.astype({"colour": object, "right": "boolean"})
    holed.loc[::3, "colour"] = None
    holed.loc[1::3, "right"] = None
    filled = fill_iterative(holed, 0)
    assert filled["colour"].tolist() == frame["colour"].tolist()
    assert filled["right"].tolist() == frame["right"].tolist()


def test_an_encoding_without_first_levels_fills_the_same_levels(mixed):
    encoding = Encoding(mixed, n_omitted=1)
    encoded = encoding.encode(mixed)
    assert encoded.shape == (5, 2 + 2 + 1)
    encoded[2, 2:4] = [0.2, 0.1]
    encoded[1, 4] = 0.6
    filled = encoding.fill(mixed, encoded)
    assert filled["colour"].tolist() == ["red", "green", "blue", "red", "blue"]
    assert filled["member"].tolist() == [True, True, False, True, True]


@pytest.mark.parametrize("cluster", [one_hot_gmm, one_hot_k_means])
def test_clusterings_find_separate_blobs(cluster):
    x, labels = make_blobs(120, 2, centers=3, cluster_std=0.3, random_state=0)
    frame = pd.DataFrame(x, columns=["a", "b"])
    frame["colour"] = np.array(["red", "green", "blue"])[labels]
    assert adjusted_rand_score(labels, cluster(frame, 3, 0)) == 1.0


def test_absent_packages_are_listed():
    rival = Rival("magic", {"scikit-learn": "sklearn", "no-such-package": "no_such_package"}, one_hot_gmm)
    assert rival.import_packages() == ["no-such-package"]


def test_no_method_sees_the_label_or_what_is_left_out(tmp_path):
    path = tmp_path / "olive.csv"
    path.write_text("region,area,oil\nNorth,Umbria,1.5\nSouth,Sicily,\n")
    source = next(source for source in SOURCES if source.name == "olive-region")
    table = read_table(source, tmp_path)
    assert list(table.frame.columns) == ["oil"]
    assert table.labels.tolist() == ["North", "South"]
    assert table.complete.tolist() == [True, False]


def test_identifiers_stay_in_the_table_and_out_of_the_scored_columns(tmp_path):
    (tmp_path / "msleep.csv").write_text("name,genus,vore,awake\nCat,Felis,carni,11.5\nCow,Bos,herbi,20\n")
    source = next(source for source in SOURCES if source.name == "msleep")
    table = read_table(source, tmp_path)
    assert list(table.frame.columns) == ["name", "genus", "vore", "awake"]
    assert table.columns == ["vore", "awake"]
    assert table.labels is None


def test_a_table_that_is_nowhere_is_named(tmp_path):
    def load() -> pd.DataFrame:
        raise ModuleNotFoundError("No module named 'cheese'")

    source = Source("cheese", "cheese.csv", "cheese-data", load, 2)
    with pytest.raises(LookupError, match=r"no cheese\.csv in --data, and the package cheese-data is not installed"):
        read_table(source, tmp_path)


def test_scikit_learns_tables_need_no_folder():
    source = next(source for source in SOURCES if source.name == "wine")
    table = read_table(source, None)
    assert table.frame.shape == (178, 13)
    assert sorted(set(table.labels)) == ["0", "1", "2"]


def test_methods_for_numbers_beside_levels_say_what_a_table_lacks():
    numbers, levels = pd.DataFrame({"x": [1.0, 2.0, 3.0]}), pd.DataFrame({"colour": ["red", "green", "red"]})
    cases = ((k_prototypes, numbers, "levels"), (k_prototypes, levels, "numbers"), (famd_gmm, levels, "numbers"))
    for method, frame, lack in cases:
        with pytest.raises(NotApplicableError, match=f"the table has no {lack}"):
            method(frame, 2, 0)
