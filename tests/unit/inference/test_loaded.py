"""A loaded run gives the same results for the same rows as when it was trained."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.cluster import Birch, KMeans
from sklearn.mixture import GaussianMixture

from deepmix import runs
from deepmix.data import SplitOptions, arrange_rows
from deepmix.errors import DeepmixError, UsageError
from deepmix.experiment import ExperimentConfig, prepare_experiment, run_experiment
from deepmix.experiment.clusterer import ClustererHead
from deepmix.inference import LoadedRun, open_run
from deepmix.maths import Inference
from deepmix.training import SilentReporter

HEADS = ("posterior", "gmm", "gmm-random", "kmeans")


def groups(n_rows: int = 90) -> np.ndarray:
    """Return rows of three groups in four columns of very different scales."""
    random = np.random.default_rng(0)
    return (np.eye(3, 4)[np.arange(n_rows) % 3] * 9.0 + random.normal(size=(n_rows, 4))) * [1.0, 50.0, 0.1, 3.0] + 7.0


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the folder of a short run on a CSV with a header and labels."""
    folder = tmp_path_factory.mktemp("run")
    lines = ["a,b,kind,c,d"]
    lines += [f"{a!r},{b!r},{'xyz'[i % 3]},{c!r},{d!r}" for i, (a, b, c, d) in enumerate(groups().tolist())]
    (folder / "rows.csv").write_text("\n".join(lines))
    settings = {"epochs": "3", "pretrain_epochs": "3", "latent_dim": "2", "batch_size": "16", "scale": "standard"}
    config = ExperimentConfig(
        init="kmeans", heads=HEADS, dataset=str(folder / "rows.csv"), label_column="kind", settings=settings
    )
    store = runs.RunFolder.create(folder / "run", overwrite=False)
    run_experiment(prepare_experiment(config), store, SilentReporter())
    return folder / "run"


def test_every_head_gives_the_runs_own_assignments_again(finished):
    run = open_run(finished)
    table = run.assignments()
    inference = run.infer(run.prepare(groups(), columns=["a", "b", "c", "d"]))
    for head in HEADS:
        assert np.array_equal(run.clusters(inference, head), table[head])
    assert np.exp(inference.log_q_NK.max(axis=1)) == pytest.approx(table["probability"], abs=2e-6)
    assert run.weight_K.sum() == pytest.approx(1.0, abs=1e-5)


def test_the_elbo_of_the_test_rows_is_the_runs(finished):
    run = open_run(finished)
    split = run.training_data()
    _, elbo = run.evaluate(split.x[split.test])
    assert elbo["elbo"] == pytest.approx(run.metrics.elbo["test"], rel=1e-6)


def test_columns_are_matched_by_name(finished):
    run = open_run(finished)
    straight = run.prepare(groups(), columns=["a", "b", "c", "d"])
    shuffled = run.prepare(groups()[:, [2, 0, 3, 1]], columns=["c", "a", "d", "b"])
    assert np.array_equal(straight, shuffled)
    assert np.array_equal(straight, run.prepare(groups()))
    assert run.preparation.undo(straight) == pytest.approx(groups(), rel=1e-4)


@pytest.mark.parametrize(
    ("x", "columns", "message"),
    [
        (groups()[:, :3], None, r"3 column\(s\) and the run was trained on 4"),
        (groups(), ["a", "b", "c", "e"], "lack 'd'; give them"),
        (groups()[:, [0, 0, 1, 2, 3]], ["a", "a", "b", "c", "d"], "repeat 'a'"),
        (np.where(np.arange(360).reshape(90, 4) == 41, np.nan, 1.0), None, "row 11, column 'b' is nan"),
        (np.array([["a"] * 4]), None, "must be numbers"),
    ],
)
def test_rows_that_are_not_the_runs_are_refused(finished, x, columns, message):
    with pytest.raises(UsageError, match=message):
        open_run(finished).prepare(x, columns)


def test_rows_scaled_otherwise_than_bytes_are_refused(tmp_path):
    x = (np.eye(3, 4)[np.arange(60) % 3] * 200 + np.random.default_rng(0).integers(0, 50, (60, 4))).astype(np.uint8)
    np.save(tmp_path / "bytes.npy", x)
    settings = {"epochs": "1", "pretrain_epochs": "1", "latent_dim": "2", "components": "3"}
    config = ExperimentConfig(init="kmeans", dataset=str(tmp_path / "bytes.npy"), settings=settings)
    memory = runs.MemoryRun()
    run_experiment(prepare_experiment(config), memory, SilentReporter())
    run = LoadedRun(memory)
    assert np.array_equal(run.prepare(x.astype(np.float64)), run.prepare(x))
    assert run.prepare(x).max() <= 1.0
    with pytest.raises(UsageError, match=r"column 1 ranges from 0 to 600 and the run was trained on values in 0..255;"):
        run.prepare(np.array([[0, 0, 0, 0], [600, 0, 0, 0]]))


def test_no_rows_give_no_clusters(finished):
    run = open_run(finished)
    inference = run.infer(run.prepare(groups()[:0]))
    assert inference.log_q_NK.shape == (0, 3)


def test_what_is_not_a_finished_run_is_refused(finished, tmp_path):
    with pytest.raises(UsageError, match="is not a run folder"):
        open_run(tmp_path)
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in finished.iterdir():
        if path.is_file() and path.name != runs.METRICS:
            (copy / path.name).write_bytes(path.read_bytes())
    with pytest.raises(UsageError, match="is not finished; finish it with: deepmix train --resume --out"):
        open_run(copy)
    (copy / runs.METRICS).write_text("{}")
    weights = (copy / runs.MODEL).read_bytes()
    (copy / runs.MODEL).write_bytes(weights[:-9])
    with pytest.raises(DeepmixError, match=r"model.safetensors' is damaged"):
        open_run(copy)
    (copy / runs.MODEL).write_bytes(weights)
    config = json.loads((copy / runs.CONFIG).read_text())
    config["resolved"]["size"]["latent_dim"] = 3
    del config["checksum"]
    (copy / runs.CONFIG).write_text(json.dumps(config))
    with pytest.raises(DeepmixError, match="do not fit together"):
        open_run(copy)
    with pytest.raises(UsageError, match="no head 'birch'; choose one of: posterior, gmm, gmm-random, kmeans"):
        open_run(finished).head("birch")


def test_a_run_kept_in_memory_is_the_run_in_a_folder(finished, tmp_path):
    run = open_run(finished)
    memory = runs.MemoryRun()
    run_experiment(prepare_experiment(run.config), memory, SilentReporter())
    held = LoadedRun(memory)
    x = run.prepare(groups())
    assert np.array_equal(held.infer(x).log_q_NK, run.infer(x).log_q_NK)
    for name, values in run.assignments().items():
        assert np.array_equal(held.assignments()[name], values)
    held.save(runs.RunFolder.create(tmp_path / "saved", overwrite=False))
    for name in (runs.MODEL, runs.INFERENCE, runs.ASSIGNMENTS):
        assert (tmp_path / "saved" / name).read_bytes() == (finished / name).read_bytes()


@pytest.mark.parametrize("scale", ["none", "standard", "bytes"])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_preparation_repeats_what_was_done_to_the_training_rows(scale, kind):
    x = np.random.default_rng(0).integers(0, 200, size=(40, 5)).astype(np.uint8)
    rows = sparse.csr_matrix(x) if kind == "sparse" else x
    split = arrange_rows(rows, None, SplitOptions(scale=scale))
    again = split.preparation.apply(rows[7:19])
    expected = split.x[7:19]
    if kind == "sparse":
        again, expected = again.toarray(), expected.toarray()
    assert again.dtype == np.float32
    assert np.array_equal(again, expected)
    assert split.preparation.undo(again) == pytest.approx(x[7:19], abs=1e-3)


def three_groups() -> Inference:
    random = np.random.default_rng(0)
    latent = (np.eye(3)[np.arange(60) % 3] * 9.0 + random.normal(size=(60, 3))).astype(np.float32)
    return Inference(np.zeros((60, 1), np.float32), latent)


@pytest.mark.parametrize("factory", [lambda: KMeans(n_init=3), Birch], ids=["kmeans", "birch"])
def test_clusterers_with_centres_are_kept_as_those(factory):
    head, again = ClustererHead(factory), ClustererHead(factory)
    head.fit(three_groups(), 3, seed=0)
    state = head.state()
    assert state is not None
    again.restore(state)
    clusters = again.predict(three_groups())
    assert np.array_equal(clusters, head.predict(three_groups()))
    assert np.array_equal(np.unique(clusters[:3]), [0, 1, 2])
    assert np.array_equal(clusters, np.tile(clusters[:3], 20))


def test_clusterers_without_centres_say_that_they_can_not_be_kept():
    head = ClustererHead(GaussianMixture)
    head.fit(three_groups(), 3, seed=0)
    assert head.state() is None
    assert len(np.unique(head.predict(three_groups()))) == 3


def test_image_rows_keep_their_shape():
    split = arrange_rows(torch.rand(30, 4, 6).numpy(), None, SplitOptions())
    assert split.preparation.row_shape == (4, 6)
