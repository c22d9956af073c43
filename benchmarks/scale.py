"""Train, predict and report on synthetic rows that stay on disk, and print the peak memory of each command.

    python benchmarks/scale.py --rows 1000000 5000000 10000000 --json OUT.json
    python benchmarks/scale.py --sparse --rows 685071 --columns 2000

Each command runs in a process of its own. Its peak resident memory is what `/usr/bin/time` prints, less that of
`python -c "import torch"`. Both stages have one epoch; the networks are small, so that the rows and not the layers take
the memory.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

GROUPS = 10
CHUNK = 100_000
"""Rows that are made together."""

VALUES_PER_ROW = 58
"""Values other than zero in a sparse row, as in Reuters' 685,071 documents of 2,000 terms."""

OPTIONS = (
    "--components",
    str(GROUPS),
    "--epochs",
    "1",
    "--pretrain-epochs",
    "1",
    "--batch-size",
    "4096",
    "--quiet",
    "--overwrite",
    "--set",
    "storage=disk",
)
NETWORKS = ("--set", "encoder.hidden=64-64", "--set", "decoder.hidden=64-64")


@dataclass(frozen=True)
class Cost:
    """What a command took."""

    command: str
    rows: int
    megabytes: float
    """Peak resident memory beyond an interpreter that has imported torch, in 10^6 bytes."""
    seconds: float


def peak_of(command: Sequence[str]) -> tuple[float, float]:
    """Run a command and return its peak resident memory in 10^6 bytes, and its seconds."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"this command failed: {' '.join(command)}")
    return usage.ru_maxrss * 1024 / 1e6, time.perf_counter() - started


def write_dense(path: Path, n_rows: int, n_columns: int) -> None:
    """Write rows of Gaussian groups, (n_rows, n_columns) float32, chunk by chunk."""
    random = np.random.default_rng(0)
    centre_KD = 2.0 * random.normal(size=(GROUPS, n_columns))
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (n_rows, n_columns)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, n_rows, CHUNK):
            group_N = random.integers(GROUPS, size=min(CHUNK, n_rows - start))
            noise_ND = random.standard_normal((len(group_N), n_columns), dtype=np.float32)
            file.write((centre_KD[group_N].astype(np.float32) + noise_ND).tobytes())


def write_sparse(path: Path, n_rows: int, n_columns: int) -> None:
    """Write rows whose groups prefer different columns, as texts prefer words, as an uncompressed CSR archive."""
    random = np.random.default_rng(0)
    parts = []
    for start in range(0, n_rows, CHUNK):
        group_N = random.integers(GROUPS, size=min(CHUNK, n_rows - start))
        general = random.integers(n_columns, size=(len(group_N), VALUES_PER_ROW))
        own = (
            group_N[:, None] * (n_columns // GROUPS) + random.integers(n_columns // GROUPS, size=general.shape)
        ).astype(general.dtype)
        column = np.where(random.random(general.shape) < 0.5, own, general).ravel()
        row = np.repeat(np.arange(len(group_N)), VALUES_PER_ROW)
        value = random.random(len(row), dtype=np.float32)
        parts.append(sparse.csr_matrix((value, (row, column)), shape=(len(group_N), n_columns)))
    sparse.save_npz(path, sparse.vstack(parts, format="csr"), compressed=False)


def measure(n_rows: int, n_columns: int, is_sparse: bool, options: Sequence[str], folder: Path) -> list[Cost]:
    """Return what train, predict and report take for so many rows."""
    data, run = folder / ("rows.npz" if is_sparse else "rows.npy"), folder / "run"
    writer = multiprocessing.get_context("spawn").Process(
        target=write_sparse if is_sparse else write_dense, args=(data, n_rows, n_columns)
    )  # in a process of its own: the peak of a command counts what this process holds when it starts the command
    writer.start()
    writer.join()
    deepmix = [sys.executable, "-m", "deepmix"]
    commands = {
        "train": [*deepmix, "train", "--dataset", str(data), "--out", str(run), "--no-report", *OPTIONS, *options],
        "predict": [*deepmix, "predict", str(run), str(data), "--out", str(folder / "new.csv"), "--overwrite"],
        "report": [*deepmix, "report", str(run)],
    }
    least, _ = peak_of([sys.executable, "-c", "import torch"])
    costs = []
    for name, command in commands.items():
        peak, seconds = peak_of(command)
        costs.append(Cost(name, n_rows, peak - least, seconds))
        print(f"{name:8} {n_rows:>10,} x {n_columns:<5} {peak - least:7.0f} MB {seconds:7.0f} s", flush=True)
    return costs


def main() -> None:
    """Measure every number of rows, and print and write the costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[5_000_000])
    parser.add_argument("--columns", type=int, default=64)
    parser.add_argument("--sparse", action="store_true", help="CSR rows at the density of Reuters")
    parser.add_argument("--json", type=Path, help="where to write the costs")
    parser.add_argument("options", nargs="*", help="further options of `deepmix train`, after --")
    arguments = parser.parse_args()
    costs = []
    with tempfile.TemporaryDirectory() as folder:
        for n_rows in arguments.rows:
            costs += measure(n_rows, arguments.columns, arguments.sparse, [*NETWORKS, *arguments.options], Path(folder))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(cost) for cost in costs], indent=2) + "\n")


if __name__ == "__main__":
    main()
