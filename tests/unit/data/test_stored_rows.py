from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

from deepmix.data import (
    BlockShare,
    NearestRows,
    Readers,
    Rows,
    SplitOptions,
    StoredRows,
    batches,
    fingerprint,
    load_file,
    neighbours,
    stored_rows,
)
from deepmix.errors import DeepmixError
from deepmix.training import Ranks


@pytest.fixture
def small_reads(monkeypatch):
    """Let a few rows be many reads, blocks and buffers."""
    monkeypatch.setattr(stored_rows, "READ_BYTES", 200)
    monkeypatch.setattr(stored_rows, "GAP_BYTES", 60)
    monkeypatch.setattr(batches, "BLOCK_BYTES", 160)
    monkeypatch.setattr(batches, "BUFFER_BYTES", 800)
    monkeypatch.setattr(batches, "LEAST_ROW_BYTES", 1)


def saved(folder, x, form):
    if form == "npy":
        np.save(folder / "rows.npy", x)
        return folder / "rows.npy"
    np.savez(folder / "rows.npz", y=np.arange(len(x)) % 3, x=x)
    return folder / "rows.npz"


@pytest.mark.parametrize("form", ["npy", "npz"])
@pytest.mark.parametrize("kind", ["float64", "float32", "uint8", "unit"])
@pytest.mark.usefixtures("small_reads")
def test_stored_rows_are_those_in_memory(tmp_path, form, kind):
    random = np.random.default_rng(0)
    x = random.normal(5.0, 3.0, size=(103, 2, 4))
    x = random.random(x.shape) if kind == "unit" else np.clip(9 * x, 0, 255).astype("u1") if kind == "uint8" else x
    path = saved(tmp_path, x.astype(kind) if kind.startswith("float") else x, form)
    stored, held = (load_file(path, None, SplitOptions(storage=storage)) for storage in ("disk", "memory"))
    assert stored.is_stored
    assert not held.is_stored
    for name in ("likelihood", "preprocessing", "image_shape"):
        assert getattr(stored, name) == getattr(held, name)
    np.testing.assert_array_equal(stored.train, held.train)
    for numbers in (slice(None), slice(3, 9), slice(9, 9), stored.train, random.integers(103, size=30), np.arange(0)):
        rows = stored.x[numbers]
        assert rows.dtype == np.float32
        np.testing.assert_allclose(rows, held.x[numbers], atol=1e-6)


def test_a_column_of_labels_is_left_out(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 5))
    x[:, 1] = np.arange(40) % 4
    np.save(tmp_path / "rows.npy", x)
    split = load_file(tmp_path / "rows.npy", "2", SplitOptions(storage="disk", scale="none"))
    assert split.labels.tolist() == (np.arange(40) % 4).tolist()
    np.testing.assert_array_equal(split.x[5:9], x[5:9][:, [0, 2, 3, 4]].astype(np.float32))


@pytest.mark.usefixtures("small_reads")
def test_an_epoch_from_disk_gives_every_row_once(tmp_path):
    """Batches are whole but for the last, hold their own rows, come from far apart, and in another order next time."""
    x = np.arange(250 * 4, dtype=np.float32).reshape(250, 4)
    np.save(tmp_path / "rows.npy", x)
    split = load_file(tmp_path / "rows.npy", None, SplitOptions(storage="disk", scale="none"))
    rows = Rows(split.rows, split.train, torch.device("cpu"))

    def epoch(seed):
        generator = torch.Generator().manual_seed(seed)
        parts = []
        for row_N in rows.epoch_batches(16, generator):
            torch.rand(seed, generator=generator)  # what a model draws between batches does not change the order
            np.testing.assert_array_equal(rows.batch(row_N).x_ND, x[split.train[row_N]])
            parts.append(row_N)
        return parts

    first = epoch(1)
    n_rows = len(split.train)
    assert sorted(torch.cat(first).tolist()) == list(range(n_rows))
    assert [len(part) for part in first] == [16] * (n_rows // 16) + [n_rows % 16]
    assert np.mean([part.float().std() for part in first[:-1]]) > 0.5 * n_rows / np.sqrt(12)
    assert torch.equal(torch.cat(first), torch.cat(epoch(1)))
    assert not torch.equal(torch.cat(first), torch.cat(epoch(2)))
    outside = torch.tensor([3, 200, 77])  # rows that are asked for outside the order, such as neighbours
    np.testing.assert_array_equal(rows.batch(outside).x_ND, x[split.train[outside]])


@pytest.mark.usefixtures("small_reads")
def test_each_process_reads_its_range_of_an_epoch(tmp_path, monkeypatch):
    """The batches are those of one process; a share of each is read from a part of the file that overlaps little."""
    np.save(tmp_path / "rows.npy", np.arange(4000, dtype=np.float32).reshape(1000, 4))
    split = load_file(tmp_path / "rows.npy", None, SplitOptions(storage="disk", scale="none", test_fraction=0.001))
    monkeypatch.setattr(batches, "BLOCK_BYTES", 64)
    monkeypatch.setattr(batches, "BUFFER_BYTES", 8192)
    read: list[np.ndarray] = []

    def epoch(own):
        read.clear()
        rows = Rows(split.rows, split.train, torch.device("cpu"))
        read_rows = rows._read
        monkeypatch.setattr(rows, "_read", lambda numbers: read.append(numbers) or read_rows(numbers))
        whole = []
        for row_N in rows.epoch_batches(128, torch.Generator().manual_seed(0), own):
            chosen = row_N[own(len(row_N))]
            np.testing.assert_array_equal(rows.batch(chosen).x_ND[:, 0], 4 * split.train[chosen])
            whole.append(row_N)
        return torch.cat(whole), list(read)

    alone, all_read = epoch(slice)
    assert len(all_read) > 1
    assert sorted(np.concatenate(all_read).tolist()) == split.train[:].tolist()
    halves = [epoch(lambda n, half=half: Ranks(half, 2).share(n).rows) for half in (0, 1)]
    for order, _ in halves:
        assert torch.equal(order, alone)
    for whole, lower, upper in zip(all_read, halves[0][1], halves[1][1], strict=True):
        assert sorted([*lower, *upper]) == whole.tolist()
        assert max(lower) < np.quantile(whole, 0.7)
        assert min(upper) > np.quantile(whole, 0.3)


@pytest.mark.usefixtures("small_reads")
@pytest.mark.parametrize("name", ["rows.npy", "rows.npz"])
def test_processes_that_share_the_statistics_get_the_bits_of_one(tmp_path, name, monkeypatch):
    x = 9.0 + 5.0 * np.random.default_rng(0).normal(size=(97, 5)).astype(np.float32)
    np.save(tmp_path / "rows.npy", x)
    sparse.save_npz(tmp_path / "rows.npz", sparse.csr_matrix(x), compressed=False)
    options = SplitOptions(storage="disk")
    alone = load_file(tmp_path / name, None, options)
    barrier, sent, n_read = threading.Barrier(3), {}, Counter()
    part = StoredRows._part

    def counted(self, first, end, wanted):
        n_read[threading.current_thread().name] += end - first
        return part(self, first, end, wanted)

    def each(number):
        def exchange(array):
            sent[number] = array
            barrier.wait(60)
            arrays = [sent[one] for one in range(3)]
            barrier.wait(60)
            return arrays

        return exchange

    monkeypatch.setattr(StoredRows, "_part", counted)
    with ThreadPoolExecutor(3, thread_name_prefix="reader") as pool:
        readers = [Readers(BlockShare(number, 3), each(number)) for number in range(3)]
        splits = list(pool.map(lambda one: load_file(tmp_path / name, None, options, one), readers))
    for split in splits:
        assert fingerprint(split) == fingerprint(alone)
        np.testing.assert_array_equal(split.preparation.spread, alone.preparation.spread)
        assert split.likelihood == alone.likelihood
    assert max(n_read[f"reader_{number}"] for number in range(3)) < len(x)  # one process reads all rows twice


def test_a_file_that_changes_is_named(tmp_path):
    path = saved(tmp_path, np.random.default_rng(0).normal(size=(50, 3)), "npy")
    split = load_file(path, None, SplitOptions(storage="disk"))
    with path.open("r+b") as file:
        file.truncate(600)
    with pytest.raises(DeepmixError, match=r"rows.npy' has changed while it was in use"):
        split.x[40:]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.usefixtures("small_reads")
def test_sparse_rows_stay_sparse(tmp_path, compressed):
    x = sparse.random(120, 30, density=0.1, random_state=0, format="csr")
    sparse.save_npz(tmp_path / "rows.npz", x, compressed=compressed)
    stored, held = (
        load_file(tmp_path / "rows.npz", None, SplitOptions(storage=storage, scale="standard"))
        for storage in ("disk", "memory")
    )
    assert stored.is_stored
    assert stored.preprocessing == held.preprocessing
    for numbers in (slice(0, 120), stored.train, np.array([7, 3, 3, 110])):
        rows = stored.x[numbers]
        assert sparse.issparse(rows)
        np.testing.assert_allclose(rows.toarray(), held.x[numbers].toarray(), rtol=1e-6)
    changed = x.copy()
    changed.data[50] += 1.0
    sparse.save_npz(tmp_path / "other.npz", changed, compressed=compressed)
    other = load_file(tmp_path / "other.npz", None, SplitOptions(storage="disk", scale="standard"))
    assert fingerprint(stored) != fingerprint(other)
    tensors = Rows(stored.rows, stored.train, torch.device("cpu"))
    batch = next(tensors.epoch_batches(8, torch.Generator().manual_seed(0)))
    np.testing.assert_allclose(tensors.batch(batch).x_ND, held.x[stored.train[batch]].toarray(), rtol=1e-6)


def test_sparse_neighbours_are_nearly_those_of_an_exact_search(monkeypatch):
    """Few directions hold all that these rows differ in, so that only the search is approximate."""
    random = np.random.default_rng(0)
    x = sparse.csr_matrix(random.normal(size=(400, 4)) @ random.normal(size=(4, 40)))
    monkeypatch.setattr(neighbours, "LEADING_DIRECTIONS", 4)
    found = neighbours.nearest_sparse(x, 5)
    exact = NearestNeighbors(n_neighbors=5).fit(x.toarray()).kneighbors(return_distance=False)
    assert found.shape == (400, 5)
    assert not (found == np.arange(400)[:, None]).any()
    assert np.mean([len(set(a) & set(b)) / 5 for a, b in zip(found, exact, strict=True)]) > 0.8


def test_a_row_is_never_its_own_neighbour_even_among_copies():
    x = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    found = NearestRows(x, 3, seed=0).of_own()
    np.testing.assert_array_equal(np.sort(found // 4, axis=1), np.arange(12)[:, None] // 4 * np.ones((1, 3), int))
    assert not (found == np.arange(12)[:, None]).any()
