"""Many short fits and predictions in one process: the slope of its memory, its open files and its threads.

`python -m tests.faults.load 2000` is how the figure in docs/reliability.md was made.
"""

from __future__ import annotations

import argparse
import gc
import resource
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import torch

from deepmix import DeepMixture, load
from deepmix.maths import Array

WARM_UP = 0.2
"""Fraction of the fits that are left out of the slope, because libraries fill their caches."""


def rows() -> Array:
    """Return 40 rows of two groups in four columns."""
    random = np.random.default_rng(0)
    return (np.eye(2, 4)[np.arange(40) % 2] * 6.0 + random.normal(size=(40, 4))).astype(np.float32)


def resident_kib() -> int:
    """Return the resident memory of this process in KiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


def main() -> None:
    """Fit and predict as often as the command line says; print figures on the way."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("number", type=int)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    x_ND, memory, started = rows(), np.zeros(options.number), time.perf_counter()
    settings = {"encoder.hidden": "8", "latent_dim": "2"}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.number):
            model = DeepMixture(2, epochs=1, pretrain_epochs=1, init="kmeans", settings=settings, random_state=number)
            model.fit(x_ND).predict(x_ND)
            if number % 20 == 0:
                model.save(Path(folder) / "run", overwrite=number > 0)
            load(Path(folder) / "run").predict(x_ND)
            memory[number] = resident_kib()
            if number % (max(options.number // 20, 1)) == 0 or number == options.number - 1:
                gc.collect()
                handles = len(list(Path("/proc/self/fd").iterdir()))
                seconds = time.perf_counter() - started
                print(
                    f"{number + 1} fits, {seconds:.0f} s: {memory[number] / 1024:.1f} MiB, {handles} open files, "
                    f"{threading.active_count()} threads, {slope(memory[: number + 1]):.2f} KiB per fit",
                    flush=True,
                )


def slope(memory: Array) -> float:
    """Return by how many KiB the memory grows per fit after the warm-up."""
    first = int(WARM_UP * len(memory))
    return float(np.polyfit(np.arange(first, len(memory)), memory[first:], 1)[0]) if len(memory) > 2 else 0.0


if __name__ == "__main__":
    main()
