"""Weak scaling of `deepmix train` under torchrun on one machine: rows and batch grow with the number of processes.

    python benchmarks/ranks.py --processes 1 2 --json OUT.json
    python benchmarks/ranks.py --cost --model vade --columns 512 --components 1000 --batch-size 1024

Each process has one thread. A line has the seconds of the best epoch of each stage, the rows that a process handles per
second, and the efficiency: the seconds of one process over those of several, 1 at best. The rows are random numbers.
`--cost` prints the CPU seconds of one update on one thread instead, which other work on the machine affects little.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from deepmix.contracts import Batch, Phase
from deepmix.data import Split
from deepmix.experiment import ExperimentConfig, build_model, resolve


@dataclass(frozen=True)
class Timing:
    """The best epochs of a run."""

    processes: int
    rows: int
    batch_size: int
    parameters: int
    pretrain_seconds: float
    train_seconds: float


def time_run(processes: int, arguments: argparse.Namespace, folder: Path) -> Timing:
    """Train with this many processes and return the seconds of the best epochs."""
    rows, batch_size = arguments.rows * processes, arguments.batch_size * processes
    file, out = folder / f"rows-{processes}.npy", folder / f"run-{processes}"
    np.save(file, np.random.default_rng(0).normal(size=(rows, arguments.columns)).astype(np.float32))
    launcher = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", "-m", "deepmix"]
    options = [
        "--components",
        str(arguments.components),
        "--model",
        arguments.model,
        "--init",
        "random",
        "--batch-size",
        str(batch_size),
        "--set",
        "test_fraction=0.01",
    ]
    options += ["--epochs", str(arguments.epochs), "--pretrain-epochs", str(arguments.epochs), "--set", "anchor=0"]
    quiet = ["--no-report", "--no-baselines", "--quiet", "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*launcher, "train", "--dataset", str(file), *options, *quiet],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    epochs = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    best = {
        stage: min(epoch["seconds"] for epoch in epochs if epoch["stage"] == stage) for stage in ("pretrain", "train")
    }
    config = json.loads((out / "config.json").read_text())
    n_rows = config["data"]["rows"]["train"]
    return Timing(processes, n_rows, batch_size, config["n_parameters"], best["pretrain"], best["train"])


def cpu_cost(arguments: argparse.Namespace) -> str:
    """Return a line about the CPU time of an update of `batch_size` rows, the best of `epochs` updates."""
    torch.set_num_threads(1)
    n_rows, n_components = arguments.batch_size, arguments.components
    x_ND = np.random.default_rng(0).normal(size=(n_rows, arguments.columns)).astype(np.float32)
    split = Split(x_ND, np.arange(n_rows), np.arange(0), None, "gaussian", "random")
    model = build_model(resolve(ExperimentConfig(model=arguments.model)), split, n_components, 0)
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, fused=True)
    generator, best = torch.Generator().manual_seed(0), {"step": np.inf, "update": np.inf}
    for _ in range(arguments.epochs):
        optimizer.zero_grad()
        started = time.process_time()
        loss = model(Batch(torch.from_numpy(x_ND), generator=generator, phase=Phase("train")))
        (-loss.objective_N.mean()).backward()
        best["step"] = min(best["step"], time.process_time() - started)
        optimizer.step()
        best["update"] = min(best["update"], time.process_time() - started)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    step, adam = best["step"] / n_rows * 1e6, best["update"] - best["step"]
    return (
        f"{arguments.model}, {arguments.columns} columns, {n_components} components, {n_parameters:,} parameters: "
        f"{step:.1f} µs of CPU time per row, and {adam:.4f} s per update for Adam"
    )


def main() -> None:
    """Time each number of processes and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rows", type=int, default=4096, help="rows per process")
    parser.add_argument("--columns", type=int, default=64)
    parser.add_argument("--model", default="mvae-emv2")
    parser.add_argument("--components", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=128, help="rows per process and update")
    parser.add_argument("--epochs", type=int, default=5, help="epochs of each stage, of which the best counts")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--cost", action="store_true", help="print the CPU time of an update instead")
    arguments = parser.parse_args()
    if arguments.cost:
        print(cpu_cost(arguments))
        return
    with tempfile.TemporaryDirectory() as folder:
        timings = [time_run(processes, arguments, Path(folder)) for processes in arguments.processes]
    first = timings[0]
    for one in timings:
        speed = one.rows / one.processes / one.train_seconds
        print(
            f"{one.processes} processes, {one.rows:,} rows, {one.batch_size} per update, "
            f"{one.parameters:,} parameters: "
            f"pretraining {one.pretrain_seconds:.2f} s, training {one.train_seconds:.2f} s per epoch, "
            f"{speed:,.0f} rows/s per process, efficiency {first.train_seconds / one.train_seconds:.2f}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(one) for one in timings], indent=1) + "\n")


if __name__ == "__main__":
    main()
