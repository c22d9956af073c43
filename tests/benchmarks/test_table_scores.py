from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score
from table_scores import hide_cells, score_clusters, score_imputation


@pytest.fixture
def frame() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "size": generator.normal(size=50),
            "count": generator.integers(0, 9, size=50),
            "member": generator.random(50) < 0.5,
            "colour": generator.choice(["red", "green"], size=50),
            "name": [f"row {number}" for number in range(50)],
        }
    ).astype({"colour": object})


def test_a_fraction_of_the_known_cells_is_hidden_in_the_named_columns(frame):
    frame.loc[:9, "size"] = np.nan
    columns = ["size", "count", "member", "colour"]
    holed, hidden = hide_cells(frame, columns, 0.2, seed=3)
    assert hidden.sum() == round(0.2 * (4 * 50 - 10))
    assert not hidden[:10, 0].any()
    known = frame[columns].notna().to_numpy()
    assert np.array_equal(holed[columns].isna().to_numpy(), ~known | hidden)
    seen = known & ~hidden
    for number, name in enumerate(columns):
        assert holed.loc[seen[:, number], name].tolist() == frame.loc[seen[:, number], name].tolist()
    assert holed["name"].equals(frame["name"])


def test_a_seed_hides_the_same_cells_again_and_another_seed_hides_others(frame):
    columns = list(frame.columns)
    _, first = hide_cells(frame, columns, 0.3, seed=1)
    _, again = hide_cells(frame, columns, 0.3, seed=1)
    _, other = hide_cells(frame, columns, 0.3, seed=2)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_each_row_and_each_column_keeps_a_cell():
    frame = pd.DataFrame({"a": [1.0, np.nan, 3.0], "b": [np.nan, 5.0, np.nan], "c": [np.nan] * 3})
    holed, hidden = hide_cells(frame, ["a", "b", "c"], 1.0, seed=0)
    assert not hidden.any()
    assert holed.equals(frame)
    _, hidden = hide_cells(pd.DataFrame({"a": range(40), "b": range(40)}), ["a", "b"], 1.0, seed=0)
    assert hidden.sum(axis=1).tolist() == [1] * 40
    assert hidden.sum(axis=0).max() < 40


def test_a_file_of_the_hidden_table_has_whole_numbers_and_truth_values_as_before(frame):
    holed, _ = hide_cells(frame, ["count", "member"], 0.4, seed=0)
    texts = pd.read_csv(io.StringIO(holed.to_csv(index=False)), dtype=str)
    assert set(texts["count"].dropna()) <= {str(number) for number in range(9)}
    assert set(texts["member"].dropna()) == {"True", "False"}


def test_imputation_scores_are_in_standard_deviations_and_fractions():
    complete = pd.DataFrame({"x": [0.0, 4.0, 0.0, 4.0], "same": [7.0] * 4, "colour": ["red", "red", "green", "red"]})
    hidden = np.array([[True, True, True], [True, False, True], [False, False, False], [False, False, False]])
    holed = complete.mask(pd.DataFrame(hidden, columns=complete.columns))
    filled = pd.DataFrame(
        {"colour": ["red", "green", "green", "red"], "x": [2.0, 0.0, 0.0, 4.0], "same": [9.0, 7.0, 7.0, 7.0], "more": 1}
    )
    scores = score_imputation(complete, holed, filled, hidden)
    assert scores == {"rmse": pytest.approx(np.sqrt((1.0**2 + 2.0**2) / 2)), "error_rate": 0.5, "unfilled": 0.0}


def test_a_cell_left_empty_is_scored_as_mean_or_mode():
    complete = pd.DataFrame({"x": [0.0, 4.0, 1.0, 3.0], "colour": ["red", "red", "green", "red"]})
    hidden = np.array([[True, False], [False, False], [False, True], [False, False]])
    holed = complete.mask(pd.DataFrame(hidden, columns=complete.columns))
    scores = score_imputation(complete, holed, holed, hidden)
    mean = (4.0 + 1.0 + 3.0) / 3
    assert scores == {"rmse": pytest.approx(mean / np.sqrt(2.5)), "error_rate": 1.0, "unfilled": 2.0}


def test_a_table_of_levels_has_no_rmse_and_one_of_numbers_no_error_rate():
    levels, hidden = pd.DataFrame({"member": [True, False, True]}), np.array([[True], [False], [False]])
    filled = pd.DataFrame({"member": ["True", "False", "True"]})
    assert score_imputation(levels, levels.mask(hidden), filled, hidden)["rmse"] is None
    assert score_imputation(levels, levels.mask(hidden), filled, hidden)["error_rate"] == 0.0
    numbers = pd.DataFrame({"x": [1, 2, 3]})
    assert score_imputation(numbers, numbers.mask(hidden), numbers, hidden)["error_rate"] is None


def test_an_imputed_table_without_a_column_or_a_row_is_refused():
    complete, hidden = pd.DataFrame({"x": [1.0, 2.0], "y": [1.0, 2.0]}), np.zeros((2, 2), dtype=bool)
    with pytest.raises(ValueError, match="lacks y"):
        score_imputation(complete, complete, complete[["x"]], hidden)
    with pytest.raises(ValueError, match="has 1 rows, for 2"):
        score_imputation(complete, complete, complete.iloc[:1], hidden)


def test_cluster_scores_do_not_depend_on_the_clusters_numbers():
    labels, clusters = np.array(["a", "a", "b", "b", "c", "c"]), np.array([2, 2, 0, 0, 1, 0])
    scores = score_clusters(labels, clusters)
    assert scores == {"ari": pytest.approx(adjusted_rand_score(labels, clusters)), "acc": pytest.approx(5 / 6)}
    assert score_clusters(labels, (clusters + 1) % 3) == scores
