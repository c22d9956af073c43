"""Table files become data frames by the same rules, whole or in blocks."""

from __future__ import annotations

import gzip
import io
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deepmix.data import is_table_file, open_frames, read_frame
from deepmix.errors import DeepmixError, UsageError


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def read(tmp_path: Path, text: str, name: str = "rows.csv", **arguments: object) -> pd.DataFrame:
    return read_frame(write(tmp_path / name, text), **arguments)


def cells(frame: pd.DataFrame) -> list[list[object]]:
    """Return a frame's cells with None where a value is missing."""
    return [[None if pd.isna(cell) else cell for cell in row] for row in frame.astype(object).to_numpy().tolist()]


def kinds(frame: pd.DataFrame) -> str:
    return "".join(dtype.kind for dtype in frame.dtypes)


def test_columns_have_the_type_of_their_cells(tmp_path):
    frame = read(
        tmp_path,
        "n,x,gap,yes,maybe,colour,mixed,empty\n1,0.1,2,True,true, red ,7,\n"
        "-2,3,NA,FALSE,,blue,x,?\n+3,1e-3,4,true,False,null,8,-\n",
    )
    assert kinds(frame) == "iffbOOOf"
    assert cells(frame) == [
        [1, 0.1, 2.0, True, "True", "red", "7", None],
        [-2, 3.0, None, False, None, "blue", "x", None],
        [3, 1e-3, 4.0, True, "False", None, "8", None],
    ]
    assert isinstance(frame.index, pd.RangeIndex)


def test_numbers_are_those_of_python_exactly(tmp_path):
    texts = [repr(value) for value in np.random.default_rng(0).lognormal(0, 30, 500).tolist()]
    texts += ["0.1", "1e22", "2.2250738585072014e-308", "123456789012345678901234567890", "9007199254740993.0"]
    frame = read(tmp_path, "x\n" + "\n".join(texts))
    assert frame["x"].tolist() == [float(text) for text in texts]


def test_further_marks_are_missing_in_numbers_and_text(tmp_path):
    frame = read(tmp_path, "a,b,c\n-999,x,1.5\n2,unknown,-999.0\n", marks=("-999", "Unknown"))
    assert cells(frame) == [[None, "x", 1.5], [2.0, None, None]]
    assert cells(read(tmp_path, "a,b\n-999,x\n2,unknown\n")) == [[-999, "x"], [2, "unknown"]]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", " "])
def test_the_delimiter_is_found(tmp_path, delimiter):
    rows = [["name", "x", "y"], ["'p q'".strip("'") if delimiter != " " else "p", "1.5", "2"], ["r", "2.5", "3"]]
    frame = read(tmp_path, "\n".join(delimiter.join(row) for row in rows), "rows.txt")
    assert frame.columns.tolist() == ["name", "x", "y"]
    assert frame["x"].tolist() == [1.5, 2.5]


def test_quotes_are_respected_when_the_delimiter_is_found(tmp_path):
    frame = read(tmp_path, 'name;x\n"a, b, c";1\n"d, e; f";2\n')
    assert cells(frame) == [["a, b, c", 1], ["d, e; f", 2]]


@pytest.mark.parametrize("name", ["rows.csv", "ROWS.TSV", "rows.Txt", "rows.csv.gz", "ROWS.CSV.GZ", "rows.tsv.gz"])
def test_names_of_files_in_any_capitalisation(tmp_path, name):
    text = b"a\tb\n1\tx\n2\ty\n"
    (tmp_path / name).write_bytes(gzip.compress(text) if name.lower().endswith("gz") else text)
    assert is_table_file(tmp_path / name)
    assert cells(read_frame(tmp_path / name)) == [[1, "x"], [2, "y"]]


def test_other_names_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"'rows.doc' is not a table file; use one of: .csv"):
        read(tmp_path, "a", "rows.doc")
    with pytest.raises(UsageError, match="there is no file"):
        read_frame(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("encoding", "newline"), [("utf-8-sig", "\r\n"), ("utf-16", "\r\n"), ("utf-8", "\n"), ("utf-8", "\r")]
)
def test_encodings_and_line_ends(tmp_path, encoding, newline):
    path = write(tmp_path / "rows.csv", newline.join(["größe,b", "1.5,é", "2.5,ü", ""]), encoding)
    frame = read_frame(path)
    assert frame.columns.tolist() == ["größe", "b"]
    assert cells(frame) == [[1.5, "é"], [2.5, "ü"]]


def test_decimal_commas_are_read_and_noted(tmp_path):
    frame = read(tmp_path, "a;b;n;kind\n1.234,5;0,25;1.000;x\n-2,25;3;2.500;y\n")
    assert cells(frame) == [[1234.5, 0.25, 1000, "x"], [-2.25, 3.0, 2500, "y"]]
    assert frame.attrs["notes"] == ("numbers with a decimal comma were read in: 'a', 'b', 'n'",)
    quoted = read(tmp_path, 'a,b\n"1,5",2\n"2,25",3\n')
    assert quoted["a"].tolist() == [1.5, 2.25]
    thousands = read(tmp_path, 'a,b\n"1,500",2\n"2,250,000.5",3\n"3",4')
    assert thousands["a"].tolist() == [1500.0, 2250000.5, 3.0]
    assert read(tmp_path, "a,b\n1.5,2\n2.5,3\n").attrs["notes"] == ()


@pytest.mark.parametrize("text", ["468,38\n525,73\n564,80\n", "x\n1,5\n2,7\n3,25\n"])
def test_one_column_with_decimal_commas_never_becomes_two(tmp_path, text):
    with pytest.raises(UsageError, match="may separate two columns or be decimal marks; write decimals with points"):
        read(tmp_path, text)
    semicolons = read(tmp_path, text.replace(",", ";"))
    assert semicolons.shape[1] + (not isinstance(semicolons.index, pd.RangeIndex)) == 2
    assert read(tmp_path, text, "rows.tsv").iloc[0, 0] in (468.38, 1.5)


def test_one_column_is_a_table(tmp_path):
    assert cells(read(tmp_path, "x\n1\n2\n")) == [[1], [2]]
    assert cells(read(tmp_path, "1.5\n2.5\n")) == [[1.5], [2.5]]
    assert cells(read(tmp_path, 'x\n1\n""\n2\n')) == [[1.0], [None], [2.0]]


@pytest.mark.parametrize("delimiter", [",", " ", "\t"])
def test_row_names_as_r_writes_them(tmp_path, delimiter):
    lines = [['"a"', '"b"'], ['"Merc 230"', "1.5", '"x"'], ['"Fiat 128"', "2.5", "NA"]]
    frame = read(tmp_path, "\n".join(delimiter.join(line) for line in lines), "rows.txt")
    assert frame.index.tolist() == ["Merc 230", "Fiat 128"]
    assert cells(frame) == [[1.5, "x"], [2.5, None]]


@pytest.mark.parametrize("first", ["", "Unnamed: 0"])
def test_an_unnamed_first_column_names_the_rows_if_it_can(tmp_path, first):
    frame = read(tmp_path, f"{first},a,b\n7,1,2\n9,3,4\n")
    assert frame.index.tolist() == ["7", "9"]
    assert frame.columns.tolist() == ["a", "b"]
    repeated = read(tmp_path, f"{first},a,b\n7,1,2\n7,3,4\n")
    assert repeated.columns.tolist() == ["1", "a", "b"]
    assert isinstance(repeated.index, pd.RangeIndex)


def test_a_file_that_pandas_wrote_comes_back(tmp_path):
    table = pd.DataFrame({"a": [1.5, np.nan], "b": ["x, y", 'a "q"\nz']})
    table.to_csv(tmp_path / "rows.csv")
    frame = read_frame(tmp_path / "rows.csv")
    assert cells(frame) == cells(table)
    assert frame.index.tolist() == ["0", "1"]
    table.columns = [0, 1]
    table.to_csv(tmp_path / "rows.csv")
    assert read_frame(tmp_path / "rows.csv").columns.tolist() == ["0", "1"]


HEADERS = [
    ("1990,2000,2010\n5.5,6,7\n4,3,9\n", True),
    (",1990,2000\n0,5.5,2\n1,3,4\n", True),
    ("country,1990,2000\nDE,5.5,2\nFR,3,4\n", True),
    ("400.5,402.5,405.0\n0.123,0.11,0.245\n0.223,0.11,0.345\n", True),
    ("400,401,402\n0.3,0.1,0.2\n0.2,0.1,0.3\n", True),
    ("5,3,1\n4,2,7\n3,2,8\n", False),
    ("1.5,2.5,3.5\n0.5,4.5,2.5\n6.5,1.5,2.5\n", False),
    ("2001,2005,2009\n1999,2003,2004\n2002,2001,2005\n", False),
    ("0.5,1,red\n1,2,blue\n", False),
    ("NA,1.5\n2,3.5\n", False),
]


@pytest.mark.parametrize(("text", "is_header"), HEADERS)
def test_a_first_row_of_numbers_may_be_a_header(tmp_path, text, is_header):
    frame = read(tmp_path, text)
    assert len(frame) == text.count("\n") - is_header
    assert (frame.columns.tolist()[-1] == text.split("\n")[0].split(",")[-1]) == is_header


def test_expected_names_make_a_header(tmp_path):
    text = "5,7,kind\n0.5,0.25,a\n"
    assert read(tmp_path, text, names=("kind",)).columns.tolist() == ["5", "7", "kind"]
    assert read(tmp_path, text).columns.tolist() == ["1", "2", "3"]


def test_comments_and_blank_lines_are_skipped(tmp_path):
    text = "# made by hand, in 2024\n\n# again\na,b\n1,#2\n# a comment, with, commas\n\n#3,4\n"
    assert cells(read(tmp_path, text)) == [["1", "#2"], ["#3", "4"]]
    assert cells(read(tmp_path, "sep=;\na;b\n1;2\n")) == [[1, 2]]


def test_all_problems_are_reported_at_once(tmp_path):
    text = "a,b,a\n1,2,3\n4,5\ninf,6,7\n1,2,3,4\n8,1e999,9\n1,é,\n"
    path = write(tmp_path / "rows.csv", text, "latin-1")
    with pytest.raises(UsageError) as caught:
        read_frame(path)
    message = str(caught.value)
    assert "2 columns are called 'a'" in message
    assert "line 3 has 2 cells and the first has 3" in message
    assert "line 5 has 4 cells" in message
    assert "line 7 is not UTF-8 ('é' in Windows' Latin-1)" in message
    assert "line 4, column 'a' is inf" in message
    assert "\n" not in message


def test_five_problems_are_listed_and_the_others_counted(tmp_path, monkeypatch):
    path = write(tmp_path / "rows.csv", "a,b\n" + "1,2\n" * 4 + "".join(f"{i}\n" for i in range(8)))
    for size in (1, 10**6):
        monkeypatch.setattr("deepmix.data.table_file.BLOCK_VALUES", size)
        with pytest.raises(UsageError) as caught:
            read_frame(path)
        assert str(caught.value).count(" cell and the first") == 5
        assert "; and 3 more; give every line the same number" in str(caught.value)
        with ExitStack() as stack, pytest.raises(UsageError, match="and 3 more"):
            list(open_frames(stack, path))


def test_an_infinite_value_is_an_error_and_text_is_not(tmp_path):
    with pytest.raises(UsageError, match="line 3, column 'b' is 1e999, which is infinite"):
        read(tmp_path, "a,b\n1,2\n3,1e999\n")
    assert cells(read(tmp_path, "a,b\n1,x\n3,inf\n")) == [[1, "x"], [3, "inf"]]


def test_a_quote_that_does_not_end_is_one_sentence(tmp_path):
    with pytest.raises(UsageError, match="the quoted cell that begins on line 3 does not end"):
        read(tmp_path, 'a,b\n1,2\n"' + "3,4\n" * 50000)


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
@pytest.mark.parametrize("block_values", [1, 100, 10**7])
def test_blocks_of_any_size_give_the_same_frame(tmp_path, monkeypatch, name, block_values):
    table = pd.DataFrame(
        {
            "n": range(60),
            "x": [None if i == 41 else i / 4 for i in range(60)],
            "late": [str(i) if i < 50 else "x" for i in range(60)],
            "yes": [[True, False][i % 2] if i != 50 else None for i in range(60)],
            "code": [f"0{i}" if i < 55 else "a" for i in range(60)],
        },
        index=[f"r{i}" for i in range(60)],
    )
    path = tmp_path / name
    table.to_csv(path) if name.endswith("csv") else table.to_parquet(path)
    monkeypatch.setattr("deepmix.data.table_file.BLOCK_VALUES", block_values)
    frame = read_frame(path)
    assert kinds(frame) == "ifOOO"
    assert frame.index.tolist() == table.index.tolist()
    expected = table.assign(yes=[None if value is None else str(value) for value in table["yes"].tolist()])
    assert cells(frame) == cells(expected)
    with ExitStack() as stack:
        blocks = list(open_frames(stack, path, text_columns=("late", "code", "yes")))
    assert cells(pd.concat(blocks)) == cells(expected)
    assert pd.concat(blocks).index.tolist() == table.index.tolist()
    assert len(blocks) == (1 if block_values == 10**7 else len(blocks))


def test_rows_without_names_are_numbered_through_all_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("deepmix.data.table_file.BLOCK_VALUES", 1)
    with ExitStack() as stack:
        blocks = list(open_frames(stack, write(tmp_path / "rows.csv", "a,b\n1,2\n3,4\n")))
    assert [block.index[0] for block in blocks] == [0, 1]


def test_a_table_without_rows_has_columns(tmp_path):
    with ExitStack() as stack:
        (block,) = open_frames(stack, write(tmp_path / "rows.csv", "a,b\n"))
    assert block.columns.tolist() == ["a", "b"]
    assert len(block) == 0
    with pytest.raises(UsageError, match=r"'rows.csv' is empty"):
        read(tmp_path, "\n# nothing\n\n")


def test_text_is_read_in_place_of_a_file():
    with ExitStack() as stack:
        frames = list(open_frames(stack, Path("standard input"), text=io.StringIO("a,b\n1,x\n")))
    assert cells(frames[0]) == [[1, "x"]]


def parquet(tmp_path: Path, table: pd.DataFrame) -> pd.DataFrame:
    pytest.importorskip("pyarrow", reason="the parquet extra (pyarrow) is not installed")
    table.to_parquet(tmp_path / "rows.parquet")
    return read_frame(tmp_path / "rows.parquet")


def test_parquet_types(tmp_path):
    frame = parquet(
        tmp_path,
        pd.DataFrame(
            {
                "small": np.array([1, 2], np.uint8),
                "masked": pd.array([1, None], dtype="Int64"),
                "truth": pd.array([True, None], dtype="boolean"),
                "text": [" a ", "NA"],
                "level": pd.Categorical(["p", None]),
                "number_level": pd.Categorical([3, 4]),
                "day": pd.to_datetime(["2024-01-02", None]),
                "zone": pd.to_datetime(["2024-01-02T03:00+01:00", "2024-01-02T00:00+00:00"], utc=True),
                "lists": [[1.5, 2.5], None],
            }
        ),
    )
    assert kinds(frame) == "ifOOOiMMff"
    assert frame.columns.tolist()[-2:] == ["lists_1", "lists_2"]
    day, night = pd.Timestamp("2024-01-02"), pd.Timestamp("2024-01-02T02:00")
    assert cells(frame) == [
        [1, 1.0, "True", "a", "p", 3, day, night, 1.5, 2.5],
        [2, None, None, None, None, 4, None, day, None, None],
    ]


def test_parquet_problems(tmp_path):
    with pytest.raises(
        UsageError, match=r"column 'a' holds lists of 1 to 2 values; column 'b' holds cells of type dict"
    ):
        parquet(tmp_path, pd.DataFrame({"a": [[1], [2, 3]], "b": [{"x": 1}, {"x": 2}]}))
    with pytest.raises(UsageError, match="row 2, column 'a' is infinite"):
        parquet(tmp_path, pd.DataFrame({"a": [1.0, np.inf]}))
    with pytest.raises(UsageError, match="2 columns are called 'a_1'"):
        parquet(tmp_path, pd.DataFrame({"a_1": [1, 2], "a": [[1], [2]]}))


def test_a_saved_index_names_the_rows(tmp_path):
    table = pd.DataFrame({"a": [1.0, 2.0, 3.0]}, index=["x", "y", "z"])
    assert parquet(tmp_path, table).index.tolist() == ["x", "y", "z"]
    assert parquet(tmp_path, table.reset_index(drop=True).iloc[[0, 2]]).index.tolist() == [0, 2]
    assert isinstance(parquet(tmp_path, table.reset_index(drop=True)).index, pd.RangeIndex)


def test_excel(tmp_path):
    openpyxl = pytest.importorskip("openpyxl", reason="the excel extra (openpyxl) is not installed")
    book = openpyxl.Workbook()
    for row in (
        ["n", "x", "kind", "day"],
        [1, 2.5, "a", pd.Timestamp("2024-01-02").to_pydatetime()],
        [2, None, "NA", None],
    ):
        book.active.append(row)
    book.create_sheet("notes")
    book.save(tmp_path / "ROWS.XLSX")
    frame = read_frame(tmp_path / "ROWS.XLSX")
    assert kinds(frame) == "ifOM"
    assert cells(frame) == [[1, 2.5, "a", pd.Timestamp("2024-01-02")], [2, None, None, None]]
    assert frame.attrs["notes"] == ("of the 2 sheets, the first was read: 'Sheet'",)
    (tmp_path / "broken.xlsx").write_bytes((tmp_path / "ROWS.XLSX").read_bytes()[:300])
    with pytest.raises(DeepmixError, match="can't be read"):
        read_frame(tmp_path / "broken.xlsx")


def test_excel_without_openpyxl_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    with pytest.raises(DeepmixError, match=r"pip install 'deepmix\[excel\]'"):
        read(tmp_path, "", "rows.xlsx")


def test_numbers_with_the_sign_of_a_unit_are_numbers(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        "rate,price,euro,loss,two\n"
        '12 %,$1.50,"1.234,5 €",-$3,5 %\n4.5%,"$1,200.25","7 €",$2,5 €\n,$3,"-2,25 €","",6 €\n'
    )
    frame = read_frame(path)
    np.testing.assert_array_equal(frame["rate"], [12.0, 4.5, np.nan])
    np.testing.assert_array_equal(frame["price"], [1.5, 1200.25, 3.0])
    np.testing.assert_array_equal(frame["euro"], [1234.5, 7.0, -2.25])
    np.testing.assert_array_equal(frame["loss"], [-3.0, 2.0, np.nan])
    assert frame["two"].tolist() == ["5 %", "5 €", "6 €"]
    assert "numbers with a % sign were read in: 'rate'" in frame.attrs["notes"]
    assert "numbers with a decimal comma and a € sign were read in: 'euro'" in frame.attrs["notes"]


def test_a_title_above_a_sheets_table_is_left_out_and_noted(tmp_path):
    openpyxl = pytest.importorskip("openpyxl", reason="openpyxl is not installed")
    book = openpyxl.Workbook()
    for row in (["Report 2024"], [], ["h", "v"], [1.5, 2], [2.5, None], [3.5, "inf"]):
        book.active.append(row)
    book.active.merge_cells("A1:B1")
    book.save(tmp_path / "t.xlsx")
    with pytest.raises(UsageError, match=r"row 6, column 'v' is infinite"):
        read_frame(tmp_path / "t.xlsx")
    book.active["B6"] = 4
    book.save(tmp_path / "t.xlsx")
    frame = read_frame(tmp_path / "t.xlsx")
    assert frame["h"].tolist() == [1.5, 2.5, 3.5]
    np.testing.assert_array_equal(frame["v"], [2.0, np.nan, 4.0])
    assert frame.attrs["notes"] == ("the title above the table was left out: 'Report 2024'",)
    book.active.delete_cols(2)
    book.save(tmp_path / "one.xlsx")
    assert read_frame(tmp_path / "one.xlsx").columns.tolist() == ["Report 2024"]


def test_columns_that_are_left_out_may_hold_anything(tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    frame = pd.DataFrame({"h": [1.5, 2.5], "nested": [{"a": 1}, None], "ragged": [[1], [1, 2]], "x": [np.inf, 1.0]})
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(UsageError, match=r"'nested' holds cells of type dict.*or leave it out with drop=nested"):
        read_frame(tmp_path / "t.parquet")
    read = read_frame(tmp_path / "t.parquet", text_columns=("nested", "ragged", "x"))
    assert read["h"].tolist() == [1.5, 2.5]
    assert read["nested"].tolist()[1] is None
    (tmp_path / "t.csv").write_text("h,x\n1.5,inf\n2.5,1\n")
    assert read_frame(tmp_path / "t.csv", text_columns=("x",))["x"].tolist() == ["inf", "1"]
