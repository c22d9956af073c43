"""Wrong uses of the options for tables: one sentence, the right exit status, and nothing half-written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import TINY, refuses, train

SMALL = ("--components", 2, "--set", "encoder.hidden=16", "--set", "decoder.hidden=16")


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    """Return a folder with a table, files that are not what an option needs, and runs on a table and an array."""
    folder = tmp_path_factory.mktemp("tables")
    random = np.random.default_rng(0)
    lines = ["age,income,city,batch,zeros,words,kind"]
    for i in range(40):
        numbers = f"{20 + i % 37},{100.5 + 7.25 * random.normal():.3f}"
        lines.append(
            f"{numbers},{['rome', 'oslo', 'lima'][i % 3]},{'ab'[i % 2]},{int(i > 0)},{['x', 1][i > 0]},{i % 2}"
        )
    (folder / "t.csv").write_text("\n".join(lines).replace("20,", ",", 1) + "\n")
    (folder / "broken.toml").write_text("[columns\n")
    (folder / "unknown.toml").write_text("colums = 3\n")
    (folder / "kind.toml").write_text('[columns]\nage = "colour"\n')
    (folder / "likelihood.toml").write_text('[columns]\nage = {kind = "count", likelihood = "bernoulli"}\n')
    np.save(folder / "a.npy", random.normal(size=(30, 4)))
    train("--dataset", folder / "t.csv", "--label-column", "kind", "--drop", "words", "--out", folder / "run", *SMALL)
    train("--dataset", folder / "a.npy", "--out", folder / "array", *SMALL)
    return folder


COLUMNS = ("age", "income", "city", "batch", "zeros", "words", "kind")


TRAINING = [
    (("--column", "nope=count"), "there is no column 'nope'; the columns are: 'age'"),
    (("--column", "age=colour"), "unknown kind 'colour' of column 'age'; choose one of: binary"),
    (("--column", "age=count:nope"), "unknown likelihood 'nope'; choose one of: bernoulli"),
    (("--column", "age=count:bernoulli"), "'bernoulli' does not suit column 'age' of the kind count; choose one of"),
    (("--column", "age"), "write it as NAME=KIND or NAME=KIND:LIKELIHOOD"),
    (("--column", "city=count"), "holds 'rome', which is not a number; use another kind"),
    (("--column", "income=:poisson"), "which is not a whole number of at least 0"),
    (("--columns", "absent.toml"), "there is no file 'absent.toml'; write one with: deepmix inspect --toml"),
    (("--columns", "broken.toml"), "'broken.toml' can't be read"),
    (("--columns", "unknown.toml"), "unknown key 'colums' in 'unknown.toml'; choose one of: columns"),
    (("--columns", "kind.toml"), "unknown kind 'colour' of column 'age'"),
    (("--columns", "likelihood.toml"), "'bernoulli' does not suit column 'age'"),
    (("--weight-column", "zeros"), "'zeros' has no number greater than 0 in row 1; fill it in or remove the row"),
    (("--weight-column", "words"), "'words' has no number greater than 0 in row 1"),
    (("--weight-column", "nope"), "there is no column 'nope'"),
    (("--condition", "kind", "--label-column", "kind"), "by --condition and by --label-column; leave one out"),
    (("--condition", "city", "--drop", "city"), "by --drop and by --condition; leave one out"),
    (("--condition", "age", "--column", "age=count"), "named by --condition and has a kind; leave one out"),
    (("--id-column", "nope"), "there is no column 'nope'"),
    (("--id-column", "kind", "--label-column", "kind"), "by --label-column and by --id-column; leave one out"),
    (tuple(word for name in COLUMNS for word in ("--drop", name)), "can be modelled"),
    (("--drop", "nope"), "there is no column 'nope'"),
    (("--label-column", "nope"), "there is no label column 'nope'"),
]


@pytest.mark.parametrize(("options", "words"), TRAINING, ids=lambda value: str(value)[:40])
def test_training_refuses(deepmix, tables, tmp_path, options, words):
    options = [tables / word if str(word).endswith(".toml") and word != "absent.toml" else word for word in options]
    result = deepmix("train", "--dataset", tables / "t.csv", *SMALL, "--out", "x", *options, *TINY)
    refuses(result, 2, "Error: ")
    assert words in " ".join(result.stderr.replace(f"{tables}/", "").split())
    assert list(tmp_path.iterdir()) == []


AFTERWARDS = [
    (("impute", "array", "t.csv"), "trained on an array without missing values; train on a table"),
    (("impute", "run", "a.npy"), "'a.npy' is not a table file; use one of: .csv"),
    (("impute", "run", "t.csv", "--interval", "0"), "--interval must be between 0 and 1, got 0"),
    (("impute", "run", "t.csv", "--interval", "2"), "--interval must be between 0 and 1, got 2"),
    (("predict", "run", "t.csv", "--outliers", "2"), "--outliers must be at least 0 and below 1, got 2"),
    (("predict", "run", "t.csv", "--outliers", "nan"), "--outliers must be at least 0 and below 1"),
    (("predict", "run", "t.csv", "--id-column", "nope"), "there is no column 'nope' in 't.csv'; the columns are: age"),
    (("predict", "array", "a.npy", "--id-column", "x"), "rows have no names; leave out --id-column"),
    (("predict", "run", "a.npy"), "the rows have 4 column(s) and the run was trained on"),
    (("predict", "array", "t.csv"), "'t.csv' has columns that are not numbers"),
    (("embed", "run", "a.npy"), "the rows have 4 column(s) and the run was trained on"),
    (("sample", "run", "--png", "z.png"), "trained on a table, whose rows are neither images nor an array; use --csv"),
    (("sample", "run", "--component", "9"), "there is no component 9"),
    (("export", "run", "--format", "torch-export"), "trained on a table"),
    (("evaluate", "run", "--dataset", "a.npy"), "trained on a table, and 'a.npy' is an array; name a table file"),
    (("evaluate", "array", "--dataset", "t.csv"), "'t.csv' has columns that are not numbers"),
    (("report", "array", "--dataset", "t.csv"), "'t.csv' has columns that are not numbers"),
    (("inspect", "a.npy"), "'a.npy' is not a table file"),
    (("inspect", "."), "is a folder; name a table file in it"),
    (("inspect", "t.csv", "--json", "--toml"), "--json and --toml exclude each other"),
    (("inspect", "t.csv", "--column", "nope=count"), "there is no column 'nope'"),
]


def test_options_for_columns_are_for_tables(deepmix, tables, tmp_path):
    for name in ("digits", tables / "a.npy"):
        result = deepmix("train", "--dataset", name, "--drop", "age", "--out", "x", *TINY)
        refuses(result, 2, "an array", "whose columns have no kinds", "--columns")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("words", "message"), AFTERWARDS, ids=lambda value: " ".join(value)[:40])
def test_commands_after_training_refuse(deepmix, tables, tmp_path, words, message):
    places = {name: tables / name for name in ("run", "array", "t.csv", "a.npy")}
    out = ("-o", "out.csv") if words[0] in ("impute", "predict", "embed") else ()
    out = ("-o", "m.pt2") if words[0] == "export" else out
    result = deepmix(*(places.get(word, word) for word in words), *out)
    refuses(result, 2, "Error: ")
    assert message in " ".join(result.stderr.replace(f"{tables}/", "").split())
    assert list(tmp_path.iterdir()) == []
    assert not (tables / "run" / "report.html").exists()


@pytest.mark.parametrize("words", [("sample", "--csv"), ("predict", "t.csv", "-o"), ("impute", "t.csv", "-o")])
def test_files_that_exist_are_not_replaced(deepmix, tables, tmp_path, words):
    (tmp_path / "mine.csv").write_text("mine\n")
    command, *others = (tables / word if word == "t.csv" else word for word in words)
    refuses(deepmix(command, tables / "run", *others, "mine.csv"), 2, "'mine.csv' exists; choose another name")
    assert (tmp_path / "mine.csv").read_text() == "mine\n"
