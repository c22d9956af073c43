"""Time training with one thread beside training with all threads, by the size of an update.

`python benchmarks/update_threads.py` prints a row for each network and batch: weights times rows of an update, seconds
of ten epochs of pretraining and ten of training on 12,000 rows with one thread and with torch's own number of threads,
in turns, and their ratio. `OMP_WAIT_POLICY=PASSIVE` changes what waiting threads cost.
"""

from __future__ import annotations

import os
import statistics
import time
import warnings

import torch
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning

from deepmix import DeepMixture
from deepmix.maths import Array
from deepmix.training import update_threads

NETWORKS = (
    (20, "64-64", 128),
    (20, "64-64", 256),
    (20, "64-64", 512),
    (20, "128-128", 256),
    (20, "128-128", 384),
    (64, "256-256", 128),
)
"""Columns, widths of the hidden layers, and rows per update."""

ROWS, EPOCHS, REPEATS = 12_000, 10, 3


def fit_seconds(x_ND: Array, hidden: str, batch_size: int, n_threads: int) -> tuple[float, int]:
    """Return the seconds of a fit with so many threads, and the model's number of weights."""
    torch.set_num_threads(n_threads)
    model = DeepMixture(
        init="kmeans",
        epochs=EPOCHS,
        pretrain_epochs=EPOCHS,
        batch_size=batch_size,
        settings={"encoder.hidden": hidden, "decoder.hidden": hidden},
    )
    started = time.perf_counter()
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # the epochs are few
        model.fit(x_ND)
    return time.perf_counter() - started, model.metrics_["n_parameters"]


def main() -> None:
    """Print the table."""
    update_threads.SMALL_UPDATE = 0  # the number of threads is chosen here
    n_threads = torch.get_num_threads()
    if n_threads == 1:
        raise SystemExit("torch has one thread only; give it more with OMP_NUM_THREADS")
    print(f"{n_threads} threads, OMP_WAIT_POLICY={os.environ.get('OMP_WAIT_POLICY', '(not set)')}")
    print("| columns | hidden layers | rows | weights times rows | one thread, s | all threads, s | ratio |")
    print("|---|---|---|---|---|---|---|")
    for n_columns, hidden, batch_size in NETWORKS:
        x_ND, _ = make_blobs(ROWS, n_columns, centers=10, cluster_std=3.0, random_state=0)
        times: dict[int, list[float]] = {1: [], n_threads: []}
        for number in range(REPEATS + 1):
            for threads, seconds in times.items():
                spent, n_weights = fit_seconds(x_ND, hidden, batch_size, threads)
                if number > 0:  # the first fit imports modules
                    seconds.append(spent)
        one, every = (statistics.median(seconds) for seconds in times.values())
        size = f"{n_weights * batch_size / 1e6:.1f} million"
        print(
            f"| {n_columns} | {hidden} | {batch_size} | {size} | {one:.2f} | {every:.2f} | {every / one:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
