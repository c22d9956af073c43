"""Damaged files end in a result or in one sentence: 20,000 cases of the fuzzer, and what longer runs of it found."""

from __future__ import annotations

import gzip
from pathlib import Path
from random import Random

import numpy as np
import pytest
from deepmix_builtins.datasets.formats import read_har, read_rcv1

from deepmix.data import Preparation, SplitOptions, load_file, read_frame
from deepmix.data.file_problems import reading
from deepmix.errors import DeepmixError, UsageError
from deepmix.runs import CHECKPOINT, CheckpointMeta, RunFolder
from tests.fuzz.arrays import npy_bytes, zip_bytes
from tests.fuzz.fuzzing import TARGETS, Tally, fuzz
from tests.fuzz.target import Target

CASES, PARTS = 20_000, 4
"""How many cases run here; in parts, so that processes of pytest can share them."""


@pytest.mark.parametrize("part", range(PARTS))
def test_no_case_has_a_wrong_answer(part):
    tally = Tally()
    for tally in fuzz(CASES // PARTS, seed=0, first=part * CASES // PARTS):  # noqa: B007 - the last one is used
        pass
    assert [(finding.case, finding.target, finding.kind) for finding in tally.findings] == []
    assert tally.n_cases == CASES // PARTS
    for target in TARGETS:  # a fuzzer whose files are all good, or all refused, would find nothing
        assert tally.results[target.name] + tally.refusals[target.name] > 0, target.name
    assert min(tally.results.total(), tally.refusals.total()) > tally.n_cases / 10


def test_a_case_is_the_same_in_every_process():
    for target in TARGETS:
        if not target.name.startswith(
            ("run-", "checkpoint", "excel", "stl10", "parquet")
        ):  # these hold times or weights
            assert target.make(Random("0 1")) == target.make(Random("0 1"))


@pytest.mark.parametrize("fault", ["exception", "hang", "memory", "endless message"])
def test_the_fuzzer_sees_a_wrong_answer(monkeypatch, fault):
    def read(path: Path, random: Random) -> None:
        match fault:
            case "exception":
                raise KeyError("x")
            case "hang":
                while True:
                    pass
            case "memory":
                try:
                    raise MemoryError
                except MemoryError as error:
                    raise DeepmixError("there is not enough memory") from error
            case _:
                raise DeepmixError("x" * 10_000)

    monkeypatch.setattr("tests.fuzz.fuzzing.TARGETS", (Target("broken", lambda random: b"", read, "file"),))
    monkeypatch.setattr("tests.fuzz.fuzzing.MOST_SECONDS", 0.2)
    (tally,) = fuzz(1, seed=0)
    (finding,) = tally.findings
    assert finding.kind.startswith({"exception": "KeyError", "endless message": "sentence"}.get(fault, fault))


def refused(folder: Path, name: str, content: bytes, label: str | None = None) -> str:
    (folder / name).write_bytes(content)
    with pytest.raises(DeepmixError) as caught:
        load_file(folder / name, label, SplitOptions())
    return str(caught.value)


def with_header(header: str) -> bytes:
    """Return a .npy file of no values with such a header."""
    return b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header.encode() + b"\n"


@pytest.mark.parametrize(
    ("dtype", "shape", "words"),
    [
        ("'|V0'", "(99999999999,)", "must be numbers, got an array of type |V0"),
        ("'|S0'", "(99999999999, 3)", "must be numbers, got an array of type |S0"),
        ("'<f8'", "(0, 99999999999)", "0 row(s) and 99999999999 column(s)"),
        ("'<f8'", "(99999999999, 3)", "it ends early"),
        ("'<f8'", "(-8, -3)", "a shape of (-8, -3)"),
        ("'<f8'", "(True, 0)", "must have rows and columns"),
        ("'<f8'", "lambda: 0", "can't be read (malformed node"),
        ("'|O'", "(8, 3)", "holds Python objects"),
    ],
)
def test_headers_of_npy(tmp_path, dtype, shape, words):
    text = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}"
    for label in (None, "y"):
        message = refused(tmp_path, "rows.npy", with_header(text), label)
        assert words in message or (label and "label column 'y'; the columns are: 1, 2" in message)


def test_a_missing_label_column_of_a_very_wide_file_lists_twelve_columns(tmp_path):
    """Naming all of them took 6.4 GB."""
    text = "{'descr': '<f8', 'fortran_order': False, 'shape': (0, 99999999999), }"
    message = refused(tmp_path, "rows.npy", with_header(text), "kind")
    assert message.endswith("the columns are: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, ...")


def test_labels_that_are_not_unicode(tmp_path):
    labels = npy_bytes(np.array(["a"] * 8)).replace(b"a\x00\x00\x00", b"\xff\xff\xff\xff", 1)
    content = zip_bytes([("x.npy", npy_bytes(np.eye(8, 3))), ("y.npy", labels)])
    assert "'y' holds text that is not Unicode" in refused(tmp_path, "rows.npz", content)


@pytest.mark.parametrize("member", ["y", "y.npy"])
def test_a_member_that_is_not_an_array(tmp_path, member):
    content = zip_bytes([("x.npy", npy_bytes(np.eye(8, 3))), (member, b"labels")])
    assert "can't be read" in refused(tmp_path, "rows.npz", content)


@pytest.mark.parametrize("kind", [5, "lil", "\u00b2"])
def test_the_format_of_a_sparse_matrix(tmp_path, kind):
    members = [("format.npy", npy_bytes(np.array(kind))), ("data.npy", npy_bytes(np.ones(2)))]
    assert f"unknown format '{kind}'; save it as CSR" in refused(tmp_path, "rows.npz", zip_bytes(members))


@pytest.mark.parametrize("shape", [(10**12, 3), (3, 10**12), (3, 2**21 + 3)])
def test_a_sparse_matrix_of_a_size_that_it_does_not_hold(tmp_path, shape):
    parts = {
        "format": "coo",
        "shape": np.array(shape),
        "data": np.ones(2),
        "row": np.array([0, 1]),
        "col": np.array([0, 1]),
    }
    content = zip_bytes([(f"{name}.npy", npy_bytes(np.array(part))) for name, part in parts.items()])
    assert f"it declares {max(shape)} " in refused(tmp_path, "rows.npz", content)


def test_rows_of_a_csr_matrix_on_the_disk_with_columns_that_it_does_not_hold(tmp_path):
    """So many columns would not fit in memory as dense rows, so it was taken for data to be left on the disk."""
    parts = {"format": "csr", "shape": np.array((2, 10**12)), "data": np.ones(2)}
    parts |= {"indices": np.array([0, 1]), "indptr": np.array([0, 1, 2])}
    content = zip_bytes([(f"{name}.npy", npy_bytes(np.array(part))) for name, part in parts.items()])
    assert "it declares 1000000000000 columns" in refused(tmp_path, "rows.npz", content)


def test_numbers_with_gaps_in_another_byte_order(tmp_path):
    rows = np.arange(24.0).reshape(8, 3) % 5
    rows[2, 1] = np.nan
    splits = []
    for order in "<>":
        np.save(tmp_path / "rows.npy", rows.astype(f"{order}f8"))
        splits.append(load_file(tmp_path / "rows.npy", None, SplitOptions()))
    np.testing.assert_array_equal(splits[0].x, splits[1].x)


@pytest.mark.parametrize("label", ["\u00b2", "9" * 30, "9" * 5000])
@pytest.mark.parametrize("name", ["rows.npy", "rows.csv"])
def test_a_label_column_that_is_not_a_number(tmp_path, label, name):
    content = npy_bytes(np.eye(8, 3)) if name == "rows.npy" else b"1,2,3\n" * 8
    assert "there is no label column" in refused(tmp_path, name, content, label)


def test_a_line_that_never_ends(tmp_path):
    """40 MB in one line took 4.6 GB."""
    assert "more than 250,000 cells; end its rows" in refused(tmp_path, "rows.csv", b"1," * 300_000)
    assert "more than 4,000,000 characters" in refused(tmp_path, "rows.csv", b"1" * 4_000_001)
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(b"1" * 50_000_000))
    with pytest.raises(UsageError, match=r"line 1 of 'rows\.csv\.gz' has more than"):
        read_frame(tmp_path / "rows.csv.gz")


def test_text_that_unpacks_to_very_much(tmp_path, monkeypatch):
    """A file of 490 kB may unpack to 500 MB of short lines."""
    monkeypatch.setattr("deepmix.data.text_table.LEAST_UNPACKED", 100_000)
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 30_000))
    with pytest.raises(UsageError, match=r"'rows\.csv\.gz' unpacks to more than 100 times its size; .* gunzip"):
        read_frame(tmp_path / "rows.csv.gz")
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 20_000))
    assert len(read_frame(tmp_path / "rows.csv.gz")) == 20_000


def test_columns_without_names_are_numbered_in_linear_time(tmp_path):
    """Comparing every name with every other took minutes."""
    (tmp_path / "rows.csv").write_text("1," * 20_000 + "1\n" + "2," * 20_000 + "1\n")
    assert list(read_frame(tmp_path / "rows.csv").columns[[0, 20_000]]) == ["1", "20001"]


HAR_FILES = {"X_train": b"1 2\n3 4\n", "y_train": b"1\n2\n", "X_test": b"1 2\n", "y_test": b"1\n"}


@pytest.mark.parametrize("files", [{"X_test": b"1\n"}, {"y_train": b"9" * 40 + b"\n1\n"}, {"X_train": b"a b\n"}])
def test_har(tmp_path, files):
    members = [(f"UCI HAR Dataset/{name[2:]}/{name}.txt", content) for name, content in {**HAR_FILES, **files}.items()]
    (tmp_path / "har.zip").write_bytes(zip_bytes(members))
    with pytest.raises(DeepmixError, match=r"har\.zip' can't be read .*remove it, and it will be fetched again"):
        read_har(tmp_path / "har.zip")


@pytest.mark.parametrize("vectors", [b"2286 99999999999:1\n", b"inf 1:1\n", b"2286 1:inf\n"])
def test_rcv1(tmp_path, vectors):
    (tmp_path / "vectors.gz").write_bytes(gzip.compress(vectors))
    (tmp_path / "topics.gz").write_bytes(gzip.compress(b"CCAT 2286 1\n"))
    with pytest.raises(DeepmixError, match=r"vectors\.gz' can't be read"):
        read_rcv1([tmp_path / "vectors.gz"], tmp_path / "topics.gz", 2)


def test_rcv1_without_a_document_that_has_a_topic(tmp_path):
    (tmp_path / "vectors.gz").write_bytes(gzip.compress(b"2286 1:1\n"))
    (tmp_path / "topics.gz").write_bytes(gzip.compress(b"CCAT 1 1\n"))
    with pytest.raises(DeepmixError, match="names none of the documents"):
        read_rcv1([tmp_path / "vectors.gz"], tmp_path / "topics.gz", 2)


def test_json_that_is_nested_too_deep(tmp_path):
    import json

    deep = "[" * 100_000
    header = json.dumps({"__metadata__": {"deepmix": deep}}).encode()
    (tmp_path / CHECKPOINT).parent.mkdir()
    (tmp_path / CHECKPOINT).write_bytes(len(header).to_bytes(8, "little") + header)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "metrics.jsonl").write_text(deep)
    run = RunFolder(tmp_path)
    with pytest.raises(DeepmixError, match=r"state\.safetensors' is damaged"):
        run.read_weights(CheckpointMeta)
    with pytest.raises(DeepmixError, match=r"metrics\.jsonl' is damaged in line 1"):
        run.read_epochs()


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"scale": "standard"}, "need a spread"),
        ({"scale": "standard", "mean": np.zeros(3), "spread": np.ones(2)}, "not as many means as spreads"),
        ({"divisor": 0.0}, "can't be divided by 0.0"),
        ({"divisor": float("nan")}, "can't be divided by nan"),
    ],
)
def test_a_preparation_whose_parts_do_not_fit(parts, words):
    """A run whose inference.safetensors lacked an array was opened, and failed at the first rows."""
    with pytest.raises(ValueError, match=words):
        Preparation(**parts)


def test_a_reason_that_quotes_bytes_is_cut(tmp_path):
    path = tmp_path / "rows.csv"
    with pytest.raises(DeepmixError, match="can't be read") as caught, reading(path):
        raise ValueError("x" * 10_000)
    assert len(str(caught.value)) < 500 + len(str(path))
