"""Every model with every prior, likelihood and head: each combination is a run of two epochs, or one sentence.

`python -m tests.contract.matrix --out FILE.json` tries all combinations of the installed plugins and of the
distributions in `plugins/`; `--markdown FILE.md` writes the counts. The tests try one combination per model, in which
the other kinds take turns. Heads see only the latents and q(y|x), so they take turns too, one per run; `--all-heads`
fits all of them in every run. What a run measures about the data alone is left out, as no part takes part in it.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import random
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import numpy as np
from sklearn.datasets import load_digits

from deepmix.contracts import registry
from deepmix.data import ColumnOptions, TableOptions
from deepmix.errors import DeepmixError
from deepmix.experiment import ExperimentConfig, prepare_experiment, resolve, run_experiment
from deepmix.runs import RunFolder
from deepmix.training import SilentReporter
from tests.plugins.conftest import install_distributions

N_ROWS = 80
TINY = {"epochs": "1", "pretrain_epochs": "1", "latent_dim": "2", "components": "3"}
"""Two epochs in all."""


OWN = "own"
"""Stands for the prior of the model itself."""
AUTO = "auto"
"""The likelihood that deepmix chooses."""
SLOW_HEADS = ("umap-gmm",)
"""Heads that are left out: compiling UMAP takes 20 s. tests/unit/builtins/test_umap_head.py tests it."""
BROKEN = "breaks its contract"
"""Words of an error that no combination of sound parts may end in."""
LEVELS = ("low", "middle", "high")


@dataclass(frozen=True)
class Cell:
    """One combination, and what came of it."""

    model: str
    prior: str
    likelihood: str
    heads: tuple[str, ...]
    sentence: str | None = None
    """The error's message; None: the run was finished."""
    is_sentence: bool = True
    """Whether that message is one that a user can read and act on: no traceback, and no contract that a part breaks."""
    failed_heads: tuple[str, ...] = ()
    """The heads that a finished run left out, as they failed."""

    @property
    def outcome(self) -> str:
        """What came of it, in words; messages that differ in names and numbers alone are the same."""
        if self.sentence is None:
            return f"a run without {', '.join(self.failed_heads)}" if self.failed_heads else "a run"
        text = re.sub(r"'[^']*'", "'...'", self.sentence).partition("; choose one of: ")[0]
        text = re.sub(r"\d[\d.e+-]*", "N", text)
        return text if self.is_sentence else f"WRONG {text}"


def names(kind: str) -> list[str]:
    """Return the names of the installed plugins of a kind that are tried."""
    return [name for name in registry.by_shortest_name(kind) if kind != "heads" or name not in SLOW_HEADS]


def heads_of(model: str) -> tuple[list[str], list[str]]:
    """Return the heads that a model can have, and those that need a mixture where it is none."""
    parts = resolve(ExperimentConfig(model=model, heads=tuple(names("heads"))))
    refused = [
        name for name in names("heads") if parts.plan.single_component and parts.classes[f"head.{name}"].needs_mixture
    ]
    return [name for name in names("heads") if name not in refused], refused


def all_cells(*, all_heads: bool) -> Iterator[Cell]:
    """Yield every combination of model, prior and likelihood, each with all heads or with one of them in turn.

    A model without a mixture comes once more with each head that needs one.
    """
    for model in names("models"):
        heads, refused = heads_of(model)
        turns = itertools.cycle(heads)
        yield Cell(model, OWN, AUTO, tuple(heads))
        for prior, likelihood in itertools.product([OWN, *names("priors")], names("likelihoods")):
            yield Cell(model, prior, likelihood, tuple(heads) if all_heads else (next(turns),))
        for head in refused:
            yield Cell(model, OWN, AUTO, (head,))


def sample() -> Iterator[Cell]:
    """Yield one combination per model, in which the other kinds take turns."""
    priors, likelihoods, heads = [OWN, *names("priors")], names("likelihoods"), names("heads")
    for number, model in enumerate(names("models")):
        prior, likelihood = priors[number % len(priors)], likelihoods[number % len(likelihoods)]
        yield Cell(model, prior, likelihood, (heads[number % len(heads)],))


def write_digits(folder: Path, support: str) -> Path:
    """Write Digits with values of a support, (N, 8, 8) or a table of levels, unless it is there; return the file."""
    image_NHW = load_digits().images[:N_ROWS]
    file = folder / f"digits-{support}.{'csv' if support == 'level' else 'npy'}"
    if file.exists():
        return file
    if support == "level":
        level_ND = np.array(LEVELS)[np.digitize(image_NHW.reshape(N_ROWS, -1)[:, 18:46:3], [4.0, 11.0])]
        with file.open("w", newline="") as stream:
            csv.writer(stream).writerows([[f"p{column}" for column in range(level_ND.shape[1])], *level_ND])
    else:
        np.save(file, (image_NHW > 7.0).astype(np.float32) + (support == "positive"))
    return file


def attempt(cell: Cell, folder: Path) -> Cell:
    """Do a run below a folder, and return what came of it."""
    support = "real" if cell.likelihood == AUTO else registry.load_plugin("likelihoods", cell.likelihood).support
    file, table = write_digits(folder, support), None
    settings = {**TINY, "likelihood": cell.likelihood, "scale": "none"}
    if support == "level":
        del settings["likelihood"], settings["scale"]
        kind = ColumnOptions("ordinal", cell.likelihood, LEVELS)
        columns = next(csv.reader(file.read_text().splitlines()))
        table = TableOptions(columns=dict.fromkeys(columns, kind))
    config = ExperimentConfig(
        dataset=str(file), model=cell.model, prior=None if cell.prior == OWN else cell.prior, init="kmeans",
        heads=cell.heads, settings=settings, table=table, baselines=False,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            store = RunFolder.create(folder / "run", overwrite=True)
            results = run_experiment(prepare_experiment(config), store, SilentReporter())
        except DeepmixError as error:
            text = str(error)
            return replace(cell, sentence=text, is_sentence=text != "" and "\n" not in text and BROKEN not in text)
        except Exception as error:
            return replace(cell, sentence=f"{type(error).__name__}: {error}", is_sentence=False)
    failed = tuple(head for head in cell.heads if head not in results.metrics.heads)
    return replace(cell, failed_heads=failed)


PAGE = """# Every model with every prior, likelihood and head

`python -m tests.contract.matrix` on {date}: {rows} rows of Digits, 1 + 1 epochs, {drawn}, of
which {runs} are finished runs and {sentences} end in one sentence.

{parts}

Values are black and white for most likelihoods, 1 and 2 where they must be positive, and a table of levels for
`categorical` and `ordinal`. Each model has one run with all heads that it can have; in the others its heads take turns.
`'...'` and N stand for names and numbers.

| combinations | what came of them |
|---|---|
{lines}
"""


def page(cells: Sequence[Cell], n_planned: int) -> str:
    """Return the counts as a page; `n_planned` is the number of all combinations."""
    extent = f"{len(cells)} combinations" if len(cells) == n_planned else f"{len(cells)} of {n_planned} drawn at random"
    kinds = ("models", "priors", "likelihoods", "heads")
    parts = "\n".join(f"- {kind}: {', '.join(f'`{name}`' for name in names(kind))}" for kind in kinds)
    runs = sum(cell.sentence is None for cell in cells)
    counts = Counter(cell.outcome for cell in cells).most_common()
    lines = "\n".join(f"| {count} | {outcome} |" for outcome, count in counts)
    values = {"rows": N_ROWS, "drawn": extent, "runs": runs, "sentences": len(cells) - runs}
    return PAGE.format(date=time.strftime("%Y-%m-%d"), parts=parts, lines=lines, **values)


def main(arguments: Sequence[str] | None = None) -> None:
    """Try all combinations and write them to a file."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--markdown", type=Path, help="the counts as a page")
    parser.add_argument("--all-heads", action="store_true", help="fit all heads in every run")
    parser.add_argument("--models", nargs="*", help="try these models alone")
    parser.add_argument("--minutes", type=float, help="draw combinations at random, and stop after so many minutes")
    options = parser.parse_args(arguments)
    begin, cells = time.perf_counter(), []
    with (
        TemporaryDirectory() as name,
        mock.patch("deepmix.experiment.run.measure_stability", return_value=None),
        mock.patch("deepmix.experiment.run.warnings_on_groups", return_value=[]),
    ):
        (site := Path(name, "site")).mkdir()
        install_distributions(site)
        planned = [
            cell
            for cell in all_cells(all_heads=options.all_heads)
            if not options.models or cell.model in options.models
        ]
        n_planned = len(planned)
        if options.minutes is not None:
            random.Random(0).shuffle(planned)
        for cell in planned:
            if options.minutes is not None and time.perf_counter() - begin > 60.0 * options.minutes:
                break
            cells.append(attempt(cell, Path(name)))
            print(f"{cell.model} {cell.prior} {cell.likelihood}: {cells[-1].outcome}", flush=True)
        counts = dict(Counter(cell.outcome for cell in cells))
        result = {"counts": counts, "seconds": time.perf_counter() - begin, "cells": [asdict(cell) for cell in cells]}
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        if options.markdown is not None:
            options.markdown.write_text(page(cells, n_planned), encoding="utf-8")
    print(json.dumps(counts, indent=1))
    sys.exit(any(not cell.is_sentence for cell in cells))


if __name__ == "__main__":
    main()
