"""Tests of predict, embed, sample and evaluate on a finished run."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deepmix.inference import open_run
from tests.cli.conftest import COLUMNS, TINY, refuses, train


def table(text: str) -> dict[str, np.ndarray]:
    header, *lines = text.splitlines()
    return dict(zip(header.split(","), np.array([list(map(float, line.split(","))) for line in lines]).T, strict=True))


def test_predict_repeats_the_runs_assignments(deepmix, place):
    expected = open_run(place / "run").assignments()
    for head in ("posterior", "gmm"):
        result = deepmix("predict", place / "run", place / "rows.csv", "--head", head)
        assert result.returncode == 0, result.stderr
        assert result.stderr == ""
        predictions = table(result.stdout)
        assert list(predictions) == ["row", "cluster", "probability", "entropy", "outlier"]
        assert np.array_equal(predictions["row"], expected["row"])
        assert np.array_equal(predictions["cluster"], expected[head])
        assert predictions["probability"] == pytest.approx(expected["probability"], abs=3e-6)
        assert predictions["outlier"] == pytest.approx(expected["outlier"], abs=1e-6)
        assert predictions["entropy"].min() >= 0.0
        assert predictions["entropy"].max() <= np.log(3) + 1e-6


@pytest.mark.parametrize("suffix", [".csv", ".npz", ".parquet"])
def test_predict_writes_files(deepmix, place, tmp_path, suffix):
    if suffix == ".parquet":
        pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    output = table(deepmix("predict", place / "run", place / "rows.npy").stdout)
    out = tmp_path / f"out{suffix}"
    result = deepmix("predict", place / "run", place / "rows.npy", "-o", out, "--json")
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["rows"] == 120
    assert sum(summary["sizes"]) == 120
    if suffix == ".npz":
        with np.load(out) as archive:
            predictions = {name: archive[name] for name in archive}
    else:
        predictions = table(out.read_text()) if suffix == ".csv" else dict(pandas.read_parquet(out).items())
    for name, values in output.items():
        assert np.asarray(predictions[name]) == pytest.approx(values, abs=1e-9)
    refuses(deepmix("predict", place / "run", place / "rows.npy", "-o", out), 2, "exists", "--overwrite")
    assert deepmix("predict", place / "run", place / "rows.npy", "-o", out, "--overwrite").returncode == 0


@pytest.mark.parametrize("block_values", [1, 7 * 6, 10**6])
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".npy", ".npz", ".parquet", "sparse.npz", "order.npy"])
@pytest.mark.parametrize("run", ["run", "array-run"])
def test_blocks_of_any_size_and_kind_of_file_give_the_same(
    deepmix, place, array_run, tmp_path, monkeypatch, block_values, suffix, run
):
    rows = np.load(place / "rows.npy")
    data = tmp_path / f"data{suffix}"
    table_text = (place / ("rows.csv" if run == "run" else "bare.csv")).read_bytes()
    if suffix == ".csv":
        data.write_bytes(table_text)
    elif suffix == ".csv.gz":
        import gzip

        data.write_bytes(gzip.compress(table_text))
    elif suffix == ".npz":
        np.savez_compressed(data, x=rows, y=np.arange(120))
    elif suffix == ".parquet":
        pandas = pytest.importorskip("pandas", reason="pandas is not installed")
        order = COLUMNS[::-1] if run == "run" else COLUMNS  # the columns of an array have no names to go by
        pandas.DataFrame(rows, columns=COLUMNS)[order].to_parquet(data)
    elif suffix == "sparse.npz":
        from scipy import sparse

        sparse.save_npz(data, sparse.csr_matrix(rows))
    else:
        np.save(data, np.asfortranarray(rows))
    expected = deepmix("predict", place / run, place / "rows.npy").stdout
    monkeypatch.setattr("deepmix.data.table_file.BLOCK_VALUES", block_values)
    result = deepmix("predict", place / run, data)
    assert result.returncode == 0, result.stderr
    assert np.array_equal(table(result.stdout)["cluster"], table(expected)["cluster"])
    assert table(result.stdout)["probability"] == pytest.approx(table(expected)["probability"], abs=3e-6)


def test_pipes(place):
    """CSV goes in at standard input and out at standard output, also to a reader that stops early."""
    words = [sys.executable, "-m", "deepmix", "predict", str(place / "run"), "-", "--json"]
    result = subprocess.run(words, input=(place / "rows.csv").read_bytes(), capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["row"] for line in lines] == list(range(1, 121))
    assert [line["cluster"] for line in lines] == open_run(place / "run").assignments()["posterior"].tolist()
    shell = f"{sys.executable} -m deepmix embed {place / 'run'} {place / 'rows.csv'} -o - | head -n 2"
    long = place / "long.npy"
    np.save(long, np.tile(np.load(place / "rows.npy"), (50, 1)))
    piped = subprocess.run(
        shell.replace(str(place / "rows.csv"), str(long)), shell=True, capture_output=True, text=True, check=False
    )
    assert piped.stderr == ""
    assert len(piped.stdout.splitlines()) == 2
    assert piped.stdout.startswith("row,z1,z2,")


def test_a_label_column_known_by_its_number_is_left_out(deepmix, place, tmp_path):
    rows = np.load(place / "rows.npy")
    np.save(tmp_path / "labelled.npy", np.insert(rows, 2, np.arange(120) % 3, axis=1))
    train("--dataset", tmp_path / "labelled.npy", "--label-column", 3, "--out", tmp_path / "run")
    np.savetxt(tmp_path / "labelled.csv", np.load(tmp_path / "labelled.npy"), delimiter=",")
    output = [deepmix("predict", "run", data).stdout for data in ("labelled.npy", place / "rows.npy", "labelled.csv")]
    assert len(output[0].splitlines()) == 121
    assert output[0] == output[1] == output[2]
    result = deepmix("predict", "run", "labelled.npy", "--label-column", 9)
    refuses(result, 2, "7 column(s) and the run was trained on 6")


def test_embed_gives_the_latents(deepmix, place, tmp_path):
    run = open_run(place / "run")
    latents = run.infer(run.prepare(np.load(place / "rows.npy"))).latent_NM
    output = table(deepmix("embed", place / "run", place / "rows.npy").stdout)
    names = [f"z{i + 1}" for i in range(6)]  # as many as columns
    assert list(output) == ["row", *names]
    assert np.stack([output[name] for name in names], axis=1).astype(np.float32) == pytest.approx(latents)
    assert deepmix("embed", place / "run", place / "rows.npy", "-o", "z.npz").returncode == 0
    with np.load(tmp_path / "z.npz") as archive:
        assert np.array_equal(archive["z"], latents)


def test_rows_of_one_line_or_none(deepmix, place, tmp_path):
    lines = (place / "rows.csv").read_text().splitlines()
    (tmp_path / "one.csv").write_text(lines[0] + "\n" + lines[1])
    expected = table(deepmix("predict", place / "run", place / "rows.csv").stdout)["cluster"][0]
    assert table(deepmix("predict", place / "run", "one.csv").stdout)["cluster"] == [expected]
    for cells in (lines[1], lines[1].rpartition(",")[0]):  # one row without a header, with and without its label
        (tmp_path / "bare.csv").write_text(cells)
        assert table(deepmix("predict", place / "run", "bare.csv").stdout)["cluster"] == [expected]
    (tmp_path / "none.csv").write_text(lines[0] + "\n")
    result = deepmix("predict", place / "run", "none.csv")
    assert (result.returncode, result.stdout) == (0, "row,cluster,probability,entropy,outlier\n")


UNUSUAL_ROWS = [
    ("a,b,c\n1,2,3\n", "Note: columns that the table lacks count as missing in every row: 'd', 'e', 'f'\n"),
    (
        "a,b,c,d,e,g\n1,2,3,4,5,6\n",
        "Note: columns that the table lacks count as missing in every row: 'f'\n"
        "Note: columns that the training table did not have are left out: 'g'\n",
    ),
    ("a,b,c,d,e,f\n1,2,3,nan,,6\n", ""),
]


@pytest.mark.parametrize(("text", "notes"), UNUSUAL_ROWS, ids=range(len(UNUSUAL_ROWS)))
def test_rows_with_other_columns_or_gaps(deepmix, place, tmp_path, text, notes):
    (tmp_path / "unusual.csv").write_text(text)
    result = deepmix("predict", place / "run", "unusual.csv")
    assert (result.returncode, result.stderr) == (0, notes)
    assert table(result.stdout)["cluster"][0] in (0, 1, 2)


WRONG_ROWS = [
    ("g,h\n1,2\n", ("none of the training table's columns: 'a', 'b', 'c', 'd', 'e', 'f'; check its header",)),
    ("7,2,3\n4,5,6\n", ("3 column(s), and the run was trained on 6", "give them the header")),
    ("a,b,c,d,e,f\n1,2,3,4,5,6\n1,2,3,4\n", ("line 3", "4 cells and the first has 6")),
    ("a,b,c,d,e,f\n1,2,3,4,5,6\n1,2,3,4,5,6,7\n", ("line 3", "7 cells and the first has 6")),
    ("a,b,c,d,e,f\n1,2,3,4,5,6\n1,2,red,4,5,6\n", ("'c' (continuous; row 2: 'red')", "leave them empty")),
    ("a,b,c,d,e,f\n1,2,3,4,5,6\n1,2,inf,4,5,6\n", ("line 3, column 'c' is inf", "leave the cell empty")),
    ("", ("is empty",)),
]


@pytest.mark.parametrize(("text", "words"), WRONG_ROWS, ids=range(len(WRONG_ROWS)))
def test_wrong_rows(deepmix, place, tmp_path, text, words):
    (tmp_path / "wrong.csv").write_text(text)
    refuses(deepmix("predict", place / "run", "wrong.csv", "-o", "out.csv"), 2, *words)
    assert {path.name for path in tmp_path.iterdir()} == {"wrong.csv"}


def test_wrong_files(deepmix, place, tmp_path):
    refuses(deepmix("predict", place / "run", "none.csv"), 2, "there is no file 'none.csv'")
    (tmp_path / "rows.dat").write_text("1")
    refuses(deepmix("predict", place / "run", "rows.dat"), 2, "not a kind of file deepmix reads")
    refuses(deepmix("predict", place / "run", place / "rows.csv", "-o", "out.xlsx"), 2, ".csv, .parquet, .npz")
    refuses(deepmix("predict", place / "run", place / "rows.csv", "-o", "no/out.csv"), 2, "there is no folder 'no'")
    refuses(deepmix("predict", place / "run", place / "rows.csv", "--head", "kmeans"), 2, "no head 'kmeans'")
    for name in ("rows.npy", "rows.npz", "rows.parquet", "rows.csv.gz"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 this is not what it says")
        refuses(deepmix("predict", place / "run", name), 1, f"'{name}' can't be read")
    half = tmp_path / "half.npy"
    half.write_bytes((place / "rows.npy").read_bytes()[:3000])
    refuses(deepmix("predict", place / "run", half, "-o", "out.csv"), 1, "half.npy' can't be read (it ends early)")
    np.save(tmp_path / "objects.npy", np.array([["a"] * 6], dtype=object))
    refuses(deepmix("predict", place / "run", "objects.npy"), 2, "Python objects")
    assert not (tmp_path / "out.csv").exists()


AFTER = [
    ("predict", "RUN", "rows.csv"),
    ("embed", "RUN", "rows.csv"),
    ("sample", "RUN"),
    ("evaluate", "RUN"),
    ("compare", "RUN", "RUN"),
    ("export", "RUN", "--format", "torch-export"),
]


@pytest.mark.parametrize("words", AFTER, ids=lambda words: words[0])
def test_wrong_runs(deepmix, place, seeds, tmp_path, words):
    def call(folder: Path):
        return deepmix(*(folder if word == "RUN" else place / word if word == "rows.csv" else word for word in words))

    refuses(call(tmp_path / "none"), 2, "is not a run folder")
    copy = tmp_path / "copy"
    shutil.copytree(place / "run", copy)
    (copy / "metrics.json").unlink()
    refuses(call(copy), 2, "is not finished; finish it with: deepmix train --resume --out")
    if words[0] == "compare":
        return
    shutil.copy(place / "run" / "metrics.json", copy)
    (copy / "model.safetensors").write_bytes((copy / "model.safetensors").read_bytes()[:500])
    refuses(call(copy), 1, "model.safetensors' is damaged")
    refuses(call(seeds[0]), 2, "several seeds; choose a folder in it: seed-0, seed-1, seed-2")


def test_sample(deepmix, place, array_run, tmp_path):
    output = table(deepmix("sample", place / "run", "-n", 5).stdout)
    assert list(output) == ["component", *COLUMNS]
    assert output["component"].tolist() == sorted([0, 1, 2] * 5)
    output = table(deepmix("sample", array_run, "-n", 5).stdout)
    result = deepmix("sample", array_run, "-n", 5, "--component", 2, "--npz", "two.npz", "--json")
    assert json.loads(result.stdout)["rows"] == 5
    with np.load(tmp_path / "two.npz") as archive:
        whole = np.stack([output[f"x{i + 1}"] for i in range(6)], axis=1)[10:]
        assert archive["x"] == pytest.approx(whole, rel=1e-6)
        assert archive["component"].tolist() == [2] * 5
    refuses(deepmix("sample", place / "run", "--component", 3), 2, "no component 3", "0 to 2")
    refuses(deepmix("sample", place / "run", "-n", 0), 2, "at least 1")
    refuses(deepmix("sample", place / "run", "--minimum-posterior", 1.5), 2, "below 1")
    refuses(deepmix("sample", place / "run", "--minimum-posterior", 0.999999), 2, "ask for a smaller minimum")
    refuses(deepmix("sample", array_run, "--npz", "two.npz"), 2, "exists")
    refuses(deepmix("sample", place / "run", "--npz", "new.npz"), 2, "was trained on a table", "use --csv")


def test_clusters_are_generated_from_their_rows_or_the_prior(deepmix, place):
    words = ("train", "--dataset", place / "rows.npy", "--prior", "standard", "--components", 3, "--out", "run", *TINY)
    assert deepmix(*words).returncode == 0
    result = deepmix("sample", "run", "-n", 5)
    assert "latents of each component's training rows" in result.stderr
    output = table(result.stdout)
    rows = np.stack([output[f"x{i + 1}"] for i in range(6)], axis=1)
    first, second = (rows[output["component"] == k] for k in (0, 1))
    assert not np.allclose(first, second)
    kept = json.loads(deepmix("sample", "run", "--npz", "rows.npz", "--json").stdout)
    assert kept["z_from"] == "aggregate posterior"
    from_prior = deepmix("sample", "run", "-n", 5, "--from-prior")
    assert "training rows" not in from_prior.stderr
    output = table(from_prior.stdout)
    rows = np.stack([output[f"x{i + 1}"] for i in range(6)], axis=1)
    assert np.allclose(*(rows[output["component"] == k] for k in (0, 1)))
    summary = json.loads(deepmix("sample", "run", "--from-prior", "--npz", "others.npz", "--json").stdout)
    assert summary["z_from"] == "prior"


def test_sampled_columns_keep_their_names(deepmix, tmp_path):
    random = np.random.default_rng(0)
    lines = ['component,u,v,"a, b"', *(",".join(map(repr, row)) for row in random.random((40, 4)).tolist())]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    train("--dataset", tmp_path / "rows.csv", "--components", 2, "--out", tmp_path / "run")
    header, *rows = csv.reader(deepmix("sample", "run", "-n", 1).stdout.splitlines())
    assert header == ["component", "component_", "u", "v", "a, b"]
    assert [row[0] for row in rows] == ["0", "1"]
    assert {len(row) for row in rows} == {5}


def test_sample_draws_grids(deepmix, array_run, seeds, tmp_path):
    image = pytest.importorskip("matplotlib.image", reason="matplotlib is not installed")
    run = seeds[0] / "seed-0"
    assert deepmix("sample", run, "-n", 6, "--png", "all.png").returncode == 0
    assert deepmix("sample", run, "-n", 6, "--component", 1, "--png", "one.png").returncode == 0
    whole, one = image.imread(tmp_path / "all.png"), image.imread(tmp_path / "one.png")
    assert whole.shape[0] > 10 * 8 * 4  # ten lines of images of 8 x 8, each pixel 4 dots
    assert one.shape[0] < whole.shape[0]
    assert len(np.unique(whole[:, :, 0])) > 10
    refuses(deepmix("sample", array_run, "--png", "no.png"), 2, "does not know its rows of 6 columns as images")
    refuses(deepmix("sample", array_run, "--png", "no.png", "--shape", "4x4"), 2, "not an image of 6 values")
    assert deepmix("sample", array_run, "--png", "yes.png", "--shape", "2x3").returncode == 0
    assert not (tmp_path / "no.png").exists()


def test_evaluate_gives_the_runs_own_metrics(deepmix, place):
    result = deepmix("evaluate", place / "run", "--json")
    assert result.returncode == 0, result.stderr
    results = json.loads(result.stdout)
    metrics = open_run(place / "run").metrics.to_json()
    assert results["heads"] == metrics["heads"]
    assert results["elbo"] == pytest.approx(metrics["elbo"], rel=1e-6)
    assert "ELBO, test rows" in deepmix("evaluate", place / "run").stdout


def test_evaluate_on_other_data_and_by_other_heads(deepmix, place, tmp_path):
    everything = json.loads(deepmix("evaluate", place / "run", "--dataset", place / "rows.csv", "--json").stdout)
    own = open_run(place / "run").metrics.to_json()["heads"]["gmm"]
    sizes = np.add(own["train"]["sizes"], own["test"]["sizes"])
    assert everything["heads"]["gmm"]["all"]["sizes"] == sizes.tolist()
    assert "acc" in everything["heads"]["posterior"]["all"]
    lines = (place / "rows.csv").read_text().splitlines()
    (tmp_path / "bare.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines))
    bare = deepmix("evaluate", place / "run", "--dataset", "bare.csv", "--head", "kmeans", "--json")
    assert bare.returncode == 0, bare.stderr
    assert list(json.loads(bare.stdout)["heads"]) == ["kmeans"]
    assert "acc" not in json.loads(bare.stdout)["heads"]["kmeans"]["all"]
    again = json.loads(deepmix("evaluate", place / "run", "--head", "kmeans", "--head", "gmm", "--json").stdout)
    assert again["heads"]["gmm"] == own
    refuses(deepmix("evaluate", place / "run", "--dataset", "bare.csv", "--label-column", "kind"), 2, "'kind'")
    refuses(deepmix("evaluate", place / "run", "--dataset", "digits"), 2, "'digits' is an array; name a table file")
    refuses(deepmix("evaluate", place / "run", "--head", "dbscan"), 2, "unknown head 'dbscan'")


def test_evaluate_refuses_a_head_that_needs_a_mixture(deepmix, place, tmp_path):
    train(
        "--dataset",
        place / "rows.npy",
        "--components",
        3,
        "--model",
        "vae",
        "--head",
        "kmeans",
        "--out",
        tmp_path / "vae",
    )
    refuses(deepmix("evaluate", "vae", "--head", "posterior"), 2, "has one component")


def test_evaluate_notices_that_the_data_changed(deepmix, place, tmp_path):
    data = tmp_path / "rows.csv"
    shutil.copy(place / "rows.csv", data)
    train("--dataset", data, "--label-column", "kind", "--out", tmp_path / "run")
    lines = data.read_text().splitlines()
    data.write_text("\n".join([*lines[:-1], lines[1]]))
    refuses(deepmix("evaluate", "run"), 2, "has changed since", "--dataset")
