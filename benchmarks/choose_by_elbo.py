"""Whether a short training says which initial clustering is best, and whether pretrained codes add better ones.

    python benchmarks/choose_by_elbo.py --suite clustering-suite.npz --json OUT.json
    python benchmarks/choose_by_elbo.py --suite clustering-suite.npz --epochs 20 --pretrain-epochs 20

The default model is trained for a few epochs from each partition that `auto` compares, in the rows and in the codes of
the pretrained autoencoder, with the same weights to start from, and the bound of the held-out rows is kept. The last
lines score what each criterion, alone and with others, would have chosen: the adjusted Rand index of the initial labels
on the training rows. Tables and K are those of `suite.py`; nothing here sees the labels before the score.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
from arguments import existing_file, positive
from components import some_rows
from deepmix_builtins.clustering.auto import WIDE, AutoInitializer
from deepmix_builtins.clustering.criteria import agreement_matrix, score_alone, total_score
from deepmix_builtins.clustering.portfolio import cheap_methods, run_methods
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from suite import CRITERIA, Table, real_tables, suite_tables

from deepmix import DeepMixture
from deepmix.contracts import TrainingRows
from deepmix.data import SplitOptions
from deepmix.data.arrange import split_rows
from deepmix.maths import Array

IN_CODES = "codes: "
"""Begins the name of a partition that a method found in the codes."""

DECISIONS = ("gaussian", "simplest")
"""Criteria that outweigh all others in `auto`, where they are there."""

ELBO, JOINT_AGREEMENT = "elbo", "agreement with all"
CRITERIA_IN_CODES = ("cut in codes", "gap in codes", "likelihood in codes")

RULES = {
    "ELBO": (ELBO,),
    "agreement": ("agreement",),
    "agreement + ELBO": ("agreement", ELBO),
    "as `auto`": (*CRITERIA, *DECISIONS),
    "as `auto`, + ELBO": (*CRITERIA, *DECISIONS, ELBO),
    "as `auto`, + the criteria in the codes": (*CRITERIA, *DECISIONS, *CRITERIA_IN_CODES),
}
"""Criteria whose sum chooses a partition, by the rule's name."""


@dataclass(frozen=True)
class Candidates:
    """What is known of the partitions of a table's training rows."""

    battery: str
    name: str
    seconds: float
    """CPU seconds of all trainings."""
    methods: dict[str, dict[str, float]]
    """By partition: the criteria of `auto`, whose `agreement` is that with the partitions in the rows, `agreement with
    all` partitions, the other criteria measured in the codes, `elbo` of held-out rows in nats, and `ari`."""


class _StopError(Exception):
    """Ends a fit once it has shown the training rows, before it trains."""


def training_rows(model: DeepMixture, x_ND: Array) -> TrainingRows:
    """Return the training rows and their codes, as an initial clustering sees them."""
    shown: list[TrainingRows] = []

    def capture(_: AutoInitializer, rows: TrainingRows, *__: int) -> Array:
        shown.append(rows)
        raise _StopError

    try:
        with patch.object(AutoInitializer, "initial_labels", capture):
            model.fit(x_ND)
    except _StopError:
        pass
    return shown[0]


def elbo_after_training(model: DeepMixture, x_ND: Array, label_N: Array) -> float:
    """Return the held-out rows' bound, in nats per row, after a training from these labels of the training rows."""
    with patch.object(AutoInitializer, "initial_labels", lambda *_: label_N), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # poor labels are tried on purpose
        return float(model.fit(x_ND).metrics_["elbo"]["test"])


def compare(table: Table, seed: int, most_rows: int, epochs: int, pretrain_epochs: int) -> Candidates:
    """Return the criteria and the index of each partition of a table."""
    sample = some_rows(np.arange(len(table.x_ND)), most_rows, seed)
    train, _ = split_rows(len(sample), None, SplitOptions())
    x_ND, n_clusters = table.x_ND[sample], table.n_clusters
    scored_N, reference_N = table.scored_N[sample][train], table.label_N[sample][train]
    model = DeepMixture(n_clusters, epochs=epochs, pretrain_epochs=pretrain_epochs, random_state=seed)
    rows = training_rows(model, x_ND)
    initializer = AutoInitializer(AutoInitializer.Options())
    initializer.initial_labels(rows, n_clusters, seed)
    if initializer.choice is None:
        raise SystemExit(f"{table.battery}/{table.name} has fewer distinct rows than clusters")
    features, codes = (space.astype(np.float64) for space in (rows.x_ND, rows.code_NM))
    in_codes = run_methods(cheap_methods(codes, n_clusters, seed, None), n_clusters)
    partitions = {**initializer.choice.label_M, **{IN_CODES + name: label_N for name, label_N in in_codes.items()}}
    labels, own_criteria = list(partitions.values()), initializer.choice.criteria
    criteria = score_alone(features, labels, seed)
    criteria[JOINT_AGREEMENT] = agreement_matrix(labels).mean(axis=1)
    criteria |= dict(zip(CRITERIA_IN_CODES, score_alone(codes, labels, seed).values(), strict=True))
    started, methods = time.process_time(), {}
    elbos: dict[bytes, float] = {}  # several methods often find the same partition
    for i, (name, label_N) in enumerate(partitions.items()):
        if (key := label_N.tobytes()) not in elbos:
            elbos[key] = elbo_after_training(model, x_ND, label_N)
        values = {criterion: float(value_P[i]) for criterion, value_P in criteria.items()}
        own = {c: value for c, value in own_criteria.get(name, {}).items() if c in ("agreement", *DECISIONS)}
        ari = float(adjusted_rand_score(reference_N[scored_N], label_N[scored_N]))
        methods[name] = {**values, **own, ELBO: elbos[key], "ari": ari}
    return Candidates(table.battery, table.name, time.process_time() - started, methods)


def index_by(result: Candidates, criteria: tuple[str, ...], *, codes: bool) -> float:
    """Return the index of the partition with the largest sum of these criteria, with those of the codes or without."""
    methods = [values for name, values in result.methods.items() if codes or not name.startswith(IN_CODES)]
    value_P = {}
    for name in criteria:
        used = JOINT_AGREEMENT if codes and name == "agreement" else name
        value_P[name] = np.array([method.get(used, 0.0) for method in methods])
    return methods[int(total_score(value_P).argmax())]["ari"]


def indices(result: Candidates) -> dict[str, float]:
    """Return the index of the best partition by its labels, and of the one that each rule chooses."""
    values = {}
    for codes, of in ((False, "rows"), (True, "rows and codes")):
        indices_P = [m["ari"] for name, m in result.methods.items() if codes or not name.startswith(IN_CODES)]
        values[f"{of}: best by the labels"] = max(indices_P)
        values |= {f"{of}: {name}": index_by(result, rule, codes=codes) for name, rule in RULES.items()}
    return values


def report(by_table: dict[tuple[str, str], dict[str, float]]) -> list[str]:
    """Return a table of mean indices by rule and battery; `suite` is the mean over the suite's tables."""
    batteries = list(dict.fromkeys(battery for battery, _ in by_table))
    lines = ["| | suite | " + " | ".join(batteries) + " |", "|---|---|" + "---|" * len(batteries)]
    for rule in next(iter(by_table.values())):
        own = {battery: [v[rule] for (b, _), v in by_table.items() if b == battery] for battery in batteries}
        suite = [value for battery, values in own.items() if battery != "real" for value in values]
        cells = [f"{np.mean(values):.3f}" if values else "" for values in (suite, *own.values())]
        lines.append(f"| {rule} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", type=existing_file, help="the suite's .npz file")
    parser.add_argument("--json", type=Path, help="where to write the figures, after each table")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most-rows", type=int, default=1000, help="rows of a table that are used, drawn at random")
    parser.add_argument("--epochs", type=int, default=100, help="of each short training")
    parser.add_argument("--pretrain-epochs", type=int, default=100)
    parser.add_argument("--jobs", type=positive, default=1, help="tables at a time")
    options = parser.parse_args()
    every = itertools.chain(suite_tables(options.suite) if options.suite else (), real_tables())
    tables = [table for table in every if table.x_ND.shape[1] <= WIDE]
    compare_one = partial(
        compare,
        seed=options.seed,
        most_rows=options.most_rows,
        epochs=options.epochs,
        pretrain_epochs=options.pretrain_epochs,
    )
    by_table: dict[tuple[str, str], dict[str, float]] = {}
    figures = []
    with ProcessPoolExecutor(options.jobs) as pool:
        for result in pool.map(compare_one, tables):
            by_table[result.battery, result.name] = values = indices(result)
            figures.append({"battery": result.battery, "name": result.name, "seconds": result.seconds, "ari": values})
            print(
                f"{result.battery}/{result.name}: best {values['rows: best by the labels']:.3f}, by ELBO "
                f"{values['rows: ELBO']:.3f}, auto {values['rows: as `auto`']:.3f}, {result.seconds:.0f} s",
                flush=True,
            )
            if options.json:
                options.json.write_text(json.dumps(figures, indent=1) + "\n")
    print("\n".join(report(by_table)))


if __name__ == "__main__":
    main()
