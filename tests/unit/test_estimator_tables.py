"""The estimator on tables: data frames of mixed columns, gaps, weights, and the files of its runs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

import deepmix
from deepmix import DeepMixture
from deepmix.data import ColumnOptions, TableOptions
from deepmix.inference import Imputation
from tests.tables import PLANS, mixed_table, true_groups

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


SETTINGS = {"encoder.hidden": "16", "decoder.hidden": "16"}


COLUMNS = TableOptions(weight_column="weight", conditions=("site",))


def quick(**parameters) -> DeepMixture:
    """Return an estimator that is fitted in about a second."""
    defaults = {"init": "kmeans", "epochs": 8, "pretrain_epochs": 8, "batch_size": 16, "settings": SETTINGS}
    return DeepMixture(3, **{**defaults, **parameters})


def unlabelled(n_rows: int = 120) -> pd.DataFrame:
    return mixed_table(n_rows).drop(columns=["group"])


@pytest.fixture(scope="module")
def fitted() -> DeepMixture:
    return quick(columns=COLUMNS).fit(unlabelled())


def test_a_mixed_frame_is_clustered(fitted):
    frame = unlabelled()
    assert adjusted_rand_score(true_groups(), fitted.labels_) == 1.0
    assert fitted.feature_names_in_.tolist() == list(frame)
    assert np.array_equal(fitted.predict(frame), fitted.labels_)
    q_NK = fitted.predict_proba(frame)
    assert np.array_equal(q_NK.argmax(axis=1), fitted.labels_)
    kinds = {column.name: column.kind for column in fitted.run_.schema.columns}
    assert (kinds["site"], kinds["weight"], kinds["note"]) == ("condition", "weight", "text")


def test_frames_of_other_libraries_and_orders_give_the_same(fitted):
    polars = pytest.importorskip("polars", reason="polars is not installed")
    frame = unlabelled()
    other = polars.DataFrame({name: [None if pd.isna(cell) else cell for cell in frame[name]] for name in frame})
    assert np.array_equal(fitted.score_samples(other), fitted.score_samples(frame))
    assert np.array_equal(fitted.score_samples(frame.iloc[:, ::-1]), fitted.score_samples(frame))
    again = quick(columns=COLUMNS).fit(other)
    assert np.array_equal(again.score_samples(frame), fitted.score_samples(frame))


def test_pandas_own_types_give_the_same(fitted):
    frame = unlabelled()
    typed = frame.convert_dtypes().assign(
        joined=pd.to_datetime(frame["joined"]), plan=pd.Categorical(frame["plan"], categories=PLANS)
    )
    assert np.array_equal(fitted.predict(typed), fitted.labels_)
    assert np.array_equal(quick(columns=COLUMNS).fit(typed).labels_, fitted.labels_)


def test_kinds_of_columns_as_parameters():
    columns = {"visits": "continuous", "length": ColumnOptions(likelihood="student-t"), "spend": "dropped"}
    estimator = quick(columns=columns, epochs=1, pretrain_epochs=1).fit(unlabelled())
    by_name = {column.name: (column.kind, column.likelihood) for column in estimator.run_.schema.columns}
    assert by_name["visits"] == ("continuous", "gaussian-per-column")
    assert by_name["length"] == ("continuous", "student-t")
    assert by_name["spend"] == ("dropped", None)
    with pytest.raises(ValueError, match="unknown kind 'blue' of column 'visits'; choose one of"):
        quick(columns={"visits": "blue"}).fit(unlabelled())
    with pytest.raises(ValueError, match="there is no column 'size'"):
        quick(columns={"size": "count"}).fit(unlabelled())


def test_saved_and_loaded_it_is_the_same(fitted, tmp_path):
    frame = unlabelled()
    fitted.save(tmp_path / "run")
    loaded = deepmix.load(tmp_path / "run")
    assert loaded.feature_names_in_.tolist() == list(frame)
    assert np.array_equal(loaded.labels_, fitted.labels_)
    assert np.array_equal(loaded.score_samples(frame), fitted.score_samples(frame))
    assert np.array_equal(loaded.outlier_scores(frame), fitted.outlier_scores(frame))
    assert loaded.impute(frame).equals(fitted.impute(frame))
    assert loaded.sample(5).equals(fitted.sample(5))
    assert loaded.columns == COLUMNS
    again = deepmix.DeepMixture(**loaded.get_params()).fit(frame)
    assert np.array_equal(again.score_samples(frame), fitted.score_samples(frame))


def test_imputation_of_a_frame_keeps_its_index_and_types(fitted):
    frame = unlabelled().set_index(pd.Index([f"r{i}" for i in range(120)]))
    frame["joined"] = pd.to_datetime(frame["joined"])
    filled = fitted.impute(frame)
    assert filled.index.equals(frame.index)
    assert filled["joined"].dtype.kind == "M"
    for name in frame:
        seen = frame[name].notna()
        assert filled[name].notna().all(), name
        assert (filled.loc[seen, name] == frame.loc[seen, name]).all(), name
    imputation = fitted.impute(frame, interval=0.5)
    assert isinstance(imputation, Imputation)
    assert imputation.n_filled == int(frame[["length", "width", "spend", "plan", "joined"]].isna().sum().sum())
    for ends in (imputation.low, imputation.high):
        assert ends.index.equals(frame.index)
        assert ends["spend"].notna().equals(frame["spend"].isna())
    wide = fitted.impute(frame, interval=0.99)
    empty = frame["spend"].isna()
    assert (wide.low["spend"] <= imputation.low["spend"])[empty].all()
    assert (wide.high["spend"] >= imputation.high["spend"])[empty].all()


def test_samples_are_rows_of_the_table(fitted):
    rows = fitted.sample(60)
    assert list(rows) == ["length", "width", "spend", "visits", "plan", "member", "joined"]
    assert rows["visits"].dtype == np.int64
    assert set(rows["plan"]) <= set(PLANS)
    assert rows["joined"].dtype.kind == "M"
    assert rows["length"].equals(rows["length"].round(1))


def test_strange_rows_have_the_largest_scores(fitted):
    frame = unlabelled().head(9)
    frame.loc[4, ["length", "width"]] = [-300.0, 900.0]
    frame.loc[7, "length"] = 1e30
    scores, bounds = fitted.outlier_scores(frame), fitted.score_samples(frame)
    assert scores[[4, 7]].tolist() == [1.0, 1.0]
    assert set(np.argsort(bounds)[:2]) == {4, 7}
    ordinary = [0, 1, 2, 3, 5, 6, 8]
    assert np.array_equal(scores[ordinary], fitted.outlier_scores(unlabelled())[ordinary])


def test_arrays_with_gaps():
    random = np.random.default_rng(0)
    group = np.arange(120) % 3
    x = np.eye(3, 5)[group] * 12.0 + random.normal(size=(120, 5))
    x[random.random(x.shape) < 0.1] = np.nan
    estimator = quick(init=None, epochs=30, pretrain_epochs=30).fit(x)
    assert adjusted_rand_score(group, estimator.labels_) >= 0.9
    assert np.array_equal(estimator.predict(x), estimator.labels_)
    filled = estimator.impute(pd.DataFrame(x, columns=[f"x{i + 1}" for i in range(5)])).to_numpy()
    assert np.isfinite(filled).all()
    assert np.array_equal(filled[~np.isnan(x)], x[~np.isnan(x)])
    with pytest.raises(ValueError, match="4 features"):
        estimator.predict(x[:, :4])


@pytest.mark.parametrize("kind", ["float64", "Float32"])
def test_an_infinite_cell_of_a_frame_is_refused_as_in_a_file(kind):
    frame = unlabelled()
    name = frame.columns[frame.dtypes == "float64"][0]
    values = frame[name].to_numpy(copy=True)
    values[[2, 5]] = np.inf, np.nan
    frame[name] = pd.array(values, dtype=kind)
    with pytest.raises(ValueError, match=f"^row 3, column '{name}' is infinite; give it a finite number, or leave"):
        quick().fit(frame)


def test_a_weight_column_and_sample_weight_are_one_thing():
    frame = unlabelled()
    by_column = quick(columns=TableOptions(weight_column="weight"), epochs=2).fit(frame)
    bare = frame.drop(columns=["weight"])
    by_argument = quick(epochs=2).fit(bare, sample_weight=frame["weight"].to_numpy())
    assert np.array_equal(by_argument.score_samples(bare), by_column.score_samples(frame))
    assert not np.array_equal(quick(epochs=2).fit(bare).score_samples(bare), by_argument.score_samples(bare))
    for wrong in (np.zeros(120), np.ones(119), np.full(120, np.nan)):
        with pytest.raises(ValueError, match="the weights must be 120 finite numbers above zero"):
            quick().fit(bare, sample_weight=wrong)
    with pytest.raises(ValueError, match="weight column 'weight' has no number greater than 0 in row 4"):
        quick(columns=TableOptions(weight_column="weight")).fit(frame.assign(weight=[1, 1, 1, 0] + [1] * 116))


def test_a_run_on_an_array_imputes_nothing():
    estimator = quick(epochs=1, pretrain_epochs=1).fit(np.random.default_rng(0).normal(size=(60, 4)))
    with pytest.raises(ValueError, match="trained on an array without missing values"):
        estimator.impute(pd.DataFrame(np.zeros((2, 4))))
