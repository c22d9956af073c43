"""Wrong input ends in one sentence and an exit status, with nothing written and no traceback.

All of it runs inside this process; test_wrong_uses.py runs some of the same as commands of their own.
"""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
from scipy import sparse

from tests.cli.conftest import TINY, refuses

WRONG_OPTIONS = [
    (("--model", "mvea"), ("unknown model 'mvea'", "mvae-emv2", "k-dvae")),
    (("--prior", "gm"), ("unknown prior 'gm'", "mixture, standard")),
    (("--head", "dbscan"), ("unknown head 'dbscan'", "gmm", "kmeans", "posterior")),
    (("--dataset", "missing.csv"), ("there is no file 'missing.csv'",)),
    (("--components", 1), ("components must be at least 2",)),
    (("--components", 2000), ("2000 clusters", "1527 training rows")),
    (("--init", "magic"), ("unknown initializer 'magic'", "graph")),
    (("--dataset", "mnist-c"), ("unknown data set", "mnist-c", "digits")),
    (("--dataset", "mnist"), ("mnist.npz", "--data-dir", "DEEPMIX_DATA")),
    (("--dataset", "mnist", "--data-dir", "nowhere"), ("nowhere' does not exist; choose another with --data-dir",)),
    (("--set", "anchr=3"), ("unknown option 'anchr'", "anchor")),
    (("--set", "anchor"), ("key=value", "'anchor'")),
    (("--set", "anchor=much"), ("anchor must be a number", "'much'")),
    (("--set", "hidden=64"), ("encoder.hidden or decoder.hidden",)),
    (("--lr", -1), ("lr must be above 0",)),
    (("--epochs", 0), ("epochs must be at least 1",)),
    (("--device", "warp"), ("device 'warp'", "--device cpu")),
    (("--config", "none.json"), ("none.json", "can't be read")),
    (("--model", "vae"), ("head 'posterior'", "--head gmm")),
    (("--resume",), ("--out",)),
    (("--seed", -1), ("seed must be at least 0",)),
    (("--seed", 2**32), ("seed must be at least 0 and at most",)),
    (("--device", "meta"), ("device 'meta'",)),
    (("--set", "likelihood=cauchy"), ("unknown likelihood 'cauchy'", "auto, bernoulli")),
    (("--seed", 1, "--seeds", 2), ("exclude each other",)),
]


@pytest.mark.parametrize(("args", "words"), WRONG_OPTIONS, ids=lambda value: str(value[-1]))
def test_wrong_option(deepmix, tmp_path, args, words):
    refuses(deepmix("train", *args, "--quiet"), 2, *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("likelihood", "needed"),
    [
        ("bernoulli", "data in 0..1"),
        ("log-normal", "data above 0"),
        ("poisson", "whole numbers from 0"),
        ("categorical", "levels"),
    ],
)
def test_a_likelihood_refuses_data_it_does_not_take(deepmix, tmp_path, likelihood, needed):
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(30, 3)))
    args = ("--dataset", "rows.npy", "--components", 2, "--set", f"likelihood={likelihood}")
    refuses(deepmix("train", *args, *TINY), 2, f"likelihood '{likelihood}' needs {needed}", "leave likelihood at auto")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"settings": ["a=b"]}', ("'settings' must be a table",)),
        ('{"model": null}', ("'model' has a value of the wrong kind",)),
        ('{"seed": "one"}', ("'seed' has a value of the wrong kind",)),
        ('{"epoch": 2}', ("unknown option 'epoch'", "epochs")),
        ("[1]", ("must be a table of options",)),
        ("{", ("can't be read",)),
    ],
)
def test_wrong_configuration(deepmix, tmp_path, text, words):
    (tmp_path / "run.json").write_text(text)
    refuses(deepmix("train", "--config", "run.json", *TINY), 2, *words)


def write_rows(path, rows):
    path.write_text("\n".join(",".join(map(str, row)) for row in rows) + "\n")
    return path


GOOD_ROWS = [[i, i % 7, (i * i) % 11] for i in range(30)]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([["a", "b", "c"], *GOOD_ROWS[:3], [1, "nan", 2], *GOOD_ROWS], ("missing values: 'b' (row 4)",)),
        ([["a", "b", "c"], *GOOD_ROWS, [1, "", 3]], ("missing values: 'b' (row 31)",)),
        (
            [["a", "b", "c"], [1, "red", "x"], *GOOD_ROWS],
            ("'b' (row 1: 'red')", "'c' (row 1: 'x')", "--label-column"),
        ),
        ([["", -1, 2], *GOOD_ROWS], ("missing values: '1' (row 1)",)),
        ([[1, 2, 3]] * 30, ("every column is constant",)),
    ],
    ids=["nan", "empty-cell", "text", "no-header", "constant"],
)
def test_a_table_that_is_no_array(deepmix, tmp_path, rows, words):
    """What a table's columns may hold and an array's may not."""
    path = write_rows(tmp_path / "rows.csv", rows)
    as_array = ("--set", "scale=standard", "--components", 2)
    refuses(deepmix("train", "--dataset", path, *as_array, *TINY), 2, *words)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([*GOOD_ROWS[:5], [1, 2, "inf"], *GOOD_ROWS], ("line 6, column '3' is inf",)),
        ([["a", "b", "c"], *GOOD_ROWS, [1, 2]], ("line 32", "2 cells", "3")),
        ([["a", "b", "c"], *GOOD_ROWS, [1, 234, 5, 6]], ("line 32", "4 cells", "quotes around cells")),
        ([["a", "b", "c"], *([*row, 1, 1] for row in GOOD_ROWS)], ("line 2", "5 cells", "the first has 3")),
        ([[1, 2, 3]] * 30, ("no column of the table can be modelled", "'1': every value is '1'")),
        ([["a", "b"], [1, 2]], ("1 row(s)",)),
        ([["a", "b"]], ("row(s)",)),
        ([*GOOD_ROWS], ("number of clusters is unknown", "--components")),
    ],
    ids=["inf", "short-row", "long-row", "long-rows", "constant", "one-row", "no-rows", "no-k"],
)
def test_wrong_csv(deepmix, tmp_path, rows, words):
    path = write_rows(tmp_path / "rows.csv", rows)
    args = () if "number of clusters is unknown" in words[0] else ("--components", 2)
    refuses(deepmix("train", "--dataset", path, *args, *TINY), 2, *words)
    assert list(tmp_path.iterdir()) == [path]


def test_constant_column_is_named_and_left_without_effect(deepmix, tmp_path):
    rows = [["a", "still", "c"], *([i, 5, (i * i) % 11] for i in range(30))]
    path = write_rows(tmp_path / "rows.csv", rows)
    arguments = ("train", "--dataset", path, "--components", 2, "--out", "run", *TINY, "--overwrite")
    result = deepmix(*arguments, "--set", "scale=standard")
    assert result.returncode == 0, result.stderr
    assert "1 constant column(s)" in result.stdout
    assert "'still'" in result.stdout
    result = deepmix(*(word for word in arguments if word != "--quiet"))
    assert result.returncode == 0, result.stderr
    lines = [" ".join(line.split()) for line in result.stderr.splitlines()]
    assert "still constant - 1 - 5 to 5 every value is '5'" in lines


def test_unknown_label_column(deepmix, tmp_path):
    path = write_rows(tmp_path / "rows.csv", [["a", "b", "c"], *GOOD_ROWS])
    refuses(deepmix("train", "--dataset", path, "--label-column", "kind"), 2, "label column 'kind'", "a, b, c")


def test_a_label_column_by_number_is_not_a_name_in_a_header(deepmix, tmp_path):
    path = write_rows(tmp_path / "rows.csv", [[2, 0, 5], *([i + 3, i % 2, i * i % 11] for i in range(29))])
    result = deepmix("train", "--dataset", path, "--label-column", "2", "--out", "run", *TINY)
    assert result.returncode == 0, result.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert sum(config["data"]["rows"].values()) == 30
    assert config["resolved"]["size"]["components"] == 2


def test_a_text_of_another_encoding(deepmix, tmp_path):
    (tmp_path / "rows.csv").write_bytes("naïve,b\n1,2\n2,3\n".encode("latin-1"))
    refuses(deepmix("train", "--dataset", "rows.csv", "--components", 2), 2, "save it as UTF-8")


def test_labels_of_the_wrong_length(deepmix, tmp_path):
    np.savez(tmp_path / "rows.npz", x=np.eye(8), y=np.zeros(5, dtype=int))
    refuses(deepmix("train", "--dataset", tmp_path / "rows.npz"), 2, "8 rows and 5 labels")


def test_text_and_object_arrays(deepmix, tmp_path):
    np.save(tmp_path / "text.npy", np.full((5, 2), "a"))
    refuses(deepmix("train", "--dataset", "text.npy", "--components", 2), 2, "must be numbers")
    np.save(tmp_path / "pickle.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    refuses(
        deepmix("train", "--dataset", "pickle.npy", "--components", 2),
        2,
        "holds Python objects; save it",
        "astype(float)",
    )


@pytest.mark.parametrize("name", ["rows.npz", "rows.npy", "rows.csv.gz"])
def test_damaged_file(deepmix, tmp_path, name):
    (tmp_path / name).write_bytes(b"PK\x03\x04 this is not the file it says it is")
    refuses(deepmix("train", "--dataset", name, "--components", 2), 1, f"{name}' can't be read")


def test_truncated_archive(deepmix, tmp_path):
    np.savez(tmp_path / "whole.npz", x=np.random.default_rng(0).normal(size=(500, 8)))
    assert zipfile.is_zipfile(tmp_path / "whole.npz")
    (tmp_path / "half.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:9000])
    refuses(deepmix("train", "--dataset", "half.npz", "--components", 2), 1, "half.npz' can't be read")


def test_existing_out_is_kept_unless_overwritten(deepmix, tmp_path):
    assert deepmix("train", "--out", "run", *TINY).returncode == 0
    before = (tmp_path / "run" / "metrics.json").read_bytes()
    refuses(deepmix("train", "--out", "run", *TINY), 2, "'run' exists", "--overwrite", "--resume")
    refuses(deepmix("train", "--out", "run", "--overwrite", "--model", "no", *TINY), 2, "unknown model")
    assert (tmp_path / "run" / "metrics.json").read_bytes() == before
    assert deepmix("train", "--out", "run", "--overwrite", *TINY).returncode == 0
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("all my work")
    refuses(deepmix("train", "--out", "precious", "--overwrite", *TINY), 2, "deepmix did not write 'thesis.txt' in it")
    assert (precious / "thesis.txt").read_text() == "all my work"


def test_resume_of_a_folder_that_is_not_a_run(deepmix, tmp_path):
    (tmp_path / "empty").mkdir()
    refuses(deepmix("train", "--resume", "--out", "empty"), 2, "is not a run folder")
    refuses(deepmix("train", "--resume", "--out", "empty", "--lr", 0.1), 2, "takes its options from the run folder")


def test_damaged_checkpoint(deepmix, tmp_path):
    assert deepmix("train", "--out", "run", *TINY).returncode == 0
    for state in (tmp_path / "run" / "checkpoint").glob("*.safetensors"):
        state.write_bytes(state.read_bytes()[:1000])
    refuses(deepmix("train", "--resume", "--out", "run", "--quiet"), 1, "state.safetensors' is damaged", "--overwrite")


def test_warnings_name_flags_and_are_stored_without(deepmix, tmp_path):
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(120, 5)))
    options = ("--beta", 100, "--lr", 0.01, "--set", "encoder.hidden=16", "--set", "decoder.hidden=16")
    args = ("--dataset", "rows.npy", "--components", 3, "--batch-size", 16, "--latent-dim", 2, *options, *TINY)
    result = deepmix("train", "--out", "run", *args, "--epochs", 30)
    assert result.returncode == 0, result.stderr
    assert "do not vary with the data within a cluster; try a smaller --latent-dim or --beta" in result.stdout
    stored = json.loads((tmp_path / "run" / "metrics.json").read_text())["warnings"]
    assert any(text.endswith("try a smaller `latent_dim` or `beta`") for text in stored)


def test_sparse_rows_with_wrong_indices(deepmix, tmp_path):
    """SciPy would follow them outside its memory, and crash or cluster numbers that belong to other data."""
    x = sparse.csr_matrix(np.eye(30, 8))
    parts = {"data": x.data, "indptr": x.indptr, "shape": np.array(x.shape), "format": np.array("csr")}
    for index in (2_000_000_000, 8, -1_000_000):
        np.savez(tmp_path / "rows.npz", **parts, indices=np.where(np.arange(8) == 5, index, x.indices))
        words = f"the sparse matrix is not valid: it has a value in column {index}, counted from 0, of 8 columns"
        refuses(deepmix("train", "--dataset", "rows.npz", "--components", 2), 2, words)


def test_diverged_training_stops_with_advice(deepmix, tmp_path):
    result = deepmix("train", "--out", "run", "--lr", 1e18, *TINY)
    refuses(result, 1, "training diverged in epoch", "try a smaller --lr, or --set scale=standard for data")
    assert (tmp_path / "run" / "config.json").exists()
