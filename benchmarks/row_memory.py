"""Print the peak memory of what grows with the number of rows on disk, without the training itself.

    python benchmarks/row_memory.py 1000000 10000000

Rows of four columns are loaded, split and scaled, a stratified sample is drawn, and an epoch gives every row its label:
what `deepmix train` holds per row, in seconds of computing. Each number of rows has a process of its own.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
from pathlib import Path

from scale import write_rows

COLUMNS, GROUPS, BATCH_ROWS = 4, 10, 65536


def peak() -> float:
    """Return the peak resident memory of this process in 2^20 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(path: Path) -> None:
    """Print the peak memory beyond that of an interpreter with torch and NumPy."""
    import torch

    base = peak()
    from deepmix.data import Rows, SplitOptions, load_file, sample_rows, stratified_rows, take_stratified

    split = load_file(path, None, SplitOptions(storage="disk"))
    plain, _ = sample_rows(split, 0)
    take_stratified(split, plain, stratified_rows(split, plain, GROUPS, 0))
    rows = Rows(split.rows, split.train, torch.device("cpu"))
    label_N = torch.zeros(rows.n_rows, dtype=torch.uint8)
    for batch_N in rows.epoch_batches(BATCH_ROWS, torch.Generator().manual_seed(0)):
        label_N[batch_N] = (rows.batch(batch_N).x_ND[:, 0] > 0.0).to(torch.uint8)
    print(f"{len(split.x):>12,} rows: {peak() - base:.0f} MiB beyond torch and NumPy", flush=True)


def main() -> None:
    """Measure every number of rows that the command line names."""
    for n_rows in map(int, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows.npy"
            write_rows(path, n_rows, COLUMNS, is_sparse=False)
            process = multiprocessing.get_context("spawn").Process(target=measure, args=(path,))
            process.start()
            process.join()


if __name__ == "__main__":
    main()
