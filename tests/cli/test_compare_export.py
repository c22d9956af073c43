"""Tests of compare and export on finished runs."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from deepmix.inference import compare, open_run
from deepmix.inference.export import ONNX_MODULES, Exported
from tests.cli.conftest import refuses, train


def test_compare_tells_the_difference_and_its_interval(deepmix, seeds, tmp_path):
    one, two = seeds
    result = deepmix("compare", one, two, "--json")
    assert result.returncode == 0, result.stderr
    first, second = json.loads(result.stdout)["runs"]
    summaries = [json.loads((folder / "summary.json").read_text())["heads"]["posterior"]["acc"] for folder in seeds]
    assert first["acc"] == summaries[0]
    assert second["acc"] == summaries[1]
    gap = second["difference"]
    assert gap["mean"] == pytest.approx(summaries[1]["mean"] - summaries[0]["mean"])
    assert gap["low"] <= gap["mean"] <= gap["high"]
    assert gap["low"] < gap["high"]
    same = json.loads(deepmix("compare", one, one, "--json", "--metric", "nmi").stdout)["runs"][1]["difference"]
    assert same == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert "95 % interval" in deepmix("compare", one, two / "seed-1").stdout


@pytest.mark.parametrize("metric", ["acc", "nmi"])
def test_intervals_are_those_without_weights(seeds, monkeypatch, metric):
    """Where rows have no weights, the quick way to score the bootstrap samples changes no figure."""
    compared = [compare.read_compared(folder, None) for folder in seeds]
    monkeypatch.setattr(compare, "RESAMPLES", 20)
    quick = compare.compare_runs(compared, metric)[1]["difference"]
    monkeypatch.setattr(compare, "_with_weights", lambda run: run)
    assert quick == pytest.approx(compare.compare_runs(compared, metric)[1]["difference"], abs=1e-12)


def test_compare_draws(deepmix, seeds, tmp_path):
    image = pytest.importorskip("matplotlib.image", reason="matplotlib is not installed")
    assert deepmix("compare", *seeds, "--plot", "compared.png").returncode == 0
    assert image.imread(tmp_path / "compared.png").shape[1] == 1200
    refuses(deepmix("compare", *seeds, "--plot", "compared.png"), 2, "exists")


def test_compare_refuses_what_can_not_be_compared(deepmix, place, seeds, tmp_path):
    refuses(deepmix("compare", seeds[0], place / "run"), 2, "were tested on different rows")
    refuses(deepmix("compare", seeds[0], seeds[1], "--head", "gmm"), 2, "has no head 'gmm'", "posterior")
    train("--dataset", place / "rows.npy", "--components", 3, "--out", tmp_path / "bare")
    refuses(deepmix("compare", "bare", "bare"), 2, "no labels to compare by", "--label-column", "--metric elbo")
    refuses(deepmix("compare", "bare", seeds[0], "--metric", "elbo"), 2, "were tested on different rows")
    assert deepmix("compare", "bare", "bare", "--metric", "elbo").returncode == 0


def test_compare_by_the_elbo_draws_seeds_alone(deepmix, seeds):
    runs = json.loads(deepmix("compare", *seeds, seeds[1] / "seed-0", "--metric", "elbo", "--json").stdout)["runs"]
    first, second = (json.loads((folder / "summary.json").read_text())["elbo"] for folder in seeds)
    assert [runs[0]["elbo"], runs[1]["elbo"]] == [first, second]
    gaps = np.subtract(second["values"], first["values"])
    assert runs[1]["difference"]["mean"] == pytest.approx(gaps.mean())
    assert gaps.min() <= runs[1]["difference"]["low"] < gaps.mean() < runs[1]["difference"]["high"] <= gaps.max()
    assert runs[2]["difference"]["low"] is None


@pytest.fixture(scope="module")
def exported_models(place) -> dict[str, Path]:
    """Return runs of models whose q(y|x) is computed in different ways."""
    models = {}
    for model in ("mvae-emv2", "mvae", "k-dvae", "vade"):
        models[model] = place / f"export-{model}"
        with contextlib.suppress(FileExistsError):
            train("--dataset", place / "rows.npy", "--components", 3, "--model", model, "--out", models[model])
    return models


@pytest.mark.parametrize("model", ["mvae-emv2", "mvae", "k-dvae", "vade"])
def test_export_gives_the_original_on_rows_as_they_are(deepmix, place, exported_models, tmp_path, model):
    result = deepmix("export", exported_models[model], "--format", "torch-export", "-o", "m.pt2", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["largest_difference"] < 1e-3
    rows = np.load(place / "rows.npy").astype(np.float32)
    log_q, latent = torch.export.load(tmp_path / "m.pt2").module()(torch.from_numpy(rows))
    run = open_run(exported_models[model])
    inference = run.infer(run.prepare(rows))
    assert log_q.detach().numpy() == pytest.approx(inference.log_q_NK, rel=1e-4, abs=1e-3)
    assert latent.detach().numpy() == pytest.approx(inference.latent_NM, rel=1e-4, abs=1e-4)
    with zipfile.ZipFile(tmp_path / "m.pt2") as archive:  # the only place where torch would put a pickle
        assert [info.file_size for info in archive.infolist() if "sample_inputs" in info.filename] == [0]


def test_convolutions_are_exported_for_any_number_of_rows(deepmix, tmp_path):
    """The program gives one row and seven the clusters that `deepmix predict` gives them."""
    image_NHW = np.random.default_rng(0).random((60, 5, 4)).astype(np.float32)
    np.save(tmp_path / "images.npy", image_NHW)
    options = ("--encoder", "conv", "--set", "encoder.channels=4-4", "--set", "encoder.dense=8", "--components", 3)
    train("--dataset", tmp_path / "images.npy", *options, "--out", tmp_path / "run")
    result = deepmix("export", "run", "--format", "torch-export", "-o", "m.pt2")
    assert result.returncode == 0, result.stderr
    program = torch.export.load(tmp_path / "m.pt2").module()
    run = open_run(tmp_path / "run")
    for n_rows in (1, 7):
        np.save(tmp_path / "new.npy", image_NHW[:n_rows])
        log_q_NK, latent_NM = program(torch.from_numpy(image_NHW[:n_rows].reshape(n_rows, -1)))
        predicted = csv.DictReader(deepmix("predict", "run", "new.npy").stdout.splitlines())
        assert [int(row["cluster"]) for row in predicted] == log_q_NK.argmax(1).tolist()
        inference = run.infer(run.prepare(image_NHW[:n_rows].reshape(n_rows, -1)))
        assert log_q_NK.detach().numpy() == pytest.approx(inference.log_q_NK, rel=1e-4, abs=1e-3)
        assert latent_NM.detach().numpy() == pytest.approx(inference.latent_NM, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("model", ["mvae-emv2", "k-dvae"])
def test_export_to_onnx(deepmix, place, exported_models, tmp_path, model):
    for name in ONNX_MODULES:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    import onnxruntime

    result = deepmix("export", exported_models[model], "--format", "onnx", "-o", "m.onnx")
    assert result.returncode == 0, result.stderr
    rows = np.load(place / "rows.npy").astype(np.float32)
    log_q, _ = onnxruntime.InferenceSession(tmp_path / "m.onnx").run(None, {"x": rows})
    run = open_run(exported_models[model])
    assert np.array_equal(log_q.argmax(axis=1), run.infer(run.prepare(rows)).map_N)
    refuses(deepmix("export", exported_models[model], "--format", "onnx", "-o", "m.onnx"), 2, "exists")


def test_a_run_on_a_table_is_not_exported(deepmix, place, tmp_path):
    result = deepmix("export", place / "run", "--format", "torch-export", "-o", "m.pt2")
    refuses(result, 2, "trained on a table, whose columns an exported model can't prepare", "--set scale=")
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_differs_is_not_kept(deepmix, array_run, tmp_path, monkeypatch):
    right = Exported.forward
    monkeypatch.setattr(Exported, "forward", lambda self, x: (right(self, x)[0], right(self, x)[1] + 0.01))
    result = deepmix("export", array_run, "--format", "torch-export", "-o", "m.pt2")
    refuses(result, 1, "differ from the original's by", "not kept")
    assert list(tmp_path.iterdir()) == []


def test_onnx_says_what_it_needs(deepmix, array_run, monkeypatch):
    monkeypatch.setattr("deepmix.inference.export.ONNX_MODULES", ("onnx_of_tomorrow",))
    result = deepmix("export", array_run, "--format", "onnx", "-o", "m.onnx")
    refuses(result, 2, "onnx_of_tomorrow", "pip install 'deepmix[onnx]'")
