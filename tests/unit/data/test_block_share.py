"""Shares of a file's blocks: together they are the blocks that one process reads, each once."""

from __future__ import annotations

import itertools
import operator
from contextlib import ExitStack

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from deepmix.data import BlockShare, first_row, open_blocks, open_frames, table_file


@pytest.mark.parametrize(("n_blocks", "size"), [(0, 2), (1, 3), (7, 3), (9, 3)])
def test_shares_hold_every_block_once(n_blocks, size):
    shares = [BlockShare(number, size) for number in range(size)]
    assert [block for share in shares for block in share.consecutive(n_blocks)] == list(range(n_blocks))
    assert sorted(block for share in shares for block in range(n_blocks) if share.has(block)) == list(range(n_blocks))


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The same 95 rows in every form, 10 to a block; two rows in the first block of the text file have one name."""
    monkeypatch.setattr(table_file, "BLOCK_VALUES", 30)
    x_ND = np.random.default_rng(0).normal(size=(95, 3)).round(3)
    frame = pd.DataFrame(x_ND, columns=list("abc"))
    np.save(tmp_path / "rows.npy", x_ND)
    np.savez_compressed(tmp_path / "dense.npz", x=x_ND)
    for name, compressed in (("plain", False), ("packed", True)):
        sparse.save_npz(tmp_path / f"{name}.npz", sparse.csr_matrix(x_ND), compressed=compressed)
    monkeypatch.setattr("deepmix.data.text_table.TEXT_SHARE", 1)
    names = ["row 1", *(f"row {row}" for row in range(1, 95))]
    frame.set_axis(names).to_csv(tmp_path / "named.csv")
    frame.to_parquet(tmp_path / "rows.parquet", row_group_size=27)
    frame.set_axis([f"row {row}" for row in range(95)]).to_parquet(tmp_path / "named.parquet")
    (tmp_path / "folder").mkdir()
    frame[:43].to_parquet(tmp_path / "folder" / "1.parquet", row_group_size=12)
    frame[:0].to_parquet(tmp_path / "folder" / "2.parquet")
    frame[43:].to_parquet(tmp_path / "folder" / "3.parquet")
    return tmp_path


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("name", ["rows.npy", "dense.npz", "plain.npz", "packed.npz", "rows.parquet"])
def test_blocks_of_arrays_are_shared(files, name, size):
    def read(share):
        with ExitStack() as stack:
            blocks = open_blocks(stack, files / name, 3, share=share).numbered
            return [(start, x.toarray() if sparse.issparse(x) else x) for start, x in blocks]

    whole = read(BlockShare())
    parts = [read(BlockShare(number, size)) for number in range(size)]
    assert [start for start, _ in whole] == list(range(0, 95, 10))
    assert all(len(part) >= 3 for part in parts)
    shared = sorted(itertools.chain.from_iterable(parts), key=operator.itemgetter(0))
    for (start, x), (other, y) in zip(whole, shared, strict=True):
        assert start == other
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("name", ["named.csv", "named.parquet", "folder"])
def test_blocks_of_tables_are_shared(files, name, size):
    """Whether rows have names is decided by the first block, whoever reads it."""

    def read(share):
        with ExitStack() as stack:
            return list(open_frames(stack, files / name, share=share))

    whole = read(BlockShare())
    parts = [read(BlockShare(number, size)) for number in range(size)]
    assert len(whole) == (11 if name == "folder" else 14)
    assert whole[0].index[0] == ("row 0" if name == "named.parquet" else 0)
    assert all(len(part) >= 2 for part in parts)
    for one, other in zip(whole, sorted(itertools.chain.from_iterable(parts), key=first_row), strict=True):
        assert first_row(one) == first_row(other)
        pd.testing.assert_frame_equal(one, other)


def test_a_process_without_blocks_reads_none(files):
    (files / "tiny.csv").write_text("a,b,c\n1,2,3\n")
    for share, n_blocks in ((BlockShare(0, 2), 1), (BlockShare(1, 2), 0)):
        with ExitStack() as stack:
            assert len(list(open_blocks(stack, files / "tiny.csv", 3, share=share).numbered)) == n_blocks
    frame = pd.DataFrame({"a": [], "b": []}, dtype=float)
    frame.to_parquet(files / "empty.parquet")
    for share, n_blocks in ((BlockShare(0, 2), 1), (BlockShare(1, 2), 0)):
        with ExitStack() as stack:
            assert len(list(open_frames(stack, files / "empty.parquet", share=share))) == n_blocks
