"""The content of a run's config.json: every resolved option, the plugins by name, the data and the environment."""

from __future__ import annotations

import dataclasses
import platform
import subprocess
from importlib import metadata
from typing import Any

import numpy as np
import torch

from deepmix.contracts import Model
from deepmix.data import fingerprint, labels_fingerprint
from deepmix.experiment.assembly import latent_dim, model_likelihood
from deepmix.experiment.prepare import Experiment
from deepmix.experiment.recorded import requested_of, structure_of
from deepmix.experiment.results import count_parameters
from deepmix.runs import DataRecord, Environment, PartRecord, RowCounts, RunConfig
from deepmix.training import TrainingOptions, job_name, planned_epochs, start_lr, update_precision


def describe(experiment: Experiment, model: Model, *, report: bool = True) -> RunConfig:
    """Return the config.json of a run that is about to begin.

    Args:
        experiment: the experiment.
        model: the assembled model.
        report: whether the run ends with a report.

    """
    parts, split = experiment.parts, experiment.split
    return RunConfig(
        requested=requested_of(experiment.config),
        report=report,
        resolved=resolved_options(experiment, model),
        parts={role: PartRecord(p.kind, p.name, p.distribution, p.version) for role, p in parts.plugins.items()},
        structure=structure_of(parts.plan),
        data=DataRecord(
            rows=RowCounts(len(split.train), len(split.test)),
            columns=int(split.x.shape[1]),
            image_shape=split.image_shape,
            preprocessing=split.preprocessing,
            labels=split.labels is not None,
            fingerprint=fingerprint(split),
            schema=split.schema,
            labels_fingerprint=labels_fingerprint(split),
        ),
        n_parameters=count_parameters(model),
        environment=_environment(experiment, model),
        component_choice=experiment.choice,
    )


def resolved_options(experiment: Experiment, model: Model) -> dict[str, dict[str, Any]]:
    """Return the values of all options by part and name, including those that depend on the data."""
    parts, split = experiment.parts, experiment.split
    resolved: dict[str, dict[str, Any]] = {part: dataclasses.asdict(values) for part, values in parts.options.items()}
    resolved["size"] |= {"components": experiment.n_components, "latent_dim": latent_dim(parts, split.x.shape[1])}
    training: TrainingOptions = parts.options["training"]
    n_rows = len(split.train)
    epochs = planned_epochs(model, training, "train", n_rows)
    resolved["training"]["epochs"] = epochs or None  # a model that `place` fits has no epochs
    resolved["training"]["pretrain_epochs"] = planned_epochs(model, training, "pretrain", n_rows)
    resolved["training"]["batch_size"] = training.rows_per_update(n_rows)
    resolved["training"]["lr"] = start_lr(model, training, n_rows)
    if "likelihood" in resolved["model"] and split.schema is None:  # the columns of a table have their own
        resolved["model"]["likelihood"] = model_likelihood(parts, split)
    return resolved


def _environment(experiment: Experiment, model: Model) -> Environment:
    training: TrainingOptions = experiment.parts.options["training"]
    return Environment(
        deepmix=metadata.version("deepmix"),
        torch=torch.__version__,
        numpy=np.__version__,
        scikit_learn=metadata.version("scikit-learn"),
        python=platform.python_version(),
        platform=platform.platform(),
        device=str(experiment.device),
        threads=torch.get_num_threads(),
        git_commit=_git_commit(),
        ranks=experiment.ranks.size,
        update_precision=update_precision(training.precision, model, experiment.device),
        job=job_name(),
    )


def _git_commit() -> str | None:
    """Return the commit of the current folder, if it is in a git checkout."""
    try:
        process = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return process.stdout.strip() or None if process.returncode == 0 else None
