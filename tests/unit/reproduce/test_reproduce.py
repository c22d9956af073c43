"""The papers' numbers as data, and how a cell becomes a run."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from deepmix import metrics, runs
from deepmix.contracts import registry
from deepmix.errors import DeepmixError, UsageError
from deepmix.experiment import resolve, run_experiment
from deepmix.reproduce import Request, figures, jobs, load_table, load_tables, reproduce, select
from deepmix.reproduce.figures import _is_right, _mosaics
from deepmix.reproduce.jobs import find_gap, job_of, measure
from deepmix.reproduce.published import Spec, merge, read_table
from deepmix.reproduce.tables import make_plan
from deepmix.reproduce.trace import read_trace
from deepmix.training import SilentReporter


class Silent(SilentReporter):
    def close(self): ...


def run(**options):
    messages = []
    content, paths = reproduce(Request(**options), Silent, messages.append)
    return content, paths, messages


PRINTED = [
    ("supplement-1", "USPS", "MVAE, hard", "acc", None, "M = 10"),
    ("supplement-1", "Fashion-MNIST", "EM-V2, soft", "acc", None, "M = 6"),
    ("supplement-1", "HAR", "scheduled beta-EM-V2, hard", "acc", None, "M = 6"),
    ("supplement-2", "MNIST", "MVAE, soft", "ten_epochs", 222.34, ""),
    ("supplement-2", "HAR", "EM-V2, hard", "n_parameters", 3327807, ""),
    ("supplement-3", "0.3", "soft, GMM", "acc", 84.44, ""),
    ("supplement-3", "0.5", "hard, posterior", "ari", 38.57, ""),
    ("supplement-4", "0.2", "hard, GMM", "acc", 95.49, ""),
    ("supplement-5", "0.1", "hard, GMM", "acc", 87.84, ""),
    ("supplement-6", "0.1", "soft, GMM", "nmi", 89.77, ""),
    ("supplement-7", "0.2", "hard, GMM", "acc", 67.57, ""),
    ("supplement-8", "0.5", "soft, GMM", "acc", 82.70, ""),
    ("supplement-9", "0.1", "hard, GMM", "acc", 80.49, ""),
    ("vade-2", "VaDE", "MNIST", "acc", 94.46, ""),
    ("vade-2", "LDMGI", "REUTERS", "acc", None, ""),
    ("vade-3", "VaDE", "k=5", "knn_5", 2.14, ""),
    ("n2d", "N2D", "Fashion-MNIST", "acc", 67.2, ""),
    ("k-dvae-2", "k-DVAE", "MNIST", "acc", 97.87, ""),
    ("vade-conv", "CNN, 100 epochs, C10", "test", "v_measure", 85.02, ""),
]


@pytest.mark.parametrize(
    ("table", "row", "column", "name", "value", "setting_text"), PRINTED, ids=lambda value: str(value)
)
def test_numbers_are_the_papers(table, row, column, name, value, setting_text):
    matches = [
        (cell.value, cell.setting)
        for cell in load_table(table).cells
        if (cell.row, cell.column, cell.measure) == (row, column, name)
    ]
    assert matches == [(value, setting_text)]


def test_deviations_are_kept_apart():
    cell = next(cell for cell in load_table("k-dvae-2").cells if (cell.row, cell.column) == ("DGG", "Reuters"))
    assert (cell.value, cell.deviation) == (82.30, 1.2)


@pytest.mark.parametrize("name", sorted(load_tables()))
def test_every_cell_is_a_run_deepmix_accepts(name):
    table = load_table(name)
    for cell in table.cells:
        assert cell.spec.dataset in registry.names("datasets")
        for protocol in table.protocols:
            gap = find_gap(cell.spec, protocol)
            if gap:
                assert "no part of deepmix" in gap or "not installed" in gap
                continue
            heads = [protocol.heads.get(cell.spec.head, cell.spec.head)]
            job = job_of(cell.spec, protocol, heads, quick=False, download=False, data_dir=None, device="cpu")
            options = resolve(job.config).options
            if "latent_dim" in cell.spec.settings:
                assert options["size"].latent_dim == int(cell.spec.settings["latent_dim"])
            if protocol.name == "protocol" and "anchor" in protocol.settings:
                assert (options["objective"].anchor, options["objective"].hold) == (0.0, 0.0)


PAPER = {
    "cite": "a paper",
    "protocol": {"heads": {"posterior": "posterior"}, "words": []},
    "defaults": {"heads": {"posterior": "posterior"}, "words": []},
}


@pytest.mark.parametrize(("values", "words"), [([1.0], "too few values"), ([1.0, 2.0, 3.0], "too many values")])
def test_a_row_with_the_wrong_number_of_values_is_named(values, words):
    table = {
        "name": "t",
        "title": "",
        "row_name": "",
        "columns": [{"label": "c", "measures": ["acc", "nmi"]}],
        "rows": [{"label": "the row", "values": values}],
    }
    with pytest.raises(ValueError, match=f"t: row 'the row' has {words}"):
        read_table(PAPER, table)


def test_parts_of_a_run_are_laid_over_each_other():
    merged = merge({"model": "a", "settings": {"beta": 1, "lr": 2}}, {"settings": {"beta": 3}}, {"model": "b"})
    assert merged == {"model": "b", "settings": {"beta": 3, "lr": 2}}


def test_cells_of_one_run_share_it_and_its_heads():
    table = load_table("supplement-3")
    plan = make_plan(table, Request("supplement-3"))
    jobs = plan.in_order()
    assert len(jobs) == 5 * 2 * 2  # beta, assignment, protocol
    by_protocol = {job.protocol.name: job.config.heads for job in jobs}
    assert by_protocol["protocol"] == ("gmm-refit", "gmm-refit-random", "posterior")
    assert by_protocol["defaults"] == ("gmm", "gmm-random", "posterior")
    assert len({job.key for job in jobs}) == len(jobs)


def test_a_job_is_known_by_what_decides_its_results():
    protocol = load_table("supplement-5").protocols[1]
    spec = Spec(dataset="usps", model="vade", settings={"latent_dim": "5"})

    def key(spec=spec, **changes):
        defaults = {"quick": False, "download": False, "data_dir": None, "device": "cpu"}
        return job_of(spec, protocol, ["posterior"], **{**defaults, **changes}).key

    assert key() == key(download=True) == key(data_dir="/elsewhere") == key(device="auto")
    others = [
        key(quick=True),
        key(dataclasses.replace(spec, settings={"latent_dim": "6"})),
        key(dataclasses.replace(spec, trace=True)),
    ]
    assert len({key(), *others}) == 4
    assert key().startswith("usps-vade-defaults-")


def test_selection():
    table = load_table("supplement-1")
    chosen = select(table, ["digits"], ["vade", "vae"])
    assert [(cell.row, cell.column) for cell in chosen.cells] == [("Digits", "VAE"), ("Digits", "VADE")]
    with pytest.raises(UsageError, match="no dataset 'iris'; choose datasets among: digits, fashion-mnist"):
        select(table, ["iris"], [])
    with pytest.raises(UsageError, match="no model 'dec'"):
        select(table, [], ["dec"])
    tree = select(load_table("k-dvae-2"), ["digits"], ["ltvae"])
    assert [(cell.row, cell.column, cell.spec.dataset, cell.value) for cell in tree.cells] == [
        ("LTVAE", "digits", "digits", None)
    ]
    assert tree.cells[0].spec.settings == {"latent_dim": "10"}
    figure = select(load_table("vade-figure-2"), ["digits"], [])
    assert {cell.spec.dataset for cell in figure.cells} == {"digits"}
    assert {cell.value for cell in figure.cells} == {None}
    with pytest.raises(UsageError, match="figure of one data set"):
        select(load_table("vade-figure-2"), ["digits", "mnist"], [])


def test_measures_are_read_off_a_run(tmp_path):
    folder = runs.RunFolder(tmp_path)
    for stage, epoch, seconds in (("train", 1, 1.0), ("train", 2, 2.0), ("train", 3, 3.0), ("pretrain", 1, 50.0)):
        folder.append_epoch(runs.EpochRecord(stage=stage, epoch=epoch, elbo=-1.0, lr=0.1, seconds=seconds))
    folder.write_table(
        runs.ASSIGNMENTS,
        ["row", "split", "posterior", "probability", "label"],
        [(1, "train", 0, 1.0, "a"), (2, "train", 1, 1.0, "b"), (3, "test", 1, 1.0, "a"), (4, "test", 1, 1.0, "b")],
    )
    results = runs.Metrics(
        heads={
            "posterior": {
                "train": runs.HeadFigures({"acc": 0.5}, [1, 1]),
                "test": runs.HeadFigures({"acc": 0.25, "silhouette": None}, [0, 2]),
            }
        },
        elbo={},
        elbo_parts={},
        warnings=[],
        n_parameters=7,
        seconds=1.0,
        knn_error={"5": 0.125},
    )
    expected = {("acc", "train"): 50.0, ("acc", "test"): 25.0, ("acc", "all"): 75.0, ("knn_5", "test"): 12.5}
    expected |= {("ten_epochs", "test"): 20.0, ("n_parameters", "test"): 7.0}
    for (name, side), value in expected.items():
        assert measure(name, "posterior", side, tmp_path, results) == value
    for name in ("knn_3", "silhouette", "nmi"):
        with pytest.raises(KeyError):
            measure(name, "posterior", "test", tmp_path, results)


def test_a_table_is_run_once_and_its_figures_agree_with_the_runs(tmp_path):
    options = {"table": "report-clusters", "n_seeds": 2, "out": tmp_path}
    content, paths, messages = run(**options)
    assert [path.name for path in paths] == ["report-clusters.md", "report-clusters.json", "report-clusters.png"]
    assert len([text for text in messages if "seed" in text]) == 8  # two models, two protocols, two seeds
    assert json.loads(paths[1].read_text()) == content
    cell = content["cells"][0]
    assert (cell["row"], cell["measure"], cell["model"]) == ("k-means", "acc", "kmeans")
    ours = cell["protocol"]
    table = runs.RunFolder(tmp_path / ours["folder"] / "seed-1").read_table(runs.ASSIGNMENTS)
    accuracy = 100.0 * metrics.clustering_accuracy(np.array(table["label"]), np.array(table["posterior"]))
    assert ours["values"]["1"] == pytest.approx(accuracy)
    assert ours["best"] == max(ours["values"].values())
    assert ours["mean"] == pytest.approx(np.mean(list(ours["values"].values())))
    text = paths[0].read_text()
    assert f"| {ours['best']:.2f} | {ours['mean']:.2f} ± {ours['std']:.2f} |" in text
    assert "same random rows as centres" in text
    again, _, messages = run(**options)
    assert messages == []
    assert again == content


def test_an_interrupted_table_goes_on_and_a_failed_cell_does_not_stop_it(tmp_path, monkeypatch):
    options = {"table": "report-clusters", "n_seeds": 1, "out": tmp_path}
    real, calls = run_experiment, []

    def interrupt(prepared, *args, **kwargs):
        calls.append(prepared.config.model)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(prepared, *args, **kwargs)

    monkeypatch.setattr(jobs, "run_experiment", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(**options)
    partial = json.loads((tmp_path / "report-clusters.json").read_text())
    assert partial["cells"][0]["protocol"]["best"] > 0
    assert partial["cells"][0]["defaults"] == {"gap": "not run yet"}
    gaps = next(line for line in (tmp_path / "report-clusters.md").read_text().splitlines() if "not run yet" in line)
    assert gaps == "- not run yet: k-means, gaussians (our defaults); Gaussian mixture, gaussians"

    def fail(prepared, *args, **kwargs):
        calls.append(prepared.config.model)
        if prepared.config.model == "gmm":
            raise DeepmixError("it went wrong")
        return real(prepared, *args, **kwargs)

    calls.clear()
    monkeypatch.setattr(jobs, "run_experiment", fail)
    content, paths, _ = run(**options)
    assert calls == ["kmeans", "gmm", "gmm"]
    assert content["cells"][0]["defaults"]["best"] > 0
    assert content["cells"][3]["defaults"]["failures"] == {"0": "it went wrong"}
    assert "- failed, seed 0: it went wrong: Gaussian mixture, gaussians" in paths[0].read_text()
    monkeypatch.setattr(jobs, "run_experiment", real)
    assert "failed" not in run(**options)[1][0].read_text()


def test_data_and_models_that_are_not_there_are_named(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("nothing may be fetched")

    monkeypatch.setattr("urllib.request.OpenerDirector.open", refuse)
    (tmp_path / "data").mkdir()
    out = tmp_path / "out"
    content, paths, _ = run(table="k-dvae-2", out=out, data_dir=str(tmp_path / "data"))
    gaps = {(cell["row"], cell["column"]): cell["defaults"]["gap"] for cell in content["cells"]}
    assert gaps["LTVAE", "MNIST"] == "model 'ltvae' is not installed; pip install deepmix-ltvae"
    assert "put mnist.npz into" in gaps["VaDE", "MNIST"]
    assert "download is false" in gaps["VaDE", "MNIST"]
    text = paths[0].read_text()
    assert "| VaDE | MNIST | acc (all) | 94.43 ± 0.1 | - |" in text
    assert "24 of 24 cells have no run of ours" in text
    missing = "model 'ltvae' is not installed; pip install deepmix-ltvae"
    assert f"- {missing}: LTVAE, MNIST; LTVAE, STL-10; LTVAE, Reuters; LTVAE, HHAR" in text
    assert sorted(path.name for path in out.iterdir()) == ["k-dvae-2.json", "k-dvae-2.md"]


CHEAP = {"table": "report-clusters", "models": ["kmeans"], "n_seeds": 1, "quick": True}


def damage_metrics(cell):
    (cell / runs.METRICS).write_text("{")


def damage_checkpoint(cell):
    (cell / runs.METRICS).unlink()
    (cell / runs.CHECKPOINT).parent.mkdir()
    (cell / runs.CHECKPOINT).write_bytes(b"no tensors")


def change_an_option(cell):
    config = json.loads((cell / runs.CONFIG).read_text())
    config["resolved"]["objective"]["anchor"] = 99.0
    del config["checksum"]
    (cell / runs.CONFIG).write_text(json.dumps(config))


@pytest.mark.parametrize("damage", [damage_metrics, damage_checkpoint, change_an_option])
def test_a_cell_that_is_damaged_or_of_other_options_is_done_again(tmp_path, damage):
    content, _, _ = run(**CHEAP, out=tmp_path)
    cell = tmp_path / content["cells"][0]["defaults"]["folder"] / "seed-0"
    damage(cell)
    again, _, messages = run(**CHEAP, out=tmp_path)
    assert len(messages) == 1
    assert again["cells"] == [
        {**one, "defaults": {**one["defaults"], "seconds": two["defaults"]["seconds"]}}
        for one, two in zip(content["cells"], again["cells"], strict=True)
    ]
    assert run(**CHEAP, out=tmp_path)[2] == []


def as_format_1(cell):
    """Write a finished cell's records as the version before formats did, which had its built-ins in other modules."""
    config = json.loads((cell / runs.CONFIG).read_text())
    facts = {key: value for key, value in config["data"].items() if key not in ("image_shape", "labels_fingerprint")}
    data = {**config["resolved"]["data"], "image_shape": config["data"]["image_shape"], **facts}
    training = {**config["resolved"]["training"], "epochs": 0, "pretrain_epochs": 0}  # a model without gradients
    paths = {"initializer": "KMeansInitializer", "data": "Gaussians", "head.posterior": "PosteriorHead"}
    assert {role for role in config["parts"] if role != "model"} == {*paths, "likelihood.gaussian"}
    requested = [field.name for field in dataclasses.fields(runs.Requested) if field.name in config]
    old = {key: config[key] for key in (*requested, "environment")}
    old["resolved"] = {
        **config["resolved"],
        "training": training,
        "data": data,
        "parts": {role: f"deepmix_builtins.somewhere:{name}" for role, name in paths.items()},
        "n_parameters": config["n_parameters"],
    }
    (cell / runs.CONFIG).write_text(json.dumps(old))
    metrics = json.loads((cell / runs.METRICS).read_text())
    del metrics["format"], metrics["checksum"], metrics["assignments"]
    (cell / runs.METRICS).write_text(json.dumps(metrics))


def test_a_finished_cell_is_the_same_wherever_its_plugins_lie(tmp_path):
    content, _, _ = run(**CHEAP, out=tmp_path)
    cell = tmp_path / content["cells"][0]["defaults"]["folder"] / "seed-0"
    assert "deepmix_builtins" not in (cell / runs.CONFIG).read_text()
    assert run(**CHEAP, out=tmp_path)[2] == []
    as_format_1(cell)
    again, _, messages = run(**CHEAP, out=tmp_path)
    assert messages == []
    assert [one["defaults"]["values"] for one in again["cells"]] == [
        one["defaults"]["values"] for one in content["cells"]
    ]
    assert "format" not in json.loads((cell / runs.CONFIG).read_text())


def test_one_run_has_no_deviation(tmp_path):
    content, paths, _ = run(**CHEAP, out=tmp_path)
    ours = content["cells"][0]["defaults"]
    assert ours["std"] is None
    assert f"| {ours['best']:.2f} | {ours['mean']:.2f} |" in paths[0].read_text()


def test_k_dvae_is_held_where_its_autoencoders_would_tie_and_quick_shortens_its_start():
    plan = make_plan(load_table("k-dvae-2"), Request("k-dvae-2", quick=True))
    jobs = {job.config.model: job for job in plan.jobs.values() if job.protocol.name == "protocol"}
    assert {name for name, job in jobs.items() if job.config.settings["hold"] == "0.3"} == {"k-dae", "k-dvae-paper"}
    assert jobs["k-dvae-paper"].config.settings["vade_epochs"] == "2"
    assert "vade_epochs" not in jobs["k-dae"].config.settings
    assert {cell.row for cell in select(load_table("k-dvae-2"), [], ["k-dvae-paper"]).cells} == {"k-DVAE"}


def test_a_figure_of_a_file_is_named_by_it(tmp_path):
    x = np.random.default_rng(0).random((60, 5))
    np.savez(tmp_path / "rows.v1.npz", x=x, y=np.arange(60) % 2)
    file = str(tmp_path / "rows.v1.npz")
    _, paths, _ = run(
        table="vade-figure-5", datasets=[file], models=["vade"], n_seeds=1, quick=True, out=tmp_path / "out"
    )
    assert paths[0].name == "vade-figure-5-rows-v1-npz-vade-quick.md"


def test_a_traced_run_has_the_accuracy_of_every_epoch(tmp_path):
    content, paths, _ = run(
        table="vade-figure-2", datasets=["gaussians"], models=["vade"], n_seeds=1, quick=True, out=tmp_path
    )
    assert paths[-1].name == "vade-figure-2-gaussians-vade-quick.png"
    for protocol in ("protocol", "defaults"):
        cell = content["cells"][0][protocol]
        trace = read_trace(tmp_path / cell["folder"] / "seed-0")
        assert sorted(trace) == [1, 2]
        assert 100.0 * trace[2] == pytest.approx(cell["best"])  # the last epoch's weights are the run's
    assert "--quick" in paths[0].read_text()


def test_data_that_are_not_images_give_a_remark_and_no_picture(tmp_path):
    content, paths, _ = run(
        table="vade-figure-4", datasets=["gaussians"], models=["gmm"], n_seeds=1, quick=True, out=tmp_path
    )
    assert content["remarks"] == ["Nothing is drawn: rows of 2 columns are not square images."]
    assert not [path for path in paths if path.suffix == ".png"]


def test_embeddings_are_drawn(tmp_path):
    _, paths, _ = run(
        table="vade-figure-5", datasets=["gaussians"], models=["vade"], n_seeds=1, quick=True, out=tmp_path
    )
    assert paths[-1].read_bytes().startswith(b"\x89PNG")


def test_images_are_laid_out_by_cluster():
    blocks = np.arange(2 * figures.COLUMNS * 4, dtype=float).reshape(2, figures.COLUMNS, 4)
    axes = _mosaics([("title", blocks)]).axes[0]
    drawn = np.asarray(axes.get_images()[0].get_array())
    assert drawn.shape == (2 * 3, figures.COLUMNS * 3)  # one pixel between images
    np.testing.assert_array_equal(drawn[3:5, 3:5], [[44.0, 45.0], [46.0, 47.0]])  # second cluster, second image


def test_right_rows_are_those_of_the_matched_cluster():
    labels, clusters = np.array([0, 0, 0, 1, 1, 2]), np.array([5, 5, 7, 7, 7, 9])
    assert _is_right(labels, clusters).tolist() == [True, True, False, True, True, True]
    assert _is_right(np.array([0, 0, 0]), np.array([0, 0, 1])).tolist() == [True, True, False]


def test_scores_of_all_rows_leave_unknown_labels_out_and_count_weights(tmp_path):
    folder = runs.RunFolder.create(tmp_path / "run", overwrite=False)
    rows = [(1, "train", 0, 1.0, "a"), (2, "train", 0, 1.0, "a"), (3, "test", 1, 1.0, "b"), (4, "test", 1, 2.0, "a")]
    unlabelled = [(5, "test", 0, 9.0, ""), (6, "train", 1, 9.0, "")]
    folder.write_table(runs.ASSIGNMENTS, ["row", "split", "posterior", "weight", "label"], [*rows, *unlabelled])
    assert measure("acc", "posterior", "all", folder.path, None) == pytest.approx(100.0 * 3 / 5)
    folder.write_table(runs.ASSIGNMENTS, ["row", "split", "posterior", "label"], [(*row[:3], row[4]) for row in rows])
    assert measure("acc", "posterior", "all", folder.path, None) == pytest.approx(75.0)


def test_generated_rows_are_in_the_class_that_their_neighbours_have(tmp_path):
    random, group_N = np.random.default_rng(0), np.arange(90) % 3
    far = np.array([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0]])
    label_N = np.where((group_N == 2) & (random.permutation(90) % 3 == 0), 0, group_N)  # a third of the third group
    np.savez(tmp_path / "rows.npz", x=far[group_N] + random.normal(size=(90, 2)), y=label_N)
    table = {"table": "vade-figure-4", "datasets": [str(tmp_path / "rows.npz")], "models": ["gmm"]}
    content, paths, _ = run(**table, n_seeds=1, quick=True, out=tmp_path / "out")
    purity, n_classes = (cell["defaults"]["best"] for cell in content["cells"] if cell["column"] == "generated rows")
    assert n_classes == 3.0
    assert 85.0 < purity < 99.0, "two clusters are pure, and five neighbours vote in the third"
    assert f"| {purity:.2f} |" in paths[0].read_text()
