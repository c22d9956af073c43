"""Evaluation of a finished run with other heads or on other data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepmix import runs
from deepmix.contracts import ClusteringHead
from deepmix.data import Split, fingerprint, known_labels
from deepmix.errors import UsageError, option
from deepmix.experiment import (
    ExperimentConfig,
    check_heads,
    load_data,
    make_head,
    measure_clusters,
    n_labelled,
    resolve,
    with_heads,
)
from deepmix.inference.loaded import LoadedRun
from deepmix.maths import Array, Inference


def evaluate_run(
    run: LoadedRun,
    heads: Sequence[str] = (),
    dataset: str | None = None,
    label_column: str | None = None,
    data_dir: str | None = None,
) -> runs.Evaluation:
    """Measure a run's heads, or others, on its own data or other data.

    Args:
        run: the run.
        heads: names of heads; those that the run did not store are fitted to its training rows. If empty, the run's
            own heads.
        dataset: a data set's name or a file; None takes the run's own data, with its training and test rows apart.
        label_column: the file's column of labels.
        data_dir: folder of prepared data sets.

    Returns:
        The figures of every head and the ELBO, by side; other data have the single side 'all'.

    Raises:
        UsageError: the data can't be read, or does not fit the run.

    """
    data_dir = data_dir or run.config.data_dir
    names = heads or run.config.heads
    unknown = [name for name in names if name not in run.heads]
    if dataset is None:
        split = own_data(run, data_dir)
        sides = {
            "train": (split.x[split.train], None if split.labels is None else split.labels[split.train]),
            "test": (split.x[split.test], None if split.labels is None else split.labels[split.test]),
        }
    else:
        config = dataclasses.replace(run.config, dataset=dataset, label_column=label_column, data_dir=data_dir)
        sides = {"all": _other_data(run, config)}
    inferences, elbo = {}, {}
    for side, (x, _) in sides.items():
        inferences[side], parts = run.evaluate(x)
        elbo[side] = parts["elbo"]
    fitted: dict[str, ClusteringHead] = {name: run.heads[name] for name in names if name in run.heads}
    if unknown:
        training = inferences["train"] if "train" in inferences else run.infer(_training_rows(run, data_dir))
        fitted |= _fit(run, unknown, training)
    figures = {
        name: {
            side: _measure(run, inferences[side], fitted[name].predict(inferences[side]), labels)
            for side, (_, labels) in sides.items()
        }
        for name in names
    }
    return runs.Evaluation(figures, elbo)


def _measure(run: LoadedRun, inference: Inference, clusters: Array, labels: Any) -> runs.HeadFigures:
    """Return the figures of one side; the metrics that need labels leave out rows whose class is unknown."""
    scored_N = np.zeros(len(clusters), dtype=bool) if labels is None else known_labels(n_labelled(run.parts), labels)
    return measure_clusters(
        inference.latent_NM, clusters, labels, scored_N, n_components=run.n_components, seed=run.config.seed
    )


def own_data(run: LoadedRun, data_dir: str | None = None) -> Split:
    """Read again the data that a run was trained on.

    Raises:
        UsageError: the data are gone or have changed.

    """
    config = dataclasses.replace(run.config, data_dir=data_dir or run.config.data_dir)
    split = load_data(config, run.parts)
    if fingerprint(split) != run.record.data.fingerprint:
        raise UsageError(
            f"'{config.dataset}' has changed since '{run.store.path}' was trained on it; "
            f"name data with {option('dataset')}"
        )
    return split


def _training_rows(run: LoadedRun, data_dir: str | None) -> Any:
    split = own_data(run, data_dir)
    return split.x[split.train]


def _fit(run: LoadedRun, names: Sequence[str], training: Inference) -> dict[str, ClusteringHead]:
    """Fit heads to the model's inference on the training rows; a head that the run does not have uses its defaults."""
    parts = with_heads(run.parts, names)
    check_heads(dataclasses.replace(run.config, heads=tuple(names)), parts)
    heads = {name: make_head(name, parts) for name in names}
    for head in heads.values():
        head.fit(training, run.n_components, run.config.seed)
    return heads


def _other_data(run: LoadedRun, config: ExperimentConfig) -> tuple[Any, Any]:
    """Return all rows of a data set, prepared as the run's training rows were, and its labels."""
    own = resolve(ExperimentConfig(dataset=config.dataset))
    if config.label_column is None and run.config.label_column is not None and Path(config.dataset).is_file():
        try:
            return _other_data(run, dataclasses.replace(config, label_column=run.config.label_column))
        except UsageError:
            pass  # the file has no labels; if anything else is wrong with it, the code below reports it
    split = load_data(config, own)
    columns = split.preparation.columns
    return run.prepare(split.preparation.undo(split.x), None if columns is None else list(columns)), split.labels
