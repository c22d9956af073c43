"""Whether the bound finds the number of clusters: moves that split or merge a cluster, accepted by the held-out ELBO.

    python benchmarks/count_moves.py --suite clustering-suite.npz --json OUT.json

From the answer of `--components auto`, the default model is fitted with one cluster more and one fewer, and the search
goes on with the larger held-out ELBO until neither is larger, MOST_MOVES times at most. A fit starts from its own
initial clustering, so a move can't fail for its start, as a cluster split in the middle of training may.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import time
from dataclasses import asdict
from pathlib import Path

from arguments import existing_file
from components import AUTO, MOST_ROWS, Counts, report, some_rows
from suite import Table, real_tables, suite_tables

from deepmix import DeepMixture
from deepmix.experiment.component_count import choose_for_rows, continuous_rows
from deepmix.experiment.component_range import MOST_COMPONENTS, ComponentRange

MOST_MOVES = 4


def search(table: Table, seed: int) -> Counts:
    """Return the number of clusters of a table before and after the moves, and the CPU seconds that those take."""
    features = some_rows(table.x_ND, MOST_ROWS, seed)
    start = choose_for_rows(continuous_rows(features, seed), ComponentRange(1, MOST_COMPONENTS), seed).n_components
    started = time.process_time()

    @functools.cache
    def elbo(n_components: int) -> float:
        model = DeepMixture(n_components, random_state=seed, baselines=False).fit(features)
        return float(model.metrics_["elbo"]["test"])

    here = start
    for _ in range(MOST_MOVES):
        best = max((k for k in (here, here + 1, here - 1) if k >= 1), key=elbo)
        if best == here:
            break
        here = best
    seconds = time.process_time() - started
    return Counts(table.battery, table.name, table.n_clusters, seconds, {AUTO: start, "after the moves": here})


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", type=existing_file, help="the suite's .npz file")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    results = []
    for table in itertools.chain(suite_tables(options.suite) if options.suite else (), real_tables()):
        results.append(result := search(table, options.seed))
        print(
            f"{table.battery}/{table.name}, K = {table.n_clusters}: {result.by_criterion}, {result.seconds:.0f} s",
            flush=True,
        )
        if options.json:
            options.json.write_text(json.dumps([asdict(one) for one in results], indent=1) + "\n")
    print("\n".join(report(results)))


if __name__ == "__main__":
    main()
