"""The run of an experiment; the command line and the estimator both call it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from deepmix import metrics, runs
from deepmix.contracts import Initializer, Model, Progress, TrainingRows
from deepmix.data import Rows, Split, revealed_labels, sample_rows
from deepmix.errors import UsageError, option
from deepmix.experiment.assembly import build_model, model_likelihood
from deepmix.experiment.assigner import Assigner
from deepmix.experiment.baselines import compare_baselines, keeps_choice, standard_judge
from deepmix.experiment.cautions import overconfident, unclear_clusters, warnings_on_baselines, worse_than_start
from deepmix.experiment.cluster_generators import fit_cluster_latents
from deepmix.experiment.clustered_rows import clustered_rows, labels_at
from deepmix.experiment.clustering_features import clustering_features, without_conditions
from deepmix.experiment.component_notes import choice_note, warnings_on_groups
from deepmix.experiment.describe import describe
from deepmix.experiment.far_rows import warnings_on_far_rows
from deepmix.experiment.fitted_heads import fit_heads, record_heads
from deepmix.experiment.guards import checked_clusters
from deepmix.experiment.initial_choice import choice_record
from deepmix.experiment.parts import n_labelled
from deepmix.experiment.plugin_metrics import declare_installed, metric_failures
from deepmix.experiment.prepare import Experiment
from deepmix.experiment.results import (
    bounds_of,
    count_parameters,
    initial_baseline,
    measure_heads,
    neighbour_errors,
    write_assignments,
)
from deepmix.experiment.stability import RowStability, measure_stability
from deepmix.experiment.stored_assignments import with_sizes, write_stored_assignments
from deepmix.experiment.stored_results import sample_note
from deepmix.experiment.tracking import Trackers
from deepmix.maths import Array, Inference, single_blas_thread
from deepmix.models import ObjectiveOptions
from deepmix.runs import Baselines, EpochRecord, InitialChoice, Metrics, ModelHeader, RowCounts, RunConfig
from deepmix.training import (
    Reporter,
    Trainer,
    TrainingOptions,
    diagnose,
    evaluate_rows,
    learns_by_gradient,
    warnings_on_steps,
)

Watch = Callable[[Model, str, EpochRecord], None]
"""Called after each epoch with the model, the stage and the epoch's record."""


@dataclass(frozen=True)
class RunResults:
    """The results of a finished run: its metrics and the data of its report."""

    metrics: Metrics
    """The content of metrics.json."""
    model: Model
    """The trained model."""
    inferences: Mapping[str, Inference]
    """q(y|x) and the latents of the training and the test rows, by side."""
    clusters: Mapping[str, Mapping[str, Array]]
    """The clusters from each head, by side, (N,) int64."""
    split: Split
    """The rows that these are of: the data set, or the sample of it that is analysed where it stays on disk."""


def run_experiment(
    experiment: Experiment,
    folder: runs.RunStore,
    reporter: Reporter,
    *,
    resume: bool = False,
    report: bool = True,
    watch: Watch | None = None,
    conclude: Callable[[RunResults], None] | None = None,
) -> RunResults:
    """Do a run from its beginning or its checkpoint to its end, and fill its folder.

    Where several processes train together, the first one calls this and the others call `assist_run`.

    Args:
        experiment: the experiment.
        folder: the run folder; new and empty, or with `resume` one that was started with this configuration.
        reporter: receives stages, epochs and notes.
        resume: whether to resume from the folder's checkpoint.
        report: whether the caller writes a report at the end; recorded, so that resuming does the same.
        watch: called after every epoch with the model, which it must not change.
        conclude: called with the results before trackers see the end of the run; it writes the report.

    Raises:
        DeepmixError: a step fails; finished files stay in the folder.

    """
    trackers = Trackers(experiment.parts, folder, reporter)
    try:
        results = _run(experiment, folder, reporter, trackers, resume=resume, report=report, watch=watch)
        if conclude is not None:
            conclude(results)
    except BaseException as error:
        trackers.stopped(error)
        raise
    trackers.finished(results.metrics)
    return results


def _run(
    experiment: Experiment,
    folder: runs.RunStore,
    reporter: Reporter,
    trackers: Trackers,
    *,
    resume: bool,
    report: bool,
    watch: Watch | None,
) -> RunResults:
    """Do the run; the arguments are those of `run_experiment`."""
    config, parts, whole = experiment.config, experiment.parts, experiment.split
    n_components, device, ranks = experiment.n_components, experiment.device, experiment.ranks
    model = build_model(parts, whole, n_components, config.seed).to(device)
    training: TrainingOptions = parts.options["training"]
    if not resume:
        folder.write(describe(experiment, model, report=report))
        folder.keep_epochs(0)  # a model that is not trained has a file without lines
    trackers.run_started()
    for text in (*whole.warnings, *declare_installed()):
        reporter.note(text)
    n_columns, likelihood = whole.x.shape[1], f"{model_likelihood(parts, whole)} likelihood"
    if whole.schema is not None:
        n_columns, likelihood = len(whole.schema.modelled), "one likelihood per column"
    columns = f"{n_columns} column{'' if n_columns == 1 else 's'}"
    reporter.note(
        f"{config.dataset}: {len(whole.train)} training and {len(whole.test)} test rows of {columns}, "
        f"{whole.preprocessing}; {likelihood}, {n_components} cluster{'' if n_components == 1 else 's'}"
    )

    choice = folder.read(RunConfig).component_choice  # a run that is resumed does not choose again
    if choice is not None:
        reporter.note(choice_note(choice))

    split, positions = (whole, None) if not whole.is_stored else sample_rows(whole, config.seed)
    rows = {"train": Rows(split.rows, split.train, device), "test": Rows(split.rows, split.test, device)}
    training_rows, sample = (rows["train"], None)

    @cache
    def clustered() -> Split:
        return clustered_rows(whole, split, model.n_components, config.seed, ranks) if whole.is_stored else split

    def placed_rows() -> Rows:
        return Rows(clustered().rows, clustered().train, device)

    if whole.is_stored:
        training_rows, sample = Rows(whole.rows, whole.train, device), placed_rows
        reporter.note(sample_note(split))
    progress = _Watched(reporter, model, trackers, watch)
    objective: ObjectiveOptions = parts.options["objective"]
    trainer = Trainer(model, training_rows, training, objective, config.seed, folder, progress, ranks, sample)
    if ranks.size > 1 and learns_by_gradient(model):
        reporter.note(ranks.traffic(count_parameters(model)))
    if resume:
        _refuse_other_data(folder, whole)
        trainer.restore()
    initializer: Initializer = parts.classes["initializer"](parts.options["initializer"])
    n_model, supervision, n_values = model.n_components, n_labelled(parts), math.prod(whole.x.shape)

    table_features: Any = None  # of a table, whose missing features take seconds to predict

    def initial_labels(code_NM: Array) -> Array:
        nonlocal table_features
        if n_model == 1:
            return np.zeros(len(code_NM), dtype=np.int64)
        if supervision:
            assert split.labels is not None
            return revealed_labels(split.labels[split.train], split.scored(split.train), supervision, config.seed)
        clustered_split = clustered()
        features = clustering_features(clustered_split, config.seed)
        if split.schema is None:
            features = model.clustering_view(features)
        with noted(reporter), single_blas_thread(n_values):
            if np.isnan(code_NM).any():  # rows with missing values, which are their own codes
                code_NM = np.where(np.isnan(code_NM), features, code_NM)
            code_NM = without_conditions(code_NM, clustered_split)
            own_weights = whole.weights_of(clustered_split.row_numbers(clustered_split.train))
            initial_rows = TrainingRows(features, code_NM, own_weights, Progress(reporter.step))
            labels = initializer.initial_labels(initial_rows, n_model, config.seed)
        table_features = None if split.schema is None or whole.is_stored else features
        if (choice := choice_record(initializer, clustered_split)) is not None:
            runs.keep_choice(folder, choice)
        return checked_clusters(labels, len(code_NM), n_model, f"initializer {type(initializer).__qualname__}")

    trainer.run(initial_labels)
    clustered.cache_clear()
    assert trainer.labels_N is not None
    initial_N = labels_at(trainer.labels_N, positions)
    folder.write_weights(ModelHeader(model=config.model, n_components=n_components), model.state_dict())

    reporter.start("heads", 0)
    inferences, bounds = {}, {}
    for side, side_rows in rows.items():
        inference, bounds[side] = evaluate_rows(model, side_rows, training.precision, config.seed, ranks)
        inferences[side] = replace(inference, weight_N=split.weights_of(getattr(split, side)))
    with noted(reporter), single_blas_thread(n_values):
        fitted = fit_heads(experiment, inferences)
    heads, clusters = fitted.heads, fitted.clusters
    if fitted.warnings:
        experiment = fitted.experiment
        config = experiment.config
        record_heads(folder, experiment)
    latents = None
    if model.generates_from_rows:
        latents = fit_cluster_latents(model, split, inferences["train"], device, training.precision).arrays()
    runs.keep_inference(folder, split, model_likelihood(parts, split), heads, inferences["train"], latents)
    baseline, n_revealed = None, None
    if supervision:
        n_revealed = int((initial_N >= 0).sum())
        reporter.note(f"{n_revealed} training rows' labels were used in training; judge the model by the test rows")
    elif n_model > 1:
        baseline = initial_baseline(split, initial_N, ranks)
    seconds = trainer.seconds
    own = {name: sides["train"] for name, sides in clusters.items()}
    if baseline is not None:
        own[runs.INITIAL] = initial_N
    reporter.start("comparisons", 0)
    analysed = replace(experiment, split=split)
    initial_choice = runs.read_choice(folder)
    with single_blas_thread(n_values):
        baselines, stability = _comparisons(
            analysed, own, table_features, inferences["train"].latent_NM, initial_choice
        )
    record = None if stability is None else stability.record
    learned_latents, first = learns_by_gradient(model), config.heads[0]
    heads_figures = measure_heads(split, clusters, inferences, n_components, config.seed)
    results = Metrics(
        heads=heads_figures,
        elbo={side: terms["elbo"] for side, terms in bounds.items()},
        elbo_parts=bounds,
        initial_labels=baseline,
        knn_error=None if split.labels is None else neighbour_errors(split, inferences, ranks),
        warnings=[
            *split.warnings,
            *fitted.warnings,
            *warnings_on_steps(folder.read_epochs()),
            *([] if supervision else warnings_on_groups(split, n_components, choice, config.seed)),
            *warnings_on_far_rows(split, inferences),
            *diagnose(inferences["train"], learned_latents=learned_latents),
            *unclear_clusters(initial_choice),
            *worse_than_start(heads_figures[first], baseline, int(split.scored(split.test).sum())),
            *warnings_on_baselines(baselines, first, n_components),
            *overconfident(inferences, record, heads_figures[first], split.n_classes),
            *metric_failures(),
        ],
        n_parameters=count_parameters(model),
        seconds=seconds,
        labelled_rows=n_revealed,
        initial_choice=initial_choice,
        baselines=baselines,
        stability=record,
        sample=RowCounts(len(split.train), len(split.test)) if whole.is_stored else None,
    )
    if whole.is_stored:
        carried = None if stability is None else stability.of_stored(split, inferences["train"].latent_NM)
        assigner = Assigner(heads, metrics.bound_quantiles(bounds_of(inferences["train"])), carried)
        sizes, table = write_stored_assignments(folder, experiment, model, assigner)
        results = replace(results, heads=with_sizes(heads_figures, sizes, n_components))
    else:
        row_stability = None if stability is None else stability.of_all(split)
        proba = bool(config.proba)
        table = write_assignments(folder, split, clusters, inferences, proba=proba, stability=row_stability)
    results = replace(results, assignments=table)
    folder.write(results)
    return RunResults(results, model, inferences, clusters, split)


def _comparisons(
    experiment: Experiment,
    clusters: Mapping[str, Array],
    features: Any,
    latent_NM: Array,
    initial_choice: InitialChoice | None,
) -> tuple[Baselines | None, RowStability | None]:
    """Return plain methods beside the run, unless they are left out, and the stability of its first head's clusters.

    Args:
        experiment: the experiment.
        clusters: clusters of the training rows, (N,), by head, and those of the initial clustering.
        features: what an initial clustering takes of these rows; None computes it.
        latent_NM: the latents of these rows.
        initial_choice: what the initial clustering compared.

    """
    config, split, n_components = experiment.config, experiment.split, experiment.n_components
    if n_components < 2:
        return None, None
    if features is None:
        features = clustering_features(split, config.seed)
    first_N = clusters[config.heads[0]]
    n_clusters = max(n_components, int(first_N.max()) + 1)
    stability = measure_stability(features, latent_NM, first_N, n_clusters, config.seed)
    if config.baselines is False:
        return None, stability
    judge = None if keeps_choice(initial_choice, clusters, config.heads[0]) else standard_judge()
    return compare_baselines(split, features, clusters, n_components, config.seed, judge), stability


class _Watched:
    """A reporter that also tells the trackers and a watch of every epoch."""

    def __init__(self, reporter: Reporter, model: Model, trackers: Trackers, watch: Watch | None) -> None:
        self._reporter, self._model, self._trackers, self._watch = reporter, model, trackers, watch

    def start(self, stage: str, n_epochs: int) -> None:
        """Pass the stage on."""
        self._reporter.start(stage, n_epochs)

    def step(self, name: str, fraction: float) -> None:
        """Pass the step on."""
        self._reporter.step(name, fraction)

    def note(self, text: str) -> None:
        """Pass the note on."""
        self._reporter.note(text)

    def epoch(self, stage: str, row: EpochRecord) -> None:
        """Pass the epoch on."""
        self._reporter.epoch(stage, row)
        self._trackers.epoch(stage, row)
        if self._watch is not None:
            self._watch(self._model, stage, row)


@contextmanager
def noted(reporter: Reporter) -> Iterator[None]:
    """Report warnings of libraries to the user as notes."""
    with warnings.catch_warnings(record=True) as caught_warnings:
        warnings.simplefilter("always")
        yield
    for text in dict.fromkeys(str(warning.message) for warning in caught_warnings):
        reporter.note(f"note: {text}")


def _refuse_other_data(folder: runs.RunStore, split: Split) -> None:
    """Raise a UsageError if the data differ from those that the run was started with."""
    if not folder.read(RunConfig).data.is_of(split):
        raise UsageError(
            f"the data are not those that '{folder.path}' was started with, or their labels are not; "
            f"train again with {option('overwrite')}"
        )
