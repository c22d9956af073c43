"""Evaluation of a finished run with other heads or on other data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepmix import runs
from deepmix.contracts import ClusteringHead
from deepmix.data import (
    LabelColumn,
    Split,
    check_labels,
    frame_labels,
    is_table_file,
    known_labels,
    label_position,
    read_frame,
    sample_rows,
)
from deepmix.errors import UsageError
from deepmix.experiment import (
    ExperimentConfig,
    check_dataset,
    check_heads,
    load_data,
    make_head,
    measure_clusters,
    metric_failures,
    n_labelled,
    resolve,
    with_heads,
    without_download,
)
from deepmix.inference.loaded import LoadedRun
from deepmix.maths import Array, Inference
from deepmix.training import ALONE, Ranks


def evaluate_run(
    run: LoadedRun,
    heads: Sequence[str] = (),
    dataset: str | None = None,
    label_column: str | None = None,
    data_dir: str | None = None,
    ranks: Ranks = ALONE,
) -> runs.Evaluation:
    """Measure a run's heads, or others, on its own data or other data.

    Several processes share the passes through the model; the first one has the result of all rows, fits the heads and
    measures.

    Args:
        run: the run.
        heads: names of heads; those that the run did not store are fitted to its training rows. If empty, the run's
            own heads.
        dataset: a data set's name or a file; None takes the run's own data, with its training and test rows apart.
        label_column: the file's column of labels.
        data_dir: folder of prepared data sets.
        ranks: the processes, all of which call this.

    Returns:
        The figures of every head and the ELBO, by side; other data have the single side 'all'. The figures of the
        heads are the first process's alone.

    Raises:
        UsageError: the data can't be read, or does not fit the run.

    """
    names = heads or run.config.heads
    unknown = [name for name in names if name not in run.heads]
    notes: list[str] = []
    if dataset is None:
        split = _in_memory(run.training_data(data_dir=data_dir), run, notes)
        sides = {side: _side(split, getattr(split, side)) for side in ("train", "test")}
    else:
        folder = data_dir or run.config.data_dir
        config = dataclasses.replace(run.config, dataset=dataset, label_column=label_column, data_dir=folder)
        sides = {"all": _other_data(run, config, may_fetch=data_dir is not None)}
    inferences, elbo = {}, {}
    for side, rows in sides.items():
        notes += rows.notes
        inference, parts = run.evaluate(rows.prepared, ranks)
        inferences[side] = dataclasses.replace(inference, weight_N=rows.weights)
        elbo[side] = parts["elbo"]
    fitted: dict[str, ClusteringHead] = {name: run.heads[name] for name in names if name in run.heads}
    if unknown:
        training = (
            inferences["train"] if "train" in inferences else run.infer(_training_rows(run, data_dir), ranks=ranks)
        )
    if not ranks.is_first:
        return runs.Evaluation({}, elbo)
    if unknown:
        fitted |= _fit(run, unknown, training)
    figures = {
        name: {
            side: _measure(run, inferences[side], fitted[name].predict(inferences[side]), rows)
            for side, rows in sides.items()
        }
        for name in names
    }
    return runs.Evaluation(figures, elbo, (*notes, *metric_failures()))


@dataclass(frozen=True)
class _Evaluated:
    """Rows to be evaluated."""

    prepared: Any
    """As the model takes them."""
    labels: Array | None
    known: Array | None
    """Whether each label is known, (N,); None: all are."""
    weights: Array | None
    notes: tuple[str, ...] = ()
    """What the user should know of the rows, in words."""


def _in_memory(split: Split, run: LoadedRun, notes: list[str]) -> Split:
    """Return a data set, or the sample of it that is measured where its rows stay on disk, and add a note on that."""
    if not split.is_stored:
        return split
    sample, _ = sample_rows(split, run.config.seed)
    notes.append(
        f"the rows stay on disk; the figures are of a sample of {len(sample.train)} training and {len(sample.test)} "
        "held-out rows"
    )
    return sample


def _side(split: Split, numbers: Array | slice) -> _Evaluated:
    """Return some rows of a data set."""
    labels, known, weights = (
        None if part is None else part[numbers] for part in (split.labels, split.known, split.weights)
    )
    return _Evaluated(split.take(numbers), labels, known, weights)


def _measure(run: LoadedRun, inference: Inference, clusters: Array, rows: _Evaluated) -> runs.HeadFigures:
    """Return the figures of one side; the metrics that need labels leave out rows whose class is unknown."""
    scored_N = np.zeros(len(clusters), dtype=bool)
    if rows.labels is not None:
        scored_N = known_labels(n_labelled(run.parts), rows.labels)
        scored_N = scored_N if rows.known is None else scored_N & rows.known
    return measure_clusters(
        inference.latent_NM,
        clusters,
        rows.labels,
        scored_N,
        n_components=run.n_components,
        seed=run.config.seed,
        weight_N=rows.weights,
    )


def _training_rows(run: LoadedRun, data_dir: str | None) -> Any:
    split = _in_memory(run.training_data(data_dir=data_dir), run, [])
    return _side(split, split.train).prepared


def _fit(run: LoadedRun, names: Sequence[str], training: Inference) -> dict[str, ClusteringHead]:
    """Fit heads to the model's inference on the training rows; a head that the run does not have uses its defaults."""
    parts = with_heads(run.parts, names)
    check_heads(dataclasses.replace(run.config, heads=tuple(names)), parts)
    heads = {name: make_head(name, parts) for name in names}
    for head in heads.values():
        head.fit(training, run.n_components, run.config.seed)
    return heads


def _other_data(run: LoadedRun, config: ExperimentConfig, *, may_fetch: bool) -> _Evaluated:
    """Return all rows of a data set, prepared as the run's training rows were, and its labels."""
    if run.schema is not None:
        return _other_table(run, Path(config.dataset), config.label_column)
    own = resolve(ExperimentConfig(dataset=config.dataset))
    if own.plugins.get("format") == run.parts.plugins.get("format") is not None:
        own = dataclasses.replace(own, options={**own.options, "format": run.parts.options["format"]})
    if config.label_column is None and run.config.label_column is not None and Path(config.dataset).exists():
        try:
            labelled = dataclasses.replace(config, label_column=run.config.label_column)
            return _other_data(run, labelled, may_fetch=may_fetch)
        except UsageError:
            pass  # the file has no labels; if anything else is wrong with it, the code below reports it
    split = load_data(config, own if may_fetch else without_download(own), as_array=True)
    notes: list[str] = []
    split = _in_memory(split, run, notes)
    whole = _side(split, slice(None))
    columns = split.preparation.columns
    prepared = run.prepare(split.preparation.undo(split.x), None if columns is None else list(columns))
    return dataclasses.replace(whole, prepared=prepared, notes=tuple(notes))


def _other_table(run: LoadedRun, path: Path, label_column: str | None) -> _Evaluated:
    """Return all rows of a table file for a run on a table; its columns have the kinds that they had in training.

    Raises:
        UsageError: the data are not a table file, or columns do not fit; a label column that is named here is missing.

    """
    assert run.schema is not None
    if not is_table_file(path):
        check_dataset(str(path), None if run.config.data_dir is None else Path(run.config.data_dir))
        raise UsageError(f"the run was trained on a table, and '{path}' is an array; name a table file")
    names = [column.name for column in run.schema.columns]
    names += [] if label_column is None else [label_column]
    frame = read_frame(path, run.schema.missing_marks, names=names, text_columns=run.schema.text_columns)
    own_label = next((column.name for column in run.schema.columns if column.kind == "label"), None)
    if label_column is None and own_label in frame and frame[own_label].notna().any():
        label_column = own_label
    position = label_position(frame, LabelColumn(label_column))
    labels, known = None, None
    if position is not None:
        labels, known = check_labels(frame_labels(frame, position), len(frame))
        frame = frame.drop(columns=frame.columns[position])
    rows, notes = run.encode(frame)
    return _Evaluated(rows, labels, known, rows.weights, notes)
