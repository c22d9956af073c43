"""The estimator keeps scikit-learn's conventions and is the command line's own code."""

from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import deepmix
from deepmix import DeepMixture
from deepmix.errors import DeepmixError, UsageError

SMALL = {"encoder.hidden": "16", "decoder.hidden": "16", "anchor": 10}
"""Networks of one narrow layer."""


CLASSIFIERS_ONLY = (
    "scikit-learn 1.9 takes whatever has predict_proba and accepts sparse rows for a classifier, and reads "
    "tags.classifier_tags.multi_class of a clusterer, which has none; sparse rows are tested below"
)


SHUFFLED = "which rows are held out, and the batches, depend on the number of rows; weights of 0 are refused"


EXPECTED_FAILURES = {
    "check_estimator_sparse_array": CLASSIFIERS_ONLY,
    "check_estimator_sparse_matrix": CLASSIFIERS_ONLY,
    "check_sample_weight_equivalence_on_dense_data": SHUFFLED,
    "check_sample_weight_equivalence_on_sparse_data": SHUFFLED,
}
"""Checks of scikit-learn that the estimator can't pass, each with its reason."""


TRUTH = np.arange(120) % 3


pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def small(n_components: int = 3, **parameters) -> DeepMixture:
    """Return an estimator that is fitted in a fraction of a second."""
    defaults = {"init": "kmeans", "latent_dim": 2, "epochs": 3, "pretrain_epochs": 3, "batch_size": 16}
    return DeepMixture(n_components, settings=SMALL, **{**defaults, **parameters})


def trained(n_components: int = 3, **parameters) -> DeepMixture:
    """Return an estimator that learns enough to tell the groups apart."""
    return small(n_components, **{"epochs": 30, "pretrain_epochs": 30, "lr": 0.01, **parameters})


def groups() -> np.ndarray:
    """Return three groups of rows in five columns."""
    return np.eye(3, 5)[TRUTH] * 8.0 + np.random.default_rng(0).normal(size=(120, 5))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"model": 3}, "model must be a name, got 3"),
        ({"init": 3}, "init must be a name, got 3"),
        ({"device": None}, "device must be a name, got None"),
        ({"head": 3}, "head must be a name or a list of names, got 3"),
        ({"settings": "beta=1"}, "settings must be a mapping of options"),
    ],
)
def test_parameters_of_the_wrong_type(parameters, message):
    with pytest.raises(ValueError, match=message):
        DeepMixture(3, **parameters).fit(groups())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_components": 0}, "n_components must be at least 1, got 0"),
        ({"n_components": "four"}, "n_components must be a whole number, auto or a range such as 2:20, got 'four'"),
        ({"n_components": True}, "n_components must be a whole number, auto or a range such as 2:20, got 'True'"),
        ({"random_state": -1}, "random_state must be at least 0 and at most 4294967295, got -1"),
        ({"settings": {"components": 5}}, "the number of clusters is not one of the settings; give n_components=K"),
        ({"settings": {"samples": 0}}, r"settings=\{'samples': ...\} must be at least 1, got 0"),
        ({"n_components": 200}, "200 clusters can't be made of 102 training rows; give a smaller n_components"),
        ({"n_components": None}, "the number of clusters is unknown, as there are no labels; give n_components=K"),
        ({"head": ()}, "at least one head is needed; give one with head"),
        ({"model": "vae"}, "use head='gmm' or head='kmeans' with it"),
        ({"device": "warp"}, "device 'warp' can't be used here; try device='cpu'"),
        ({"model": "vade-conv"}, r"with settings=\{'image_shape': '28x28'\}"),
        ({"model": "m2", "settings": {"labelled": 9}}, r"name them with y, or leave out settings=\{'labelled': ...\}"),
    ],
    ids=str,
)
def test_messages_name_the_parameters_of_python(parameters, message):
    with pytest.raises(ValueError, match=message) as caught:
        DeepMixture(**{"n_components": 3, **parameters}).fit(groups())
    assert "--" not in str(caught.value)


def test_warnings_name_the_parameters_of_python():
    estimator = small(beta=100.0, epochs=30, lr=0.01)
    with pytest.warns(ConvergenceWarning) as caught:
        estimator.fit(np.random.default_rng(0).normal(size=(120, 5)))
    spelled = [str(warning.message) for warning in caught if "; try a smaller" in str(warning.message)]
    assert any(text.endswith("try a smaller latent_dim or beta") for text in spelled)
    assert not any("`" in text or "--" in text for text in spelled)
    assert any(text.endswith("try a smaller `latent_dim` or `beta`") for text in estimator.metrics_["warnings"])


def test_divergence_names_the_parameters_of_python():
    with pytest.raises(DeepmixError, match="try a smaller lr, or scale='standard' for data with very large values"):
        small(lr=1e18).fit(groups())


def test_sparse_rows_with_wrong_indices_are_refused(fitted):
    for kind in ("csr", "csc"):
        x = sparse.csr_matrix(groups()).asformat(kind)
        x.indices[3] = 500
        with pytest.raises(ValueError, match=r"the sparse matrix is not valid: it has a value in (row|column) 500"):
            small().fit(x)
        with pytest.raises(ValueError, match="the sparse matrix is not valid"):
            fitted.predict(x)


def test_saving_over_a_folder_names_the_arguments_of_python(fitted, tmp_path):
    with pytest.raises(UsageError, match="exists; choose another folder, or add overwrite=True"):
        fitted.save(tmp_path)
    (tmp_path / "thesis.txt").write_text("all my work")
    with pytest.raises(UsageError, match="choose another folder"):
        fitted.save(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "all my work"


@pytest.fixture(scope="module")
def fitted() -> DeepMixture:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return trained().fit(groups())


def test_scikit_learns_own_checks():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(small(), expected_failed_checks=EXPECTED_FAILURES, on_fail=None, on_skip=None)
    failed = {result["check_name"]: result["exception"] for result in results if result["status"] == "failed"}
    assert failed == {}
    skipped = {result["check_name"] for result in results if result["status"] == "skipped"}
    without_polars = set() if importlib.util.find_spec("polars") else {"check_set_output_polars"}
    assert skipped <= {"check_array_api_input"} | without_polars  # the one needs SCIPY_ARRAY_API set at start
    assert len(results) > 45


def test_importing_deepmix_is_cheap():
    code = "import sys, deepmix; print([name for name in ('torch', 'sklearn', 'numpy') if name in sys.modules])"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"
    assert {"DeepMixture", "load"} <= set(dir(deepmix))
    with pytest.raises(AttributeError, match="No deepmix attribute DeepMix"):
        deepmix.DeepMix  # noqa: B018


def test_clusters_are_the_groups(fitted):
    assert adjusted_rand_score(TRUTH, fitted.labels_) == 1.0
    assert fitted.cluster_sizes_.tolist() == [40, 40, 40]
    assert np.array_equal(fitted.predict(groups()), fitted.labels_)
    assert np.array_equal(trained().fit_predict(groups()), fitted.labels_)
    proba = fitted.predict_proba(groups())
    assert proba.sum(axis=1) == pytest.approx(np.ones(120), abs=1e-6)
    assert np.array_equal(proba.argmax(axis=1), fitted.labels_)
    assert fitted.transform(groups()).shape == (120, 2)
    assert fitted.n_features_in_ == 5


def test_score_is_the_runs_elbo(fitted):
    held_out = np.flatnonzero(fitted.run_.assignments()["split"] == "test")
    assert fitted.score(groups()[held_out]) == pytest.approx(fitted.metrics_["elbo"]["test"], rel=1e-6)


def test_samples_lie_in_their_group_in_the_units_of_the_data(fitted):
    for component in range(3):
        centre = groups()[fitted.labels_ == component].mean(axis=0)
        rows = fitted.sample(20, component)
        assert rows.shape == (20, 5)
        assert np.abs(rows.mean(axis=0) - centre).max() < 3.0
        sure = fitted.sample(20, component, minimum_posterior=0.5)
        assert fitted.predict_proba(sure)[:, component].min() >= 0.5 - 1e-4
    assert fitted.sample(7).shape == (7, 5)
    assert np.array_equal(fitted.sample(7), fitted.sample(7))
    with pytest.raises(ValueError, match="no component 3; the model has components 0 to 2"):
        fitted.sample(1, component=3)


@pytest.mark.parametrize("head", ["kmeans", ("gmm", "posterior")])
def test_other_heads(head):
    estimator = trained(head=head).fit(groups())
    assert adjusted_rand_score(TRUTH, estimator.predict(groups())) == 1.0


def test_one_component_and_a_model_without_a_mixture():
    assert set(small(1).fit_predict(groups())) == {0}
    estimator = trained(model="vae", head="kmeans").fit(groups())
    assert adjusted_rand_score(TRUTH, estimator.labels_) == 1.0
    assert np.array_equal(estimator.predict_proba(groups()), np.ones((120, 1), np.float32))


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csr_array, sparse.coo_array])
def test_sparse_rows_give_what_dense_ones_give(container):
    x = np.random.default_rng(0).poisson(0.4 + 4.0 * np.eye(3, 6)[TRUTH]).astype(np.float64)
    estimator = small(scale="none").fit(x)
    from_sparse = small(scale="none").fit(container(x))
    assert np.array_equal(from_sparse.labels_, estimator.labels_)
    assert np.array_equal(from_sparse.predict(container(x)), estimator.labels_)
    assert from_sparse.predict_proba(container(x)) == pytest.approx(estimator.predict_proba(x), abs=1e-5)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_data_frames(library):
    frames = pytest.importorskip(library, reason=f"{library} is not installed")
    frame = frames.DataFrame({name: groups()[:, i] for i, name in enumerate("abcde")})
    estimator = small().set_output(transform=library).fit(frame)
    assert estimator.feature_names_in_.tolist() == list("abcde")
    latents = estimator.transform(frame)
    assert isinstance(latents, frames.DataFrame)
    assert list(latents.columns) == ["deepmixture0", "deepmixture1"]
    assert np.array_equal(estimator.labels_, small().fit_predict(groups()))
    other = frames.DataFrame({name: groups()[:, i] for i, name in enumerate("zbcde")})
    with pytest.warns(UserWarning, match="columns that") as caught:
        estimator.predict(other)  # 'a' is missing in every row
    assert sorted("'a'" in str(warning.message) for warning in caught) == [False, True]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("rows.csv", "'rows.csv' is a path, not rows; read the file first, for example with pandas.read_csv"),
        (Path("rows.csv"), "'rows.csv' is a path, not rows"),
        (pd.DataFrame(np.eye(3), columns=["a", "b", "a"]), "2 columns are called 'a'; give every column a name of"),
        (pd.DataFrame(np.eye(3), columns=[1, "1", "a"]), "2 columns are called '1'"),
        ([["a", 1.0], ["b", 2.0]], "instead; pass rows with text in a pandas or polars data frame"),
        (np.array([["a", 1.0], ["b", 2.0]], dtype=object), "'a'; pass rows with text in a pandas or polars data frame"),
    ],
    ids=["text", "path", "names", "numbers", "list", "objects"],
)
def test_rows_of_the_wrong_kind(rows, message):
    with pytest.raises(ValueError, match=message):
        small().fit(rows)


def test_pipelines_clones_and_grids():
    pipeline = make_pipeline(StandardScaler(), trained())
    assert adjusted_rand_score(TRUTH, pipeline.fit_predict(groups())) == 1.0
    assert clone(small(latent_dim=4)).get_params() == small(latent_dim=4).get_params()
    search = GridSearchCV(small(), {"n_components": [2, 3], "latent_dim": [1, 2]}, cv=2).fit(groups())
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_score_ == search.cv_results_["mean_test_score"].max()
    assert search.best_estimator_.n_components == search.best_params_["n_components"]


def test_random_states():
    seeded = small(random_state=np.random.RandomState(4)).fit(groups())
    assert seeded.run_.config.seed == small(random_state=np.random.RandomState(4)).fit(groups()).run_.config.seed
    assert seeded.run_.config.seed != 4
    assert small(random_state=np.int64(4)).fit(groups()).run_.config.seed == 4
    assert small(random_state=None).fit(groups()).labels_.shape == (120,)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"model": "mvea"}, "unknown model 'mvea'"),
        ({"n_components": 500}, "500 clusters can't be made of 102 training rows"),
        ({"latent_dim": 0}, "latent_dim must be at least 1"),
        ({"settings": {"anchr": 1}}, "unknown option 'anchr'"),
        ({"head": ()}, "at least one head"),
    ],
)
def test_wrong_parameters_are_value_errors(parameters, message):
    with pytest.raises(ValueError, match=message):
        small().set_params(**parameters).fit(groups())


def test_nothing_works_before_fit(tmp_path):
    for call in (small().sample, lambda: small().save(tmp_path / "run"), lambda: small().score(groups())):
        with pytest.raises(NotFittedError):
            call()


def test_what_went_wrong_in_training_is_a_warning():
    x = np.c_[groups(), np.full(120, 3.0)]
    with pytest.warns(UserWarning, match=r"1 constant column\(s\)"):
        small().fit(x)


def test_saved_and_loaded_it_is_the_same(fitted, tmp_path):
    fitted.save(tmp_path / "run")
    loaded = deepmix.load(tmp_path / "run")
    assert loaded.get_params() == {**fitted.get_params(), "settings": {k: str(v) for k, v in SMALL.items()}}
    assert np.array_equal(loaded.labels_, fitted.labels_)
    assert np.array_equal(loaded.predict_proba(groups()), fitted.predict_proba(groups()))
    assert loaded.score(groups()) == fitted.score(groups())
    assert np.array_equal(loaded.sample(3, 1), fitted.sample(3, 1))
    assert loaded.n_features_in_ == 5
    assert np.array_equal(clone(loaded).fit(groups()).labels_, fitted.labels_)
    with pytest.raises(UsageError, match="exists"):
        fitted.save(tmp_path / "run")
    with pytest.raises(UsageError, match="is not a run folder"):
        deepmix.load(tmp_path)


def test_no_pickle_is_written(fitted, tmp_path):
    fitted.save(tmp_path / "run")
    assert {path.suffix for path in (tmp_path / "run").iterdir()} == {".json", ".jsonl", ".safetensors", ".csv"}


def test_the_log_has_the_steps_of_the_initial_clustering(caplog):
    caplog.set_level(logging.INFO, logger="deepmix")
    small(init="auto").fit(groups())
    messages = [record.getMessage() for record in caplog.records]
    assert messages.index("initial clustering") + 1 == messages.index("  kmeans, 0 % of the stage done")
