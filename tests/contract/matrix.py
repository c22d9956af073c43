"""Every model with every prior, likelihood and head: each combination is a run of two epochs, or one sentence.

`python -m tests.contract.matrix --out FILE.json` tries all combinations of the installed plugins; the tests try one per
model, in which the other kinds take turns. A run can have many heads, as heads don't see each other.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sklearn.datasets import load_digits

from deepmix.contracts import registry
from deepmix.errors import DeepmixError
from deepmix.experiment import ExperimentConfig, prepare_experiment, run_experiment
from deepmix.runs import RunFolder
from deepmix.training import SilentReporter

N_ROWS = 80
TINY = {"epochs": "1", "pretrain_epochs": "1", "latent_dim": "2", "components": "3"}
"""Two epochs in all."""


OWN = "own"
"""Stands for the prior of the model itself."""
SLOW_HEADS = ("umap-gmm",)
"""Heads that are left out: compiling UMAP takes 20 s. tests/unit/builtins/test_umap_head.py tests it."""


@dataclass(frozen=True)
class Cell:
    """One combination, and what came of it."""

    model: str
    prior: str
    likelihood: str
    heads: tuple[str, ...]
    sentence: str | None = None
    """The error's message; None: the run was finished."""


def names(kind: str) -> list[str]:
    """Return the names of the installed plugins of a kind that are tried."""
    return [name for name in registry.by_shortest_name(kind) if kind != "heads" or name not in SLOW_HEADS]


def all_cells() -> Iterator[Cell]:
    """Yield every combination of model, prior and likelihood, with all heads."""
    for model, prior, likelihood in itertools.product(names("models"), [OWN, *names("priors")], names("likelihoods")):
        yield Cell(model, prior, likelihood, tuple(names("heads")))


def sample() -> Iterator[Cell]:
    """Yield one combination per model, in which the other kinds take turns."""
    priors, likelihoods, heads = [OWN, *names("priors")], names("likelihoods"), names("heads")
    for number, model in enumerate(names("models")):
        prior, likelihood = priors[number % len(priors)], likelihoods[number % len(likelihoods)]
        yield Cell(model, prior, likelihood, (heads[number % len(heads)],))


def rows() -> np.ndarray:
    """Return Digits in black and white, (N, 8, 8): values that most likelihoods take."""
    return (load_digits().images[:N_ROWS] > 7.0).astype(np.float32)


def attempt(cell: Cell, folder: Path) -> Cell:
    """Do a run below a folder, and return what came of it; an error that is not one sentence is raised."""
    settings = {**TINY, "likelihood": cell.likelihood}
    file = folder / "digits.npy"
    if not file.exists():
        np.save(file, rows())
    prior = None if cell.prior == OWN else cell.prior
    config = ExperimentConfig(
        dataset=str(file), model=cell.model, prior=prior, init="kmeans", heads=cell.heads, settings=settings,
        baselines=False,
    )  # fmt: skip
    sentence = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            run_experiment(
                prepare_experiment(config), RunFolder.create(folder / "run", overwrite=True), SilentReporter()
            )
        except DeepmixError as error:
            sentence = str(error)
            if not sentence or "\n" in sentence:
                raise
    return Cell(cell.model, cell.prior, cell.likelihood, cell.heads, sentence)


def main(arguments: Sequence[str] | None = None) -> None:
    """Try all combinations and write them to a file."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    begin, cells = time.perf_counter(), []
    with TemporaryDirectory() as name:
        for cell in all_cells():
            cells.append(attempt(cell, Path(name)))
            print(f"{cell.model} {cell.prior} {cell.likelihood}: {cells[-1].sentence or 'ok'}", flush=True)
    counts = Counter("a sentence" if cell.sentence else "a finished run" for cell in cells)
    result = {"counts": counts, "seconds": time.perf_counter() - begin, "cells": [asdict(cell) for cell in cells]}
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(dict(counts))


if __name__ == "__main__":
    main()
