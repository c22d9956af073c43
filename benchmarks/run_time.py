"""Time `deepmix train` on a small table with this checkout and with another, in turns, and print the ratio.

    python benchmarks/run_time.py --before CHECKOUT --json OUT.json
    python benchmarks/run_time.py --before CHECKOUT --table wine -- --no-report

Each line has the medians of the seconds of a whole run, imports included, and of its CPU time, which other work on the
machine affects less.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from arguments import checkout_folder, positive
from suite import real_tables

HERE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Timing:
    """Seconds of one run."""

    wall: float
    cpu: float


def time_run(checkout: Path, table: Path, options: Sequence[str], out: Path) -> Timing:
    """Train once with a checkout."""
    paths = [str(checkout), str(checkout / "plugins"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-m", "deepmix", "train", "--dataset", str(table), "--quiet", "--overwrite", *options]
    started, cpu = time.perf_counter(), _cpu_seconds()
    # `python -m` looks in the working directory before it looks in PYTHONPATH
    subprocess.run([*command, "--out", str(out)], check=True, env=environment, stdout=subprocess.DEVNULL, cwd=checkout)
    return Timing(time.perf_counter() - started, _cpu_seconds() - cpu)


def _cpu_seconds() -> float:
    """Return the CPU time of all finished child processes."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Time both checkouts and print their medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=checkout_folder, required=True, help="the checkout to compare with")
    parser.add_argument("--table", default="iris", choices=[table.name for table in real_tables()])
    parser.add_argument("--repeats", type=positive, default=5)
    parser.add_argument("--json", type=Path, help="where to write the seconds of each run")
    parser.add_argument("options", nargs="*", help="further options of `deepmix train`, after --")
    arguments = parser.parse_args()
    table = next(one for one in real_tables() if one.name == arguments.table)
    checkouts = {"before": arguments.before.resolve(), "now": HERE}
    timings: dict[str, list[Timing]] = {name: [] for name in checkouts}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{table.name}.npz"
        np.savez(file, x=table.x_ND, y=table.label_N)
        for number in range(arguments.repeats + 1):
            for name, checkout in checkouts.items():
                timing = time_run(checkout, file, arguments.options, Path(folder) / name)
                if number > 0:  # the first run writes the bytecode of modules
                    timings[name].append(timing)
    for measure in ("wall", "cpu"):
        before, now = (statistics.median(getattr(one, measure) for one in timings[name]) for name in checkouts)
        print(f"{table.name} {measure}: {before:.1f} s before, {now:.1f} s now, ratio {now / before:.2f}")
    if arguments.json:
        runs = {name: [asdict(one) for one in values] for name, values in timings.items()}
        arguments.json.write_text(json.dumps({"table": table.name, **runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
