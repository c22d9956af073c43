"""Compare what training ends with with the initial clustering it started from.

    python benchmarks/training.py --digits --seeds 3 --prior standard --head gmm
    python benchmarks/training.py --suite clustering-suite.npz --only spiral,zigzag --init auto --seeds 3
    python benchmarks/training.py --real --init auto --set may_leave=1 --set anchor=1      # as before

The tables are those of `benchmarks/suite.py`, without rows of noise; `--digits` is deepmix's own data set. Each line
has the adjusted Rand index of the initial labels and of the heads, on training rows and on held-out rows, to which the
five nearest training rows carry the initial labels. K is that of the labels, which training does not see.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from suite import Table, real_tables, suite_tables

from deepmix import runs
from deepmix.experiment import ExperimentConfig, prepare_experiment, run_experiment
from deepmix.training import SilentReporter


def tables(options: argparse.Namespace) -> Iterator[Table | None]:
    """Yield the tables that were asked for; None stands for Digits."""
    if options.digits:
        yield None
    every = [*(suite_tables(options.suite) if options.suite else ()), *(real_tables() if options.real else ())]
    yield from (table for table in every if not options.only or table.name in options.only.split(","))


def run(table: Table | None, seed: int, options: argparse.Namespace) -> dict[str, dict[str, float | None]]:
    """Train once and return the index by side: of the initial labels and of each head."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npz"
        if table is not None:
            np.savez(path, x=table.x_ND[table.scored_N], y=table.label_N[table.scored_N])
        config = ExperimentConfig(
            model=options.model,
            prior=options.prior,
            init=options.init,
            heads=tuple(options.head or ["posterior", "gmm"]),
            dataset="digits" if table is None else str(path),
            seed=seed,
            settings=dict(setting.split("=", 1) for setting in options.set),
        )
        experiment = prepare_experiment(config)
        metrics = run_experiment(experiment, runs.MemoryRun(), SilentReporter(), report=False).metrics
    assert metrics.initial_labels is not None
    sides = {}
    for side in ("train", "test"):
        heads = {name: by_side[side].scores["ari"] for name, by_side in metrics.heads.items()}
        sides[side] = {"initial": metrics.initial_labels.side(side)["ari"], **heads}
    return sides


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", type=Path, help="the suite's .npz file")
    parser.add_argument("--real", action="store_true", help="scikit-learn's tables")
    parser.add_argument("--digits", action="store_true")
    parser.add_argument("--only", help="names of tables, separated by commas")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--model", default="mvae-emv2")
    parser.add_argument("--prior")
    parser.add_argument("--init")
    parser.add_argument("--head", action="append", help="may be repeated; default: posterior and gmm")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as for deepmix train")
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, list[dict[str, dict[str, float | None]]]] = {}
    for table in tables(options):
        name = "digits" if table is None else table.name
        figures[name] = [run(table, seed, options) for seed in range(options.seeds)]
        for side in ("train", "test"):
            means = {key: np.mean([one[side][key] for one in figures[name]]) for key in figures[name][0][side]}
            print(f"{name:16s} {side:5s}", "  ".join(f"{key} {value:.4f}" for key, value in means.items()), flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
