"""Score the default run against reference labels, beside the initial clustering that it starts from.

    python benchmarks/accuracy.py --suite clustering-suite.npz --json OUT.json
    python benchmarks/accuracy.py --data FOLDER --only usps mnist --json OUT.json

Each data set is trained on by `deepmix train --seeds 5` with the defaults; K is that of the labels. They are those of
benchmarks/suite.py (the suite's tables, whose noise is clustered and not scored, and scikit-learn's iris, wine, breast
cancer and digits) and usps, mnist and fashion-mnist in a data folder.

ari, acc          of all rows, those held out of training included
train, held out   adjusted Rand index of each side
initial           the same of the initial labels, which their neighbours carry to the held-out rows
seconds           of a whole run, with its share of the imports; without the report unless --report is given
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from arguments import existing_file, positive
from sklearn.metrics import adjusted_rand_score
from suite import Table, real_tables, suite_tables

from deepmix.metrics import clustering_accuracy

IMAGES = ("usps", "mnist", "fashion-mnist")


@dataclass(frozen=True)
class DataSet:
    """A data set, and the words by which `deepmix train` reads it."""

    battery: str
    name: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Score:
    """The figures of one seed's run."""

    battery: str
    name: str
    seed: int
    ari: float
    acc: float
    train: float
    held_out: float
    initial_train: float
    initial_held_out: float
    seconds: float


def tables(suite: Path | None, folder: Path) -> Iterator[DataSet]:
    """Write the tables one by one to a folder, as `deepmix train` reads them."""
    for table in (*(suite_tables(suite) if suite else ()), *real_tables()):
        path = folder / f"{table.battery}-{table.name}.npz"
        np.savez(path, x=table.x_ND, y=_known_labels(table))
        yield DataSet(table.battery, table.name, ("--dataset", str(path)))


def _known_labels(table: Table) -> Any:
    """Return the labels as numbers, NaN where a row is noise, which `deepmix train` then does not score."""
    return np.where(table.scored_N, table.label_N.astype(np.float64), np.nan)


def score(data: DataSet, n_seeds: int, options: Sequence[str], folder: Path) -> list[Score]:
    """Train on a data set with seeds 0, 1, ... and score the first head's clusters."""
    out, started = folder / "run", time.perf_counter()
    command = [sys.executable, "-m", "deepmix", "train", *data.words, *options, "--out", str(out), "--overwrite"]
    seeds = ["--seeds", str(n_seeds)] if n_seeds > 1 else ["--seed", "0"]
    subprocess.run([*command, *seeds, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    seconds = (time.perf_counter() - started) / n_seeds
    scores = []
    for seed in range(n_seeds):
        run = out / f"seed-{seed}" if n_seeds > 1 else out
        measured = json.loads((run / "metrics.json").read_text())
        head, initial = next(iter(measured["heads"].values())), measured["initial_labels"]
        rows = pd.read_csv(run / "assignments.csv", dtype={"label": str}).dropna(subset="label")
        clusters = rows[next(iter(measured["heads"]))]
        scores.append(
            Score(
                data.battery,
                data.name,
                seed,
                ari=float(adjusted_rand_score(rows["label"], clusters)),
                acc=clustering_accuracy(rows["label"], clusters),
                train=head["train"]["ari"],
                held_out=head["test"]["ari"],
                initial_train=initial["train"]["ari"],
                initial_held_out=initial["test"]["ari"],
                seconds=seconds,
            )
        )
    return scores


def line(name: str, scores: Sequence[Score]) -> str:
    """Return the means over runs, with the standard deviation of the index over seeds, as one line."""

    def mean(figure: str) -> float:
        return statistics.fmean(getattr(score, figure) for score in scores)

    by_seed: dict[int, list[float]] = {}
    for one in scores:
        by_seed.setdefault(one.seed, []).append(one.ari)
    spread = statistics.stdev(statistics.fmean(values) for values in by_seed.values()) if len(by_seed) > 1 else 0.0
    return (
        f"{name:28s} ari {mean('ari'):.3f} ± {spread:.3f}  acc {mean('acc'):.3f}  "
        f"train {mean('train'):.3f} (initial {mean('initial_train'):.3f})  "
        f"held out {mean('held_out'):.3f} (initial {mean('initial_held_out'):.3f})  "
        f"{statistics.median(score.seconds for score in scores):.1f} s"
    )


def main() -> None:
    """Run the data sets and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", type=existing_file, help="the suite's .npz file")
    parser.add_argument("--data", type=Path, help="data folder with usps, mnist and fashion-mnist")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="names of data sets or batteries; default: all")
    parser.add_argument("--seeds", type=positive, default=5)
    parser.add_argument("--report", action="store_true", help="write reports too")
    parser.add_argument("--json", type=Path, help="where to write the figures, after each data set")
    parser.add_argument("options", nargs="*", help="further options of `deepmix train`, after --")
    arguments = parser.parse_args()
    options = [*arguments.options, *(() if arguments.report else ("--no-report",))]
    results: list[Score] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data_sets = list(tables(arguments.suite, folder))
        if arguments.data:
            data_sets += [
                DataSet("images", name, ("--dataset", name, "--data-dir", str(arguments.data))) for name in IMAGES
            ]
        for data in data_sets:
            if arguments.only and not {data.name, data.battery} & set(arguments.only):
                continue
            results += (scores := score(data, arguments.seeds, options, folder))
            print(line(f"{data.battery}/{data.name}", scores), flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps([asdict(one) for one in results], indent=1) + "\n")
    for battery in dict.fromkeys(one.battery for one in results):
        print(line(battery, [one for one in results if one.battery == battery]))
    of_suite = [one for one in results if one.battery in ("fcps", "graves", "sipu")]
    if of_suite:
        print(line("suite", of_suite))


if __name__ == "__main__":
    main()
