"""What an initial clustering takes where there are conditions or missing values."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer

from deepmix.data import Split, SplitOptions, TableOptions, arrange_table
from deepmix.experiment.clustering_features import clustering_features, without_conditions


def test_what_is_linear_in_the_conditions_is_taken_away():
    random = np.random.default_rng(0)
    own_NF, shift_QF = random.normal(size=(50, 3)), np.array([[5.0, -3.0, 0.0], [1.0, 2.0, -4.0]])
    condition_NQ = np.eye(2)[np.arange(50) % 2]
    own_NF -= condition_NQ @ np.stack([own_NF[q::2].mean(axis=0) for q in range(2)])  # unrelated to the conditions
    x_NF = own_NF + condition_NQ @ shift_QF
    train, test = np.arange(40), np.arange(40, 50)
    split = Split(x_NF, train, test, None, "columns", "", conditions=condition_NQ)
    actual_NF = without_conditions(x_NF[train], split)
    assert actual_NF.dtype == np.float32
    means_QF = np.stack([own_NF[:40][q::2].mean(axis=0) for q in range(2)])
    np.testing.assert_allclose(actual_NF, own_NF[:40] - condition_NQ[:40] @ means_QF, atol=1e-5)
    without = Split(x_NF, train, test, None, "columns", "")
    np.testing.assert_array_equal(without_conditions(x_NF[train], without), x_NF[train].astype(np.float32))


def test_missing_values_are_predicted_from_the_other_columns():
    random = np.random.default_rng(0)
    first = random.normal(size=300)
    frame = pd.DataFrame({"a": first, "b": 2.0 * first + 0.01 * random.normal(size=300), "c": random.normal(size=300)})
    complete_NF = clustering_features(arrange(frame), 0)
    holed = frame.copy()
    holed.loc[:59, "b"] = np.nan
    filled_NF = clustering_features(arrange(holed), 0)
    # `b` is twice `a`, so that its features are alike; the scale differs by chance, as 60 rows fewer set it
    np.testing.assert_allclose(filled_NF[:60, 1], complete_NF[:60, 1], atol=0.15)
    np.testing.assert_array_equal(filled_NF[:, 0], complete_NF[:, 0])


def test_a_flag_that_linear_algebra_sets_by_mistake_is_no_warning(monkeypatch):
    fit = IterativeImputer.fit

    def flagged(imputer: IterativeImputer, x_NF: np.ndarray) -> IterativeImputer:
        assert np.isnan(np.subtract(np.inf, np.inf)), "this sets the flag of invalid values"
        return fit(imputer, x_NF)

    monkeypatch.setattr(IterativeImputer, "fit", flagged)
    frame = pd.DataFrame({"a": np.arange(300.0), "b": np.arange(300.0) ** 2})
    frame.loc[3, "b"] = np.nan
    assert np.isfinite(clustering_features(arrange(frame), 0)).all()


def test_predictions_stay_in_range_where_columns_repeat_each_other():
    random = np.random.default_rng(7)
    group = random.integers(0, 4, 300)
    frame = pd.DataFrame(
        {
            "spend": 6.0 * (group % 2) + random.normal(size=300),
            "height": 6.0 * (group // 2) + random.normal(size=300),
            "plan": np.array(["basic", "pro", "gold", "free"])[(group + (random.random(300) < 0.1)) % 4],
            "kind": np.array(list("abcd"))[group],
        }
    )
    complete = arrange(frame)
    for column in ("spend", "height", "plan"):
        frame.loc[random.random(300) < 0.1, column] = None
    filled_NF = clustering_features(arrange(frame), 0)
    low_F, high_F = complete.x.min(axis=0) - 0.5, complete.x.max(axis=0) + 0.5
    assert ((low_F <= filled_NF) & (filled_NF <= high_F)).all()


def arrange(frame: pd.DataFrame) -> Split:
    return arrange_table(frame, SplitOptions(), TableOptions(), n_train=250)
