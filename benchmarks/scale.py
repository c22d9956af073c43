"""Train, predict and report on synthetic rows that stay on disk, and print the peak memory of each command.

    python benchmarks/scale.py --rows 1000000 5000000 10000000 --json OUT.json
    python benchmarks/scale.py --sparse --rows 685071 --columns 2000
    python benchmarks/scale.py --rows 300000 --compare-epochs 5
    python benchmarks/scale.py --rows 60000 --columns 16 --compare-orders 3
    python benchmarks/scale.py --sparse --rows 685071 --columns 2000 --neighbours 10
    python benchmarks/scale.py --rows 100000 --columns 8 --small-group 5

Each command runs in a process of its own. Its peak resident memory is what `/usr/bin/time` prints, less that of
`python -c "import torch"`. Both stages have one epoch; the networks are small, so that the rows and not the layers take
the memory. `--compare-epochs` trains in turn on the same rows on disk and in memory, and prints the CPU seconds of an
epoch; `--compare-orders` trains with each seed on rows in memory and on disk, mixed and sorted by group, and prints the
mean ELBO of held-out rows; `--neighbours` searches the nearest rows of each sparse row; `--small-group` clusters plain
and stratified samples of rows of which 0.5 % are a group of their own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
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

BATCH_ROWS = 4096

OPTIONS = (
    "--components",
    str(GROUPS),
    "--epochs",
    "1",
    "--pretrain-epochs",
    "1",
    "--batch-size",
    str(BATCH_ROWS),
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


def write_dense(path: Path, n_rows: int, n_columns: int, *, is_sorted: bool = False) -> None:
    """Write rows of Gaussian groups, (n_rows, n_columns) float32, chunk by chunk; sort each chunk by group if asked."""
    random = np.random.default_rng(0)
    centre_KD = 2.0 * random.normal(size=(GROUPS, n_columns))
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (n_rows, n_columns)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, n_rows, CHUNK):
            group_N = random.integers(GROUPS, size=min(CHUNK, n_rows - start))
            group_N = np.sort(group_N) if is_sorted else group_N
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
    write_rows(data, n_rows, n_columns, is_sparse)
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


def write_rows(path: Path, n_rows: int, n_columns: int, is_sparse: bool) -> None:
    """Write rows in a process of its own: the peak of a command counts what this process holds when it starts it."""
    write = write_sparse if is_sparse else write_dense
    writer = multiprocessing.get_context("spawn").Process(target=write, args=(path, n_rows, n_columns))
    writer.start()
    writer.join()


def compare_epochs(path: Path, n_epochs: int) -> None:
    """Train on the rows of a file from disk and in memory, an epoch each in turn, and print the seconds of both."""
    import torch

    from deepmix.contracts import Batch, Phase
    from deepmix.data import Rows, SplitOptions, load_file
    from deepmix.experiment import ExperimentConfig, build_model, resolve

    device, seconds = torch.device("cpu"), dict[str, list[float]](disk=[], memory=[])
    small = {"encoder.hidden": "64-64", "decoder.hidden": "64-64"}
    parts = resolve(ExperimentConfig(dataset=str(path), settings=small))
    splits = {storage: load_file(path, None, SplitOptions(storage=storage)) for storage in seconds}
    rows = {storage: Rows(split.rows, split.train, device) for storage, split in splits.items()}
    for epoch in range(n_epochs + 1):  # the first one reads the file into the system's cache
        for storage, own in rows.items():
            model = build_model(parts, splits[storage], GROUPS, seed=0)
            optimizer = torch.optim.Adam(model.parameters())
            generator = torch.Generator().manual_seed(epoch)
            started = time.process_time()
            for batch_N in own.epoch_batches(BATCH_ROWS, generator):
                batch = Batch.of(own.batch(batch_N), generator=generator, phase=Phase("train"))
                optimizer.zero_grad()
                model(batch).objective_N.mean().neg().backward()
                optimizer.step()
            if epoch:
                seconds[storage].append(time.process_time() - started)
    medians = {storage: statistics.median(values) for storage, values in seconds.items()}
    print(", ".join(f"{storage} {median:.2f} CPU s per epoch" for storage, median in medians.items()))
    print(f"from disk {medians['disk'] / medians['memory']:.2f} times as long as in memory, medians of {n_epochs}")


def compare_orders(folder: Path, n_rows: int, n_columns: int, n_seeds: int, n_epochs: int = 4) -> None:
    """Print the ELBO of held-out rows after the same epochs with a full shuffle, and with the shuffle of blocks.

    Blocks and buffers are a 32nd of their usual size, so that the file has several buffers.
    """
    import torch

    from deepmix.contracts import Batch, Phase
    from deepmix.data import Rows, SplitOptions, batches, load_file
    from deepmix.experiment import ExperimentConfig, build_model, resolve
    from deepmix.training import evaluate_rows

    batches.BLOCK_BYTES //= 32
    batches.BUFFER_BYTES //= 32
    write_dense(folder / "mixed.npy", n_rows, n_columns)
    write_dense(folder / "sorted.npy", n_rows, n_columns, is_sorted=True)
    orders = {f"{file}, {storage}": (file, storage) for file in ("mixed", "sorted") for storage in ("memory", "disk")}
    device, elbos = torch.device("cpu"), dict[str, list[float]]((name, []) for name in orders)
    for seed in range(n_seeds):
        for name, (file, storage) in orders.items():
            path = folder / f"{file}.npy"
            settings = {"encoder.hidden": "64", "decoder.hidden": "64"}
            parts = resolve(ExperimentConfig(dataset=str(path), model="vae", settings=settings))
            split = load_file(path, None, SplitOptions(storage=storage))
            train, test = (Rows(split.rows, numbers, device) for numbers in (split.train, split.test))
            model = build_model(parts, split, GROUPS, seed=seed)
            optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
            generator = torch.Generator().manual_seed(seed)
            for _ in range(n_epochs):
                for batch_N in train.epoch_batches(128, generator):
                    batch = Batch.of(train.batch(batch_N), generator=generator, phase=Phase("train"))
                    optimizer.zero_grad()
                    model(batch).objective_N.mean().neg().backward()
                    optimizer.step()
            elbos[name].append(evaluate_rows(model, test, "float32", seed)[1]["elbo"])
        print(f"seed {seed}: " + ", ".join(f"{name} {values[-1]:.3f}" for name, values in elbos.items()), flush=True)
    for name, values in elbos.items():
        print(f"{name}: mean {statistics.mean(values):.3f}, spread {statistics.stdev(values):.3f}")


def search_neighbours(path: Path, number: int) -> None:
    """Print how long the search for the nearest rows of each sparse training row takes."""
    import torch

    from deepmix.data import Rows, SplitOptions, load_file

    split = load_file(path, None, SplitOptions(storage="disk"))
    started, busy = time.perf_counter(), time.process_time()
    nearest = Rows(split.rows, split.train, torch.device("cpu")).nearest(number)
    wall, cpu = time.perf_counter() - started, time.process_time() - busy
    print(f"{tuple(nearest.shape)} neighbours in {wall:.0f} s, {cpu:.0f} CPU s", flush=True)


def cluster_small_group(path: Path, n_rows: int, n_columns: int, n_seeds: int) -> None:
    """Print whether k-means and mixtures find a group of 0.5 % of the rows in plain and in stratified samples."""
    from deepmix_builtins.clustering.initializers import GmmInitializer, KMeansInitializer

    from deepmix.contracts import TrainingRows
    from deepmix.data import SplitOptions, load_file, sample_rows, stratified_rows, take_stratified

    n_groups = 6
    for seed in range(n_seeds):
        random = np.random.default_rng(seed)
        centre_KD = 2.0 * random.normal(size=(n_groups, n_columns))
        group_N = random.choice(n_groups, size=n_rows, p=[0.199] * 5 + [0.005])
        np.savez(path, x=(centre_KD[group_N] + random.normal(size=(n_rows, n_columns))).astype(np.float32), y=group_N)
        split = load_file(path, None, SplitOptions(storage="disk"))
        plain, _ = sample_rows(split, seed)
        stratified = take_stratified(split, plain, stratified_rows(split, plain, n_groups, seed))
        for name, sample in (("plain", plain), ("stratified", stratified)):
            is_small, x_ND = sample.labels[sample.train] == n_groups - 1, sample.x[sample.train]
            line = f"seed {seed} {name:10} {is_small.sum():4} rows of the group"
            for kind in (KMeansInitializer, GmmInitializer):
                initializer = kind(kind.Options())
                label_N = initializer.initial_labels(TrainingRows(x_ND, x_ND), n_groups, seed)
                label = np.bincount(label_N[is_small]).argmax()
                recall = np.mean(label_N[is_small] == label)
                weight_N = np.ones(len(label_N)) if sample.weights is None else sample.weights[sample.train]
                precision = np.average(is_small[label_N == label], weights=weight_N[label_N == label])
                line += f"; {kind.__name__}: {recall:.2f} of them in a cluster of which they are {precision:.2f}"
            print(line, flush=True)


def main() -> None:
    """Measure every number of rows, and print and write the costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[5_000_000])
    parser.add_argument("--columns", type=int, default=64)
    parser.add_argument("--sparse", action="store_true", help="CSR rows at the density of Reuters")
    parser.add_argument("--compare-epochs", type=int, metavar="N", help="time N epochs from disk and in memory instead")
    parser.add_argument("--compare-orders", type=int, metavar="SEEDS", help="train in each order of the rows instead")
    parser.add_argument("--neighbours", type=int, metavar="N", help="time the search for N neighbours instead")
    parser.add_argument("--small-group", type=int, metavar="SEEDS", help="cluster rows with a small group instead")
    parser.add_argument("--json", type=Path, help="where to write the costs")
    parser.add_argument("options", nargs="*", help="further options of `deepmix train`, after --")
    arguments = parser.parse_args()
    costs = []
    with tempfile.TemporaryDirectory() as folder:
        for n_rows in arguments.rows:
            if arguments.small_group:
                cluster_small_group(Path(folder) / "rows.npz", n_rows, arguments.columns, arguments.small_group)
                continue
            if arguments.compare_orders:
                compare_orders(Path(folder), n_rows, arguments.columns, arguments.compare_orders)
                continue
            if arguments.compare_epochs or arguments.neighbours:
                path = Path(folder) / ("rows.npz" if arguments.sparse else "rows.npy")
                write_rows(path, n_rows, arguments.columns, arguments.sparse)
                if arguments.compare_epochs:
                    compare_epochs(path, arguments.compare_epochs)
                if arguments.neighbours:
                    search_neighbours(path, arguments.neighbours)
                continue
            costs += measure(n_rows, arguments.columns, arguments.sparse, [*NETWORKS, *arguments.options], Path(folder))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(cost) for cost in costs], indent=2) + "\n")


if __name__ == "__main__":
    main()
