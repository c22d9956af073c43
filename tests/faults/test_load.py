"""One loaded model for many threads; fits in threads, after a fork and in worker processes give the serial answers."""

from __future__ import annotations

import gc
import os
import random
import select
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed

from deepmix import DeepMixture, load
from deepmix.maths import Array

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N_THREADS = 8


@pytest.fixture(scope="module")
def rows() -> Array:
    generator = np.random.default_rng(0)
    return (np.eye(3, 6)[np.arange(90) % 3] * 9.0 + generator.normal(size=(90, 6))).astype(np.float32)


def fit(rows: Array, seed: int = 0) -> DeepMixture:
    options = {"encoder.hidden": "8"}
    return DeepMixture(3, epochs=2, pretrain_epochs=1, init="kmeans", settings=options, random_state=seed).fit(rows)


def fitted_bits(rows: Array) -> bytes:
    """Return the bits of the answers of a model that is fitted to the rows."""
    return bytes(fit(rows).predict_proba(rows).tobytes())


@pytest.fixture(scope="module")
def serial(rows: Array) -> bytes:
    return fitted_bits(rows)


def test_a_fit_neither_seeds_nor_restores_nor_reads_a_global_generator(rows, monkeypatch):
    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("a global generator was touched")

    for place, names in {
        torch: ("manual_seed", "set_rng_state"),
        torch.random: ("manual_seed", "set_rng_state", "fork_rng"),
        np.random: ("seed", "set_state"),
        random: ("seed", "setstate"),
    }.items():
        for name in names:
            monkeypatch.setattr(place, name, refuse)
    before = torch.get_rng_state(), str(np.random.get_state()), random.getstate()
    fit(rows).predict(rows)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (str(np.random.get_state()), random.getstate())


@pytest.mark.parametrize("how", ["pool", "joblib"])
def test_fits_in_threads_give_the_serial_bits(rows, serial, how):
    if how == "pool":
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: fitted_bits(rows), range(4)))
    else:
        answers = Parallel(n_jobs=4, backend="threading")(delayed(fitted_bits)(rows) for _ in range(4))
    assert answers == [serial] * 4


def test_threads_that_share_a_loaded_model_get_the_serial_answers(rows, tmp_path):
    fit(rows).save(tmp_path / "run")
    model = load(tmp_path / "run", device="cpu")
    pieces = [rows[start : start + 30 + start] for start in range(60)]
    expected = [model.predict_proba(piece) for piece in pieces]
    barrier = threading.Barrier(N_THREADS)

    def answers(_: int) -> list[Array]:
        barrier.wait()
        return [model.predict_proba(piece) for piece in pieces]

    with ThreadPoolExecutor(N_THREADS) as pool:
        for one in pool.map(answers, range(N_THREADS)):
            assert all(np.array_equal(a, b) for a, b in zip(one, expected, strict=True))


def test_worker_processes_give_the_serial_bits(rows, serial):
    assert Parallel(n_jobs=2, backend="loky")(delayed(fitted_bits)(rows) for _ in range(2)) == [serial] * 2


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Let torch compute with two threads, and start them."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.ones(1000, 1000) @ torch.ones(1000, 1000)
    yield
    torch.set_num_threads(before)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_gives_the_serial_bits(rows, serial, two_threads):
    """The parent has fitted and predicted before it forks, and OpenMP's threads do not come along."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, fitted_bits(rows))
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answered = bool(select.select([pipe], [], [], 120.0)[0])
        if not answered:
            os.kill(child, signal.SIGKILL)
        assert answered, "the forked process waits for threads that it does not have"
        assert pipe.read() == serial
    assert os.waitpid(child, 0)[1] == 0


@pytest.fixture
def folder_of_handles() -> Iterator[Path]:
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("this system has no /proc/self/fd")
    yield folder
    gc.collect()


def test_fits_and_predictions_leave_no_file_or_thread_open(rows, folder_of_handles, tmp_path):
    model = fit(rows)
    model.save(tmp_path / "run")
    before = len(list(folder_of_handles.iterdir())), threading.active_count()
    for seed in range(3):
        fit(rows, seed).predict(rows)
        load(tmp_path / "run").predict(rows)
    assert (len(list(folder_of_handles.iterdir())), threading.active_count()) == before
