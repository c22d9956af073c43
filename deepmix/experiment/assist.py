"""What the processes beside the first one do in a run that several train together."""

from __future__ import annotations

import numpy as np

from deepmix.data import Rows, sample_rows
from deepmix.errors import DeepmixError
from deepmix.experiment.assembly import build_model
from deepmix.experiment.clustered_rows import clustered_rows, labels_at
from deepmix.experiment.parts import n_labelled
from deepmix.experiment.prepare import Experiment
from deepmix.experiment.results import carried_scores, neighbour_errors
from deepmix.experiment.stored_assignments import assist_assignments
from deepmix.maths import Array
from deepmix.runs import MemoryRun
from deepmix.training import SilentReporter, Trainer, TrainingOptions, evaluate_rows


def assist_run(experiment: Experiment, *, resume: bool = False) -> None:
    """Do this process's share of the training, of the passes over the rows and of the searches; nothing is written.

    The first process calls `run_experiment` meanwhile, with the same arguments.

    Args:
        experiment: the experiment, whose `ranks` say which process this is.
        resume: whether the run is resumed.

    Raises:
        DeepmixError: a step fails.

    """
    config, parts, whole, ranks = experiment.config, experiment.parts, experiment.split, experiment.ranks
    model = build_model(parts, whole, experiment.n_components, config.seed).to(experiment.device)
    training: TrainingOptions = parts.options["training"]
    split, positions = (whole, None) if not whole.is_stored else sample_rows(whole, config.seed)
    train_rows, test_rows = (Rows(split.rows, numbers, experiment.device) for numbers in (split.train, split.test))
    all_rows = Rows(whole.rows, whole.train, experiment.device) if whole.is_stored else train_rows
    objective = parts.options["objective"]

    def placed_rows() -> Rows:
        clustered = clustered_rows(whole, split, model.n_components, config.seed, ranks)
        return Rows(clustered.rows, clustered.train, experiment.device)

    sample = placed_rows if whole.is_stored else None
    trainer = Trainer(model, all_rows, training, objective, config.seed, MemoryRun(), SilentReporter(), ranks, sample)
    if resume:
        trainer.restore()
    trainer.run(_first_rank_labels)
    for rows in (train_rows, test_rows):
        evaluate_rows(model, rows, training.precision, config.seed, ranks)
    if model.n_components > 1 and not n_labelled(parts):
        assert trainer.labels_N is not None
        initial_N = labels_at(trainer.labels_N, positions)
        carried_scores(split, np.arange(len(initial_N)), initial_N, ranks)
    if split.labels is not None:
        neighbour_errors(split, {}, ranks)
    if whole.is_stored:
        assist_assignments(experiment, model)


def _first_rank_labels(code_NM: Array) -> Array:
    raise DeepmixError("only the first process makes the initial clustering; report this as a bug")
