"""How often `--components auto` finds the number of clusters, beside other criteria.

    python benchmarks/components.py --suite clustering-suite.npz --json OUT.json
    python benchmarks/components.py --none                    # rows without groups: how often K = 1
    python benchmarks/components.py --few                     # fewer rows than the neighbours' density takes
    python benchmarks/components.py --chance                  # the valleys that chance makes

Tables and their preparation are those of `suite.py`; K is the number of reference labels, which nothing here sees
before the score. Every criterion may answer up to 60. The rivals see at most 1,000 rows.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from arguments import existing_file, positive
from count_rivals import rival_counts
from suite import Table, real_tables, suite_tables

from deepmix.experiment.component_count import choose_for_rows, continuous_rows, principal_rows
from deepmix.experiment.component_range import MOST_COMPONENTS, ComponentRange
from deepmix.experiment.gaussian_modes import find_modes
from deepmix.experiment.valleys import SCALES, depths_by_count, find_valleys, merge_peaks, neighbours_of
from deepmix.maths import Array

MOST_ROWS, RIVAL_ROWS = 5000, 1000

AUTO, PEAKS, MODES, BIC, ICL = (
    "--components auto",
    "peaks alone",
    "modes of the mixture alone",
    "BIC of its mixtures",
    "ICL of its mixtures",
)


@dataclass(frozen=True)
class Counts:
    """The numbers of clusters of one table."""

    battery: str
    name: str
    n_clusters: int
    """Reference."""
    seconds: float
    """CPU seconds of `--components auto`."""
    by_criterion: dict[str, int]


def count(table: Table, seed: int, *, with_rivals: bool) -> Counts:
    """Return the numbers of clusters that all criteria give for a table."""
    features = some_rows(table.x_ND, MOST_ROWS, seed)
    started = time.process_time()
    rows_ND = continuous_rows(features, seed)
    chosen = choose_for_rows(rows_ND, ComponentRange(1, MOST_COMPONENTS), seed).n_components
    seconds = time.process_time() - started
    modes = find_modes(principal_rows(rows_ND, seed), 1, 1, MOST_COMPONENTS, seed)
    counts = {AUTO: chosen, PEAKS: find_valleys(rows_ND, MOST_COMPONENTS).n_peaks()}
    if modes is not None:
        counts |= {MODES: modes.n_modes, BIC: modes.n_gaussians, ICL: min(modes.icl, key=lambda g: modes.icl[g])}
    if with_rivals:
        counts |= rival_counts(some_rows(features.astype(np.float64), RIVAL_ROWS, seed), MOST_COMPONENTS)
    return Counts(table.battery, table.name, table.n_clusters, seconds, counts)


def report(results: list[Counts]) -> list[str]:
    """Return a table by criterion: exactly right and within one, of the tables of each battery."""
    batteries = list(dict.fromkeys(result.battery for result in results))
    suite = [result for result in results if result.battery != "real"]
    lines = [
        "| criterion | suite | " + " | ".join(batteries) + " |",
        "|---|---|" + "---|" * len(batteries),
    ]
    criteria = list(dict.fromkeys(name for result in results for name in result.by_criterion))
    for name in criteria:
        cells = [_hits([result for result in results if result.battery == battery], name) for battery in batteries]
        lines.append(f"| {name} | " + " | ".join([_hits(suite, name), *cells]) + " |")
    lines.append("")
    for battery in batteries:
        others = [result for result in results if result.battery != battery]
        best = max(criteria, key=lambda name: _quality(others, name))
        own = [result for result in results if result.battery == battery]
        lines.append(f"- without {battery}, the best is {best}: {_hits(own, best)} on {battery}")
    return lines


def _quality(results: list[Counts], name: str) -> tuple[float, float]:
    """Return the mean over batteries of the fraction that is exactly right, then of that within one."""
    batteries = dict.fromkeys(result.battery for result in results)
    exact, near = [], []
    for battery in batteries:
        errors = [abs(r.by_criterion.get(name, 0) - r.n_clusters) for r in results if r.battery == battery]
        exact.append(np.mean([error == 0 for error in errors]))
        near.append(np.mean([error <= 1 for error in errors]))
    return float(np.mean(exact)), float(np.mean(near))


def _hits(results: list[Counts], name: str) -> str:
    errors = [abs(result.by_criterion.get(name, 0) - result.n_clusters) for result in results]
    return f"{sum(e == 0 for e in errors)} / {sum(e <= 1 for e in errors)} of {len(errors)}"


def without_groups(repeats: int) -> None:
    """Print how often uniform and Gaussian rows give K = 1, by rows and columns."""
    random = np.random.default_rng(1)
    for n_rows, n_columns in itertools.product((100, 500, 1500), (2, 5, 20)):
        right = {"uniform": 0, "Gaussian": 0}
        for _ in range(repeats):
            samples = {
                "uniform": random.uniform(size=(n_rows, n_columns)),
                "Gaussian": random.normal(size=(n_rows, n_columns)) @ random.normal(size=(n_columns, n_columns)),
            }
            for name, rows_ND in samples.items():
                choice = choose_for_rows(continuous_rows(rows_ND, 0), ComponentRange(), 0)
                right[name] += choice.n_components == 1
        cells = ", ".join(f"{name} {number} of {repeats}" for name, number in right.items())
        print(f"{n_rows} x {n_columns}: {cells}", flush=True)


def few_rows(repeats: int) -> None:
    """Print how often K is right for few rows, of one group and of Gaussians whose centres lie on a circle."""
    random = np.random.default_rng(1)
    for n_rows, n_columns in itertools.product((20, 40, 60, 90), (2, 4)):
        right = dict.fromkeys(("uniform", "Gaussian", "exponential", "2 groups", "3 groups", "4 groups"), 0)
        for _ in range(repeats):
            size = (n_rows, n_columns)
            samples = [
                (1, "uniform", random.uniform(size=size)),
                (1, "Gaussian", random.normal(size=size) @ random.normal(size=(n_columns, n_columns))),
                (1, "exponential", random.exponential(size=size)),
            ]
            for k in (2, 3, 4):
                angle_N = 2.0 * np.pi * (np.arange(n_rows) % k) / k
                centre_ND = 6.0 * np.column_stack([np.cos(angle_N), np.sin(angle_N), np.zeros((n_rows, n_columns - 2))])
                samples.append((k, f"{k} groups", random.normal(size=size) + centre_ND))
            for k, name, rows_ND in samples:
                choice = choose_for_rows(continuous_rows(rows_ND, 0), ComponentRange(), 0)
                right[name] += choice.n_components == k
        cells = ", ".join(f"{name} {number} of {repeats}" for name, number in right.items())
        print(f"{n_rows} x {n_columns}: {cells}", flush=True)


def valleys_by_chance(repeats: int) -> None:
    """Print quantiles of the deepest valley of one group times the root of k, which `chance_depth` is fitted to."""
    random = np.random.default_rng(0)
    for n_columns, n_rows in itertools.product((1, 2, 3, 4, 6, 10), (150, 500, 2000, 6000)):
        depths: dict[int, list[float]] = {}
        for _ in range(repeats):
            distance_Nk, neighbour_Nk = neighbours_of(random.uniform(size=(n_rows, n_columns)))
            for k in SCALES:
                if k * 8 <= n_rows:
                    density_N = -0.5 * n_columns * np.log(np.square(distance_Nk[:, :k]).mean(axis=1))
                    merges_M3 = merge_peaks(density_N, neighbour_Nk[:, : max(k, 15)])
                    depths.setdefault(k, []).append(float(depths_by_count(merges_M3, n_rows, 2)[2] * np.sqrt(k)))
        cells = ", ".join(f"k={k} {np.mean(v):.1f}/{np.quantile(v, 0.98):.1f}" for k, v in depths.items())
        print(f"{n_rows} x {n_columns}, mean/98 %: {cells}", flush=True)


def some_rows(rows_ND: Array, most: int, seed: int) -> Array:
    """Return a random sample of the rows, in order, if there are more than `most`."""
    if len(rows_ND) <= most:
        return rows_ND
    return rows_ND[np.sort(np.random.default_rng(seed).choice(len(rows_ND), most, replace=False))]


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", type=existing_file, help="the suite's .npz file")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-rivals", action="store_true", help="leave out what is slow")
    parser.add_argument("--none", action="store_true", help="rows without groups instead")
    parser.add_argument("--few", action="store_true", help="few rows instead, with and without groups")
    parser.add_argument("--chance", action="store_true", help="the valleys that chance makes instead")
    parser.add_argument(
        "--repeats", type=positive, default=20, help="samples of each kind for --none, --few and --chance"
    )
    options = parser.parse_args()
    if options.none or options.few or options.chance:
        (without_groups if options.none else few_rows if options.few else valleys_by_chance)(options.repeats)
        return
    results = []
    for table in itertools.chain(suite_tables(options.suite) if options.suite else (), real_tables()):
        results.append(result := count(table, options.seed, with_rivals=not options.no_rivals))
        numbers = ", ".join(f"{name} {number}" for name, number in result.by_criterion.items())
        print(f"{table.battery}/{table.name}, K = {table.n_clusters}: {numbers}, {result.seconds:.1f} s", flush=True)
    print("\n".join(report(results)))
    if options.json:
        options.json.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")


if __name__ == "__main__":
    main()
