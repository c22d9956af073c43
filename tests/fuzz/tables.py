"""Fuzzed tables: text, compressed text, Parquet and Excel, and the TOML files about their columns."""

from __future__ import annotations

import gzip
import io
from contextlib import ExitStack
from decimal import Decimal
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from deepmix.data import (
    SplitOptions,
    TableOptions,
    arrange_table,
    infer_schema,
    open_frames,
    read_frame,
    read_table_options,
    schema_toml,
)
from tests.fuzz.arrays import read_array
from tests.fuzz.damage import damage
from tests.fuzz.target import Target, from_pool

CELLS = (
    *(
        "",
        "1",
        "2.5",
        "-3",
        "1e5",
        "1e999",
        "nan",
        "NA",
        "#N/A",
        "inf",
        "-inf",
        "true",
        "FALSE",
        "red",
        "blue",
        "1,5",
        "1.234,5",
    ),
    *(
        "12 %",
        "$ 3",
        "\u20ac5",
        "\u00b2",
        "\u0663",
        "9" * 30,
        "0x1f",
        "1_000",
        "2020-01-01",
        "01/02/2021",
        "2020-13-40",
        "24:61",
    ),
    *(
        "=1+1",
        "@x",
        "\x1b[31mred",
        "<script>",
        "'",
        '"',
        '""',
        '"a,b"',
        "\ufeff",
        "\u202e",
        "\x00",
        "\ud7ff",
        "a\nb",
        " ",
        "#",
    ),
)
"""Cells of text tables, odd ones among them."""


TOKENS = (
    *tuple(cell.encode() for cell in CELLS),
    b"\n",
    b"\r\n",
    b"\r",
    b",",
    b";",
    b"\t",
    b"|",
    b"sep=;\n",
    b"\xff\xfe",
    b"\xff",
    b"\xe2(",
)


@from_pool
def _whole_text(random: Random) -> bytes:
    """Return a table of text, written in one of many ways."""
    delimiter = random.choice((",", ",", ";", "\t", "|", " "))
    odd = random.choice((0, 0, 0, 2))
    columns = [
        random.choice((CELLS[:6], ("1", "2", "3"), ("a", "b"), ("0.5", "1.5", ""), ("2020-01-01", "2020-01-02")))
        for _ in range(3)
    ]
    rows = [
        [random.choice(CELLS) if odd and random.randrange(6) < odd else random.choice(cells) for cells in columns]
        for _ in range(random.choice((0, 1, 2, 8, 8, 8)))
    ]
    header = random.choice(
        (
            ["a", "b", "y"],
            ["", "a", "y"],
            ["1", "2", "3"],
            ["a", "a", "y"],
            [random.choice(CELLS) for _ in range(3)],
            [],
        )
    )
    lines = [delimiter.join(row) for row in [header, *rows] if row]
    content = random.choice(("\n", "\n", "\r\n", "\r")).join(lines).encode("utf-8", "surrogatepass")
    if random.randrange(20) == 0:
        content = content.decode("utf-8", "replace").encode(
            random.choice(("utf-16", "latin-1", "utf-8-sig")), "replace"
        )
    return content


def _text(random: Random) -> bytes:
    """Return a table of text, damaged in most cases."""
    return _whole_text(random) if random.randrange(5) == 0 else damage(_whole_text(random), random, TOKENS)


def _gzip(random: Random) -> bytes:
    content = gzip.compress(_text(random), 1)
    return content if random.randrange(2) else damage(content, random)


@cache
def _parquet_columns() -> dict[str, Any]:
    """Return columns of eight rows of every type that pyarrow writes."""
    import pyarrow as pa

    return {
        "int": pa.array(range(8)), "float": pa.array([0.5, None, 1.5, np.nan, 2.0, 1e308, -1.0, 0.0]),
        "text": pa.array(list("abababab")), "large": pa.array(list("abababab"), pa.large_string()),
        "bytes": pa.array([b"\xff", b"", b"a", None] * 2), "truth": pa.array([True, False, None, True] * 2),
        "date": pa.array([0, 1, 2, None] * 2, pa.date32()),
        "stamp": pa.array([0, 1, 2**62, None] * 2, pa.timestamp("ns")),
        "zone": pa.array([0, 1, 2, None] * 2, pa.timestamp("us", "Europe/Rome")),
        "time": pa.array([0, 1, 2, 3] * 2, pa.time32("s")),
        "span": pa.array([0, 1, 2, None] * 2, pa.duration("us")), "half": pa.array(np.arange(8, dtype=np.float16)),
        "decimal": pa.array([Decimal("1.5"), None] * 4, pa.decimal128(30, 2)), "null": pa.nulls(8),
        "lists": pa.array([[1.0, 2.0]] * 8), "ragged": pa.array([[1], [], None, [1, 2]] * 2),
        "nested": pa.array([[[1]], [[2]]] * 4),
        "struct": pa.array([{"a": 1}, None] * 4), "map": pa.array([[("k", 1)]] * 8, pa.map_(pa.string(), pa.int64())),
        "levels": pa.array(list("abababab")).dictionary_encode(), "unsigned": pa.array([2**64 - 1] * 8, pa.uint64()),
    }  # fmt: skip


PARQUET_TOKENS = (
    b'"floAt64"',
    b'"float64"',
    b'"int64"',
    b'"unicode"',
    b'"numpy_type"',
    b'"index_columns"',
    b'"range"',
    b"PAR1",
    b"ARROW:schema",
    b"pandas",
)


@from_pool
def _whole_parquet(random: Random) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    types = _parquet_columns()
    names = random.sample(sorted(types), random.randint(1, 3))
    titles = [random.choice((name, name, "y", "a\x1b[31m", "", "1")) for name in names]
    table = pa.table([types[name] for name in names], names=titles)
    if random.randrange(2):
        frame = {title: np.arange(8.0) for title in ("a", "b", "y")}
        table = pa.Table.from_pandas(_frame(frame, random))
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression=random.choice(("NONE", "snappy")))
    return buffer.getvalue()


def _parquet(random: Random) -> bytes:
    content = _whole_parquet(random)
    return content if random.randrange(4) == 0 else damage(content, random, PARQUET_TOKENS)


def _frame(columns: dict[str, Any], random: Random) -> Any:
    import pandas as pd

    index = random.choice(
        (None, pd.RangeIndex(5, 21, 2), pd.Index(list("abcdefgh")), pd.MultiIndex.from_product([[0, 1], list("abcd")]))
    )
    return pd.DataFrame(columns, index=index)


@from_pool
def _whole_excel(random: Random) -> bytes:
    import datetime

    import openpyxl

    workbook = openpyxl.Workbook()
    sheet = workbook.active
    assert sheet is not None
    cells = (
        "a",
        1,
        2.5,
        None,
        True,
        "=1+1",
        "1,5",
        datetime.datetime(2020, 1, 1),
        datetime.time(1),
        datetime.timedelta(1),
        "\u00b2",
        1e308,
    )
    for _ in range(random.choice((0, 1, 5))):
        sheet.append([random.choice(cells) for _ in range(random.choice((0, 1, 3, 3, 3)))])
    buffer = io.BytesIO()
    workbook.save(buffer)
    return buffer.getvalue()


def _excel(random: Random) -> bytes:
    return _whole_excel(random) if random.randrange(2) else damage(_whole_excel(random), random)


def _read_table(path: Path, random: Random) -> None:
    """Read a table as `train` does, with a schema, or as `predict` does, in blocks."""
    label = random.choice((None, None, "y", "1", "\u00b2", "9" * 30))
    names = () if label is None else (label,)
    if random.randrange(3) == 0:
        with ExitStack() as stack:
            for frame in open_frames(stack, path, names=names, text_columns=random.choice(((), ("y",)))):
                len(frame)
        return
    frame = read_frame(path, names=names)
    arrange_table(frame, SplitOptions(), TableOptions(), label_column=label, name="'rows'")


def _toml(random: Random) -> bytes:
    tokens = (
        b"[columns]",
        b"drop",
        b"kind",
        b'"count"',
        b"levels",
        b"=",
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b"1e999",
        b"nan",
        b"\xff",
        b"[[columns]]",
        b"a.b.c",
    )
    return damage(_schema(), random, tokens)


@cache
def _schema() -> bytes:
    import pandas as pd

    frame = pd.DataFrame({"a": np.arange(40.0) / 3, "b": ["x", "y"] * 20, "n": np.arange(40) % 7, "only": [1] * 40})
    text = schema_toml(infer_schema(frame, np.arange(40), TableOptions()))
    return ('drop = ["c"]\nid_column = "d"\nmissing = ["?"]\n' + text).encode()


def _read_toml(path: Path, random: Random) -> None:
    read_table_options(path)


TARGETS = (
    Target("csv", _text, read_array, "rows.csv", 24),
    Target("csv-gz", _gzip, read_array, "rows.csv.gz", 12),
    Target("csv-table", _text, _read_table, "rows.csv", 8),
    Target("parquet", _parquet, _read_table, "rows.parquet", 3),
    Target("excel", _excel, _read_table, "rows.xlsx", 2),
    Target("columns-toml", _toml, _read_toml, "columns.toml", 120),
)
