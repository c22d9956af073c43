"""How often the warning "a plain method may be better" is right, by the total of `auto`'s criteria and by cohesion.

    python benchmarks/better_baseline.py --suite clustering-suite.npz

In place of a run stands, in turn, each partition that `auto` compares; beside it k-means, a Gaussian mixture and
HDBSCAN, as in every run. Tables are those of `suite.py`, at most 400 rows of each. A warning is right if the method
that it names has the larger adjusted Rand index, by more than 0.01. One is missed if a method with as many clusters is
better by more than 0.05.
"""

from __future__ import annotations

import argparse
import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
from arguments import existing_file
from deepmix_builtins.clustering.auto import AutoInitializer, AutoOptions
from sklearn.metrics import adjusted_rand_score
from suite import Table, real_tables, suite_tables

from deepmix.contracts import TrainingRows
from deepmix.data import SplitOptions, arrange_rows
from deepmix.experiment.baselines import compare_baselines, standard_judge
from deepmix.experiment.cautions import better_baseline
from deepmix.runs import Baselines

MOST_ROWS, MOST_COLUMNS = 400, 50
EQUAL, MUCH = 0.01, 0.05


def judge_table(table: Table, seed: int) -> Counter[tuple[str, str, str]]:
    """Return how many warnings of each rule were right or wrong, by rule, partition and outcome."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(table.x_ND))[:MOST_ROWS])
    labels = np.where(table.scored_N, table.label_N.astype(np.float64), np.nan)[chosen]
    split = arrange_rows(table.x_ND[chosen], labels, SplitOptions(scale="none"))
    rows = split.x[split.train]
    auto = AutoInitializer(AutoOptions(layouts=False))
    auto.initial_labels(TrainingRows(rows, rows), table.n_clusters, seed)
    assert auto.choice is not None
    assert split.labels is not None
    scored, label_N = split.scored(split.train), split.labels[split.train]
    comparison = compare_baselines(split, rows, auto.choice.label_M, table.n_clusters, seed, standard_judge())
    outcomes: Counter[tuple[str, str, str]] = Counter()
    for name, cluster_N in auto.choice.label_M.items():
        kind = "chosen by auto" if name == auto.choice.method else "others"
        own = float(adjusted_rand_score(label_N[scored], cluster_N[scored]))
        for rule, baselines in (("total", comparison), ("cohesion", replace(comparison, totals={}))):
            outcomes[rule, kind, _outcome(baselines, name, own, table.n_clusters)] += 1
    return outcomes


def _outcome(baselines: Baselines, name: str, own: float, n_clusters: int) -> str:
    index = {method: one.side("train")["ari"] or 0.0 for method, one in baselines.methods.items()}
    rival = better_baseline(baselines, name, n_clusters)
    if rival is not None:
        gain = index[rival[0]] - own
        return "right" if gain > EQUAL else "wrong" if gain < -EQUAL else "equal"
    gains = [index[method] - own for method, one in baselines.methods.items() if one.n_clusters == n_clusters]
    return "missed" if max(gains, default=0.0) > MUCH else "rightly silent"


def main() -> None:
    """Run the tables and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", type=existing_file, help="the suite's .npz file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--leave-out", nargs="*", default=[], metavar="NAME", help="tables to leave out")
    options = parser.parse_args()
    total: Counter[tuple[str, str, str]] = Counter()
    for table in itertools.chain(suite_tables(options.suite) if options.suite else (), real_tables()):
        if table.x_ND.shape[1] <= MOST_COLUMNS and table.name not in options.leave_out:
            total += judge_table(table, options.seed)
            print(f"{table.battery}/{table.name}", flush=True)
    for rule, kind in itertools.product(("total", "cohesion"), ("chosen by auto", "others")):
        counts = ", ".join(f"{name} {total[rule, kind, name]}" for name in ("right", "wrong", "equal", "missed"))
        print(f"{rule}, partitions {kind}: {counts}, rightly silent {total[rule, kind, 'rightly silent']}")


if __name__ == "__main__":
    main()
