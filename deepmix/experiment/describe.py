"""What config.json holds: every option resolved, versions and where the run took place."""

from __future__ import annotations

import dataclasses
import platform
import subprocess
from importlib import metadata
from typing import Any

import numpy as np
import torch

from deepmix.contracts import Model
from deepmix.data import fingerprint
from deepmix.experiment.assembly import latent_dim, model_likelihood
from deepmix.experiment.prepare import Experiment
from deepmix.experiment.results import count_parameters
from deepmix.training import TrainingOptions, planned_epochs


def resolved_options(experiment: Experiment, model: Model) -> dict[str, Any]:
    """Return every option in force, and what the data decided."""
    parts, split = experiment.parts, experiment.split
    resolved: dict[str, Any] = {part: dataclasses.asdict(options) for part, options in parts.options.items()}
    resolved["size"] |= {"components": experiment.n_components, "latent_dim": latent_dim(parts, split.x.shape[1])}
    training: TrainingOptions = parts.options["training"]
    resolved["training"]["epochs"] = planned_epochs(model, training, "train", len(split.train))
    resolved["training"]["pretrain_epochs"] = planned_epochs(model, training, "pretrain", len(split.train))
    if "likelihood" in resolved["model"]:
        resolved["model"]["likelihood"] = model_likelihood(parts, split)
    resolved["data"] |= {
        "rows": {"train": len(split.train), "test": len(split.test)},
        "columns": int(split.x.shape[1]),
        "image_shape": None if split.image_shape is None else list(split.image_shape),
        "preprocessing": split.preprocessing,
        "labels": split.labels is not None,
        "fingerprint": fingerprint(split),
    }
    resolved["parts"] = {part: f"{loaded.__module__}:{loaded.__qualname__}" for part, loaded in parts.classes.items()}
    resolved["n_parameters"] = count_parameters(model)
    return resolved


def describe(experiment: Experiment, model: Model) -> dict[str, Any]:
    """Return what config.json holds: the configuration, every option resolved, and where it ran."""
    resolved = resolved_options(experiment, model)
    environment = {
        "deepmix": metadata.version("deepmix"),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scikit-learn": metadata.version("scikit-learn"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(experiment.device),
        "threads": torch.get_num_threads(),
        "git_commit": _git_commit(),
    }
    return {**dataclasses.asdict(experiment.config), "resolved": resolved, "environment": environment}


def _git_commit() -> str | None:
    """Return the commit of the folder this runs in, where it is a git checkout."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
