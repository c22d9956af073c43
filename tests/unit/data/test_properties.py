"""What holds for every input: values survive the way through a file, and text for people is safe and whole."""

from __future__ import annotations

import csv
import io
from contextlib import ExitStack

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as some
from hypothesis.extra import numpy as arrays
from scipy import sparse

from deepmix.data import SplitOptions, check_sparse, load_file, open_blocks, read_frame, spreadsheet_safe
from deepmix.errors import DeepmixError, UsageError, printable

EXAMPLES = 100
ALWAYS_THE_SAME = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
"""No example is random: a test that passes here passes everywhere."""
NUMBERS = some.floats(allow_nan=False, allow_infinity=False)
TYPES = some.sampled_from([">f8", "<f8", "<f4", "<f2", "<i8", ">i2", "|u1", "|b1"])
SHAPES = arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=7)


def rows_of(path, n_columns: int) -> np.ndarray:
    """Return a file's rows as new rows are read, block by block."""
    with ExitStack() as stack:
        return np.concatenate([np.asarray(block) for block in open_blocks(stack, path, n_columns).rows])


@ALWAYS_THE_SAME
@given(arrays.arrays(TYPES, SHAPES), some.booleans())
def test_an_array_comes_back_as_it_was_saved(tmp_path, array, columns_first):
    path = tmp_path / "rows.npy"
    path.unlink(missing_ok=True)
    np.save(path, np.asfortranarray(array) if columns_first else array)
    if array.size == 0 or array.shape[0] == 0:
        return
    np.testing.assert_array_equal(rows_of(path, array.shape[-1]), array)


@ALWAYS_THE_SAME
@given(arrays.arrays(TYPES, SHAPES), some.sampled_from(["none", "standard"]))
def test_training_reads_an_array_or_says_why_not(tmp_path, array, scale):
    path = tmp_path / "rows.npy"
    path.unlink(missing_ok=True)
    np.save(path, array)
    try:
        split = load_file(path, None, SplitOptions(scale=scale))
    except UsageError:
        return
    assert split.x.shape == (array.shape[0], int(np.prod(array.shape[1:])))
    assert np.isfinite(split.x).all()
    assert sorted([*split.train, *split.test]) == list(range(array.shape[0]))


@ALWAYS_THE_SAME
@given(some.lists(some.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=2, max_size=12), some.sampled_from([",", ";", "\t"]))
def test_numbers_come_back_from_text_with_every_digit(tmp_path, rows, delimiter):
    path = tmp_path / "rows.csv"
    lines = [delimiter.join(["a", "b", "c"]), *(delimiter.join(map(repr, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    frame = read_frame(path)
    assert list(frame.columns) == ["a", "b", "c"]
    np.testing.assert_array_equal(frame.to_numpy(np.float64), np.array(rows))


@ALWAYS_THE_SAME
@given(some.binary(max_size=200), some.sampled_from(["npy", "npz", "csv", "csv.gz", "parquet", "xlsx"]))
def test_any_bytes_are_rows_or_a_sentence(tmp_path, content, suffix):
    path = tmp_path / f"rows.{suffix}"
    path.write_bytes(content)
    message = ""
    try:
        load_file(path, None, SplitOptions())
    except DeepmixError as error:
        message = str(error)
    assert message == printable(message)
    assert "\n" not in message


ROWS = some.lists(some.lists(some.integers(0, 4), max_size=3), min_size=1, max_size=4)
"""For each row of a sparse matrix of five columns, the columns of its ones."""
DAMAGE = some.one_of(some.none(), some.tuples(some.booleans(), some.integers(0, 12), some.integers(-2, 12)))
"""Whether an index or a border of the rows is changed, which of them, and to what."""


@settings(ALWAYS_THE_SAME, max_examples=400)
@given(ROWS, DAMAGE)
def test_a_sparse_matrix_is_refused_exactly_where_it_is_not_valid(rows, damage):
    indices = np.array([index for row in rows for index in row], dtype=int)
    indptr = np.cumsum([0, *map(len, rows)])
    if damage is not None:
        part = indptr if damage[0] or not len(indices) else indices
        part[damage[1] % len(part)] = damage[2]
    try:
        matrix = sparse.csr_matrix((np.ones(len(indices)), indices, indptr), (len(rows), 5))
    except (ValueError, IndexError):
        return  # SciPy itself refuses it
    is_valid = indptr[0] == 0 and (np.diff(indptr) >= 0).all() and indptr[-1] <= len(indices)
    if not is_valid or not all(0 <= index < 5 for index in indices[: indptr[-1]]):
        with pytest.raises(UsageError, match="the sparse matrix is not valid"):
            check_sparse(matrix)
        return
    check_sparse(matrix)
    expected = np.zeros((len(rows), 5))
    for row in range(len(rows)):
        for index in indices[indptr[row] : indptr[row + 1]]:
            expected[row, index] += 1.0
    np.testing.assert_array_equal(matrix.toarray(), expected)


@settings(ALWAYS_THE_SAME, max_examples=1000)
@given(some.one_of(some.text(), some.text("=+-@\t 1.e\uff1d", max_size=6)))
def test_no_cell_is_a_formula_and_every_cell_can_be_read_back(text):
    cell = spreadsheet_safe(text)
    assert cell.removeprefix("'" if cell != text else "") == text
    start = cell.lstrip(" \u00a0")
    if start[:1] in tuple("=+-@\uff1d\uff0b\uff0d\uff20") and len(start) > 1:
        float(start)  # only a number may begin so


@settings(ALWAYS_THE_SAME, max_examples=1000)
@given(some.text(some.characters()))
def test_text_for_a_terminal_has_no_control_characters_and_is_otherwise_whole(text):
    shown = printable(text)
    assert not any(ord(character) < 32 and character not in "\n\t" for character in shown)
    assert not any(0x7F <= ord(character) < 0xA0 or 0xD800 <= ord(character) < 0xE000 for character in shown)
    assert printable(shown) == shown
    if text.isprintable():
        assert shown == text


@ALWAYS_THE_SAME
@given(some.lists(some.lists(some.text(max_size=5), min_size=2, max_size=2), min_size=1, max_size=5))
def test_any_text_is_a_table_or_a_sentence(tmp_path, rows):
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    (tmp_path / "rows.csv").write_bytes(buffer.getvalue().encode("utf-8", "surrogatepass"))
    try:
        frame = read_frame(tmp_path / "rows.csv")
    except UsageError:
        return
    assert len(frame) <= len(rows)
    assert len(set(frame.columns)) == frame.shape[1]


@pytest.mark.parametrize("scale", ["none", "standard"])
@pytest.mark.parametrize("value", [1e39, -1e39, 1e100])
def test_a_number_beyond_single_precision_is_named(tmp_path, scale, value):
    """It became infinite, and training ended with it."""
    rows = np.ones((8, 2))
    rows[3, 1] = value
    np.save(tmp_path / "rows.npy", rows)
    if scale == "standard" and abs(value) < 1e75:
        assert np.isfinite(load_file(tmp_path / "rows.npy", None, SplitOptions(scale=scale)).x).all()
        return
    with pytest.raises(UsageError, match=r"column 2 has a number of size 1e\+\d+; divide the column by a power of ten"):
        load_file(tmp_path / "rows.npy", None, SplitOptions(scale=scale))


def test_no_rows_of_more_than_two_axes(tmp_path):
    np.save(tmp_path / "rows.npy", np.zeros((0, 2, 2)))
    with pytest.raises(UsageError, match=r"0 row\(s\) and 4 column\(s\)"):
        load_file(tmp_path / "rows.npy", None, SplitOptions())
