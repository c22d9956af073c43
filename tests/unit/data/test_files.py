"""Data files: training and new rows read a file by the same rules, and a bad file ends in one sentence."""

from __future__ import annotations

import gzip
import io
import itertools
import zipfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

from deepmix.data import Rows, SplitOptions, load_file, open_blocks
from deepmix.errors import DeepmixError, UsageError

OPTIONS, AS_SAVED = SplitOptions(), SplitOptions(scale="none")


CPU = torch.device("cpu")


NAMES = ["a", "b", "c"]


def new_rows(path: Path, label: str | None = None, n_features: int = 3) -> tuple[list[str] | None, np.ndarray]:
    """Return the columns and all rows of a file as `predict` reads it."""
    with ExitStack() as stack:
        blocks = open_blocks(stack, path, n_features, label)
        rows = list(blocks.rows)
    if sparse.issparse(rows[0]):
        return blocks.columns, sparse.vstack(rows).toarray()
    return blocks.columns, np.concatenate(rows)


def write_csv(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_memory_map_is_read_batch_by_batch_and_gives_the_same_rows(tmp_path):
    x = np.random.default_rng(0).random((40, 5), dtype=np.float32)
    np.save(tmp_path / "x.npy", x)
    split = load_file(tmp_path / "x.npy", None, OPTIONS)
    assert isinstance(split.x, np.memmap)
    rows = Rows(split.x, split.train, CPU)
    np.testing.assert_array_equal(torch.cat([block.x_ND for block in rows.in_order(7)]).numpy(), x[split.train])


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("header", [True, False])
def test_csv_gives_the_numbers_and_the_label_names(tmp_path, delimiter, header):
    lines = [delimiter.join(("width", "kind", "height"))] if header else []
    lines += [delimiter.join((str(i / 8), f'"k {i % 3}"', str(1 - i / 8))) for i in range(9)]
    path = tmp_path / "rows.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write("\n".join(lines))
    split = load_file(path, "kind" if header else "2", OPTIONS)
    np.testing.assert_allclose(split.x[:, 0] * 8, np.clip(np.arange(9), 0, 8), atol=1e-6)
    assert split.labels.tolist() == [f"k {i % 3}" for i in range(9)]


def test_csv_values_survive_exactly(tmp_path):
    x = np.random.default_rng(0).random((20, 4)).astype(np.float32)
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(",".join(f"{value:.9g}" for value in row) for row in x))
    np.testing.assert_array_equal(load_file(path, None, OPTIONS).x, x)


@pytest.mark.parametrize("first", [0, 1])
def test_csv_header_of_column_numbers_is_not_a_row(tmp_path, first):
    x = np.random.default_rng(0).random((20, 3)).astype(np.float32)
    path = tmp_path / "rows.csv"
    header = ",".join(str(first + i) for i in range(3))
    path.write_text("\n".join([header, *(",".join(f"{value:.9g}" for value in row) for row in x)]))
    np.testing.assert_array_equal(load_file(path, None, OPTIONS).x, x)


def test_csv_header_is_known_by_the_label_column(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("5,7,kind\n0.5,0.25,a\n0.75,1,b\n0.5,0.5,a\n")
    split = load_file(path, "kind", OPTIONS)
    assert split.x.shape == (3, 2)
    assert split.labels.tolist() == ["a", "b", "a"]


def test_npz_takes_labels_from_y_or_a_named_key(tmp_path):
    np.savez(tmp_path / "rows.npz", x=np.eye(6), y=np.arange(6), other=np.arange(6)[::-1])
    assert load_file(tmp_path / "rows.npz", None, OPTIONS).labels.tolist() == list(range(6))
    assert load_file(tmp_path / "rows.npz", "other", OPTIONS).labels.tolist() == list(range(5, -1, -1))
    with pytest.raises(UsageError, match="no key 'kind'; it has: x, y, other"):
        load_file(tmp_path / "rows.npz", "kind", OPTIONS)


def test_sparse_npz(tmp_path):
    x = sparse.random_array((20, 8), density=0.3, rng=np.random.default_rng(0), format="csr")
    sparse.save_npz(tmp_path / "rows.npz", sparse.csr_matrix(x))
    np.testing.assert_allclose(load_file(tmp_path / "rows.npz", None, OPTIONS).x.toarray(), x.toarray(), rtol=1e-6)
    sparse.save_npz(tmp_path / "coo.npz", sparse.coo_matrix(x))
    with np.load(tmp_path / "coo.npz") as archive:
        np.savez(tmp_path / "labelled.npz", **archive, y=np.arange(20) % 3, n_train=15)
    split = load_file(tmp_path / "labelled.npz", None, OPTIONS)
    np.testing.assert_allclose(split.x.toarray(), x.toarray(), rtol=1e-6)
    assert split.labels.tolist() == [i % 3 for i in range(20)]
    assert len(split.train) == 15
    with pytest.raises(UsageError, match="no key 'kind'"):
        load_file(tmp_path / "labelled.npz", "kind", OPTIONS)


def test_npy_label_column_by_number(tmp_path):
    np.save(tmp_path / "rows.npy", np.column_stack([np.random.default_rng(0).random((9, 2)), np.arange(9) % 2]))
    split = load_file(tmp_path / "rows.npy", "3", OPTIONS)
    assert split.x.shape == (9, 2)
    assert split.labels.tolist() == [0.0, 1.0] * 4 + [0.0]


def test_parquet(tmp_path):
    pandas = pytest.importorskip("pandas", reason="the parquet extra (pandas, pyarrow) is not installed")
    pytest.importorskip("pyarrow", reason="the parquet extra (pandas, pyarrow) is not installed")
    pandas.DataFrame({"a": [0.0, 0.5, 1.0], "kind": ["x", "y", "x"]}).to_parquet(tmp_path / "rows.parquet")
    split = load_file(tmp_path / "rows.parquet", "kind", OPTIONS)
    assert split.x.ravel().tolist() == [0.0, 0.5, 1.0]
    assert split.labels.tolist() == ["x", "y", "x"]
    with pytest.raises(UsageError, match="not numbers: 'kind'"):
        load_file(tmp_path / "rows.parquet", None, OPTIONS)


@pytest.mark.parametrize("block_values", [1, 8, 10**6])
@pytest.mark.parametrize("name", ["x.csv", "X.CSV.GZ", "x.npy", "order.npy", "x.npz", "x.parquet"])
def test_training_and_new_rows_are_read_alike(tmp_path, monkeypatch, name, block_values):
    """Each format gives the same numbers, columns and labels, whatever the size of a block."""
    monkeypatch.setattr("deepmix.data.table_file.BLOCK_VALUES", block_values)
    x, kind = np.random.default_rng(0).random((11, 3)), np.arange(11) % 2
    path, label = tmp_path / name, "kind"
    columns: list[str] | None = NAMES
    if name.lower().endswith((".csv", ".gz")):
        lines = ["a,kind,b,c", *(f"{a!r},k{k},{b!r},{c!r}" for (a, b, c), k in zip(x.tolist(), kind, strict=True))]
        text = "\n".join(lines).encode()
        path.write_bytes(gzip.compress(text) if name.endswith("GZ") else text)
    elif name.endswith(".npz"):
        np.savez(path, x=x, kind=kind)
        columns = None
    elif name.endswith(".npy"):
        array = np.insert(x, 1, kind, axis=1)
        np.save(path, np.asfortranarray(array) if name == "order.npy" else array)
        columns, label = None, "2"
    else:
        pandas = pytest.importorskip("pandas", reason="the parquet extra (pandas, pyarrow) is not installed")
        pytest.importorskip("pyarrow", reason="the parquet extra (pandas, pyarrow) is not installed")
        pandas.DataFrame(x, columns=NAMES).assign(kind=[f"k{k}" for k in kind]).to_parquet(path)
    split = load_file(path, label, AS_SAVED)
    np.testing.assert_array_equal(split.x, x.astype(np.float32))
    assert [str(value).removeprefix("k") for value in split.labels] == [
        str(value) for value in (kind.astype(float) if name.endswith(".npy") else kind)
    ]
    assert split.preparation.columns == (None if columns is None else tuple(columns))
    read, rows = new_rows(path, label)
    assert read == columns
    np.testing.assert_array_equal(rows, x)


def test_quoted_cells_may_go_over_lines_and_blocks(tmp_path, monkeypatch):
    lines = ["a,b,kind", *(f'{i},{i * i},"first\nsecond {i % 2}"' for i in range(6))]
    path = write_csv(tmp_path / "rows.csv", *lines)
    for block_values in (3, 10**6):
        monkeypatch.setattr("deepmix.data.table_file.BLOCK_VALUES", block_values)
        split = load_file(path, "kind", AS_SAVED)
        assert split.x[:, 1].tolist() == [0, 1, 4, 9, 16, 25]
        assert split.labels.tolist() == [f"first\nsecond {i % 2}" for i in range(6)]
        np.testing.assert_array_equal(new_rows(path, "kind", 2)[1], split.x)


def test_blank_lines_are_not_rows(tmp_path):
    path = write_csv(tmp_path / "rows.csv", "a,b", "", "1,2", "", "3,5", "", "")
    assert load_file(path, None, AS_SAVED).x.tolist() == [[1, 2], [3, 5]]
    assert new_rows(path, None, 2)[1].tolist() == [[1, 2], [3, 5]]


def test_truth_values_are_1_and_0(tmp_path):
    path = write_csv(tmp_path / "rows.csv", "a,isa_x,isa_y", "1.5,True,FALSE", "2.5,False,true", "0.5,1,0")
    expected = [[1.5, 1, 0], [2.5, 0, 1], [0.5, 1, 0]]
    assert load_file(path, None, AS_SAVED).x.tolist() == expected
    assert new_rows(path)[1].tolist() == expected
    bare = write_csv(tmp_path / "bare.csv", "True,False,True", "False,False,True")
    assert load_file(bare, None, AS_SAVED).x.tolist() == [[1, 0, 1], [0, 0, 1]]
    dummies = write_csv(tmp_path / "dummies.csv", "False,True", "1,0", "0,1")
    assert load_file(dummies, None, AS_SAVED).preparation.columns == ("False", "True")


@pytest.mark.parametrize("mark", ["", "NA", "?", "n/a", "-", "#N/A"])
def test_marks_of_missing_values_are_not_text(tmp_path, mark):
    path = write_csv(tmp_path / "rows.csv", "a,b,c", "1,2,3", f"4,{mark},6", "7,8,9")
    for read in (lambda: load_file(path, None, OPTIONS), lambda: new_rows(path)):
        with pytest.raises(UsageError, match=r"'rows.csv' has columns with missing values: 'b' \(row 2\); fill in or"):
            read()


def test_every_column_that_is_no_complete_column_of_numbers_is_listed(tmp_path):
    path = write_csv(tmp_path / "rows.csv", "a,colour,b,c", "1,NA,2,x", "2,red,,y", "3,1_000,4,z")
    with pytest.raises(UsageError) as caught:
        load_file(path, None, OPTIONS)
    assert "not numbers: 'colour' (row 2: 'red'), 'c' (row 1: 'x') and" in str(caught.value)
    assert "missing values: 'b' (row 2)" in str(caught.value)
    with pytest.raises(UsageError, match=r"not numbers: 'a' \(row 1: '1_000'\)"):
        load_file(write_csv(tmp_path / "under.csv", "a,b", "1_000,2", "3,4"), None, OPTIONS)


def test_a_saved_index_is_not_a_column_and_labels_may_have_a_number(tmp_path):
    pandas = pytest.importorskip("pandas", reason="the parquet extra (pandas, pyarrow) is not installed")
    pytest.importorskip("pyarrow", reason="the parquet extra (pandas, pyarrow) is not installed")
    frame = pandas.DataFrame(np.arange(24.0).reshape(8, 3), columns=NAMES).assign(kind=list("xyxyxyxy"))
    for table, n_rows in ((frame.iloc[::2], 4), (frame.set_index(np.arange(8) * 3), 8)):
        table.to_parquet(tmp_path / "rows.parquet")
        for label in ("kind", "4"):
            split = load_file(tmp_path / "rows.parquet", label, OPTIONS)
            assert split.preparation.columns == tuple(NAMES)
            assert split.labels.tolist() == table["kind"].tolist()
            columns, rows = new_rows(tmp_path / "rows.parquet", label)
            assert columns == NAMES
            assert rows.shape == (n_rows, 3)


def test_new_rows_may_lack_the_label_column(tmp_path):
    np.save(tmp_path / "rows.npy", np.eye(3))
    path = write_csv(tmp_path / "rows.csv", "a,b,c", "1,2,3")
    assert new_rows(tmp_path / "rows.npy", "2")[1].shape == (3, 3)
    assert new_rows(tmp_path / "rows.npy", "2", n_features=2)[1].tolist() == [[1, 0], [0, 0], [0, 1]]
    assert new_rows(path, "kind")[1].tolist() == [[1, 2, 3]]
    sparse.save_npz(tmp_path / "rows.npz", sparse.csr_matrix(np.eye(3)))
    assert new_rows(tmp_path / "rows.npz", "2", n_features=2)[1].tolist() == [[1, 0], [0, 0], [0, 1]]
    with pytest.raises(UsageError, match="no label column '5'; the columns are: 1, 2, 3"):
        load_file(tmp_path / "rows.npy", "5", OPTIONS)


@pytest.mark.parametrize("array_class", ["matrix", "array"])
@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "bsr", "dia"])
def test_every_format_of_sparse_matrix_is_read(tmp_path, kind, array_class):
    x = np.kron(np.eye(4), np.arange(1.0, 5.0).reshape(2, 2))
    sparse.save_npz(tmp_path / "rows.npz", getattr(sparse, f"{kind}_{array_class}")(x))
    assert load_file(tmp_path / "rows.npz", None, AS_SAVED).x.toarray().tolist() == x.tolist()
    np.testing.assert_array_equal(new_rows(tmp_path / "rows.npz", None, 8)[1], x)


def parts_of(kind: str) -> dict[str, np.ndarray]:
    """Return the arrays that make up a saved matrix of 3 rows and 4 columns."""
    file = io.BytesIO()
    sparse.save_npz(file, getattr(sparse, f"{kind}_matrix")(np.array([[1.0, 0, 2, 0], [0, 3, 0, 4], [5, 0, 0, 6]])))
    file.seek(0)
    with np.load(file) as archive:
        return dict(archive)


WRONG_PARTS = [
    ("csr", "indices", [0, 2, 1, 4, 0, 3], "column 4, counted from 0, of 4 columns"),
    ("csr", "indices", [0, 2, 1, 2_000_000_000, 0, 3], "column 2000000000"),
    ("csr", "indices", [0, 2, 1, -1, 0, 3], "column -1"),
    ("csr", "indices", [0.0, 2, 1, 3, 0, 3], "float64 and needs whole numbers"),
    ("csr", "indptr", [0, 4, 2, 6], "indptr falls at position 2"),
    ("csr", "indptr", [1, 2, 4, 6], "0"),
    ("csr", "indptr", [0, 2, 4, 7], "7|size"),
    ("csr", "indptr", [0, 2, 6], "3|4"),
    ("csr", "data", [1.0, 2, 3], "3|size"),
    ("csr", "shape", [3, -4], "-4|negative"),
    ("csr", "shape", [3.0, 4.0], "shape has the type float64"),
    ("csr", "data", list("abcdef"), "must be numbers"),
    ("csr", "format", "lil", "unknown format 'lil'; save it as CSR"),
    ("csr", "format", 3, "unknown format '3'"),
    ("csc", "indices", [0, 2, 1, 3, 1, 2], "row 3, counted from 0, of 3 rows"),
    ("coo", "row", [0, 0, 1, 1, 2, 3], "3"),
    ("coo", "col", [0, 2, 1, -3, 0, 3], "-3|negative"),
    ("coo", "col", [0, 2, 1], "3|length|same"),
    ("bsr", "indices", [0, 1, 0, 1, 0, 900], "900|of 4 columns"),
    ("dia", "offsets", [0, 1], "2"),
]


@pytest.mark.parametrize(("kind", "part", "value", "words"), WRONG_PARTS)
def test_sparse_parts_that_do_not_fit_are_refused(tmp_path, kind, part, value, words):
    parts = {key: array for key, array in parts_of(kind).items() if key != part} | {part: np.asarray(value)}
    np.savez(tmp_path / "rows.npz", **parts)
    for read in (lambda: load_file(tmp_path / "rows.npz", None, OPTIONS), lambda: new_rows(tmp_path / "rows.npz")):
        with pytest.raises(DeepmixError, match=words):
            read()


def npy(descr: str, shape: str, values: bytes = b"", *, order: bool = False) -> bytes:
    """Return a .npy file with a custom header."""
    header = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + values


def npz(**members: bytes) -> bytes:
    """Return a .npz file of arrays with custom headers."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


GOOD = npy("'<f8'", "(2, 3)", np.arange(6.0).tobytes())


WRONG_FILES = {
    "void.npy": (npy("'|V0'", "(9223372036854775807, 8)", order=True), UsageError, "must be numbers"),
    "no-bytes.npy": (npy("'|S0'", "(9223372036854775807, 8)"), UsageError, "must be numbers"),
    "python-2-alias.npy": (npy("'a'", "(4611686018427387904, 9223372036854775807)"), DeepmixError, "numbers|can't be"),
    "text.npy": (npy("'<U3'", "(1, 3)", b"\0" * 36), UsageError, "must be numbers, got an array of type <U3"),
    "record.npy": (npy("[('a', '<f8')]", "(1, 3)", b"\0" * 24), UsageError, "must be numbers"),
    "huge.npy": (npy("'<f8'", "(100000000000000000000, 3)", b"\0" * 24), DeepmixError, "it ends early"),
    "short.npy": (npy("'<f8'", "(2, 3)", b"\0" * 40), DeepmixError, "it ends early"),
    "negative.npy": (npy("'<f8'", "(-2, 3)", b"\0" * 40), DeepmixError, "a shape of"),
    "no-columns.npy": (npy("'<f8'", "(100000000000000000000, 0)"), UsageError, "must have rows and columns"),
    "scalar.npy": (
        npy("'<f8'", "()", b"\0" * 8),
        UsageError,
        r"must have rows and columns, got an array of shape \(\)",
    ),
    "syntax.npy": (npy("'<f8'", "(2, 3"), DeepmixError, "can't be read"),
    "words.npy": (npy("'<f8'", "('two', 3)"), DeepmixError, "can't be read"),
    "version.npy": (b"\x93NUMPY\x07\x00" + GOOD[8:], DeepmixError, "version"),
    "empty.npy": (b"", DeepmixError, "can't be read"),
    "empty-member.npz": (npz(x=b""), DeepmixError, "can't be read"),
    "syntax.npz": (npz(x=npy("'<f8'", "(2, 3")), DeepmixError, "can't be read"),
    "objects.npz": (npz(x=npy("'|O'", "(2, 3)", b"\0" * 9)), UsageError, r"Python objects; save it .* astype\(float\)"),
    "huge.npz": (npz(x=npy("'<f8'", "(100000000000000000000, 3)", b"\0" * 24)), DeepmixError, "it ends early"),
    "keys.npz": (npz(a=GOOD, b=GOOD), UsageError, "must hold its rows under the key 'x'; it has: a, b"),
    "format.npz": (npz(format=GOOD, data=GOOD), DeepmixError, "can't be read"),
    "zeros.csv": (b"a,b\0,c\n1,2,3\n4,5,6\n", UsageError, "line 1 holds the character NUL"),
    "binary.csv.gz": (gzip.compress(b"a,b,c\n1,2,3\n4,5,6\n")[:-9], DeepmixError, "can't be read"),
    "latin.csv": ("ä,b,c\n1,2,3\n4,5,6\n".encode("latin-1"), DeepmixError, "save it as UTF-8"),
    "ragged.csv": (b"a,b,c\n1,2,3\n4,5\n", UsageError, "'ragged.csv', line 3 has 2 cells and the first has 3"),
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_a_wrong_file_is_one_sentence(tmp_path, name):
    content, kind, words = WRONG_FILES[name]
    (tmp_path / name).write_bytes(content)
    for read in (lambda: load_file(tmp_path / name, None, OPTIONS), lambda: new_rows(tmp_path / name)):
        with pytest.raises(kind, match=words) as caught:
            read()
        assert "\n" not in str(caught.value)


def test_wrong_labels_are_named(tmp_path):
    np.savez(tmp_path / "rows.npz", x=np.eye(3), y=np.array(["a", 1, None], dtype=object))
    with pytest.raises(UsageError, match=r"'y' in 'rows.npz' holds Python objects; .* astype\(str\)"):
        load_file(tmp_path / "rows.npz", None, OPTIONS)
    assert new_rows(tmp_path / "rows.npz")[1].tolist() == np.eye(3).tolist()
    (tmp_path / "void.npz").write_bytes(npz(x=GOOD, y=npy("'|V0'", "(9223372036854775807,)")))
    with pytest.raises(UsageError, match=r"'y' in 'void.npz' must be numbers or text"):
        load_file(tmp_path / "void.npz", None, OPTIONS)


def test_a_damaged_file_never_gives_another_error(tmp_path):
    """A file with random bytes changed gives either rows or a one-sentence error."""
    random = np.random.default_rng(0)
    sources = {
        "a.npy": GOOD,
        "a.npz": npz(x=GOOD, y=npy("'<i8'", "(2,)", np.arange(2).tobytes())),
        "a.csv": b"a,b,c\n1,2,3\n4,5,6\n",
        "a.csv.gz": gzip.compress(b"a,b,c\n1,2,3\n4,5,6\n"),
    }
    n_refused = 0
    for (name, content), _ in itertools.product(sources.items(), range(150)):
        changed = np.frombuffer(content, np.uint8).copy()
        places = random.integers(0, len(changed), size=3)
        changed[places] = random.integers(0, 256, size=3)
        (tmp_path / name).write_bytes(changed.tobytes())
        try:
            with np.errstate(all="ignore"):  # numbers may come out very large
                load_file(tmp_path / name, None, OPTIONS)
            new_rows(tmp_path / name)
        except DeepmixError:
            n_refused += 1
    assert n_refused > 300
