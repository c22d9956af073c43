"""Training inside another training, for plugins that start from another model's latents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from deepmix.contracts import Progress
from deepmix.data import Rows, SplitOptions, arrange_rows
from deepmix.experiment.assembly import build_model
from deepmix.experiment.config import ExperimentConfig
from deepmix.experiment.parts import resolve
from deepmix.maths import Array
from deepmix.runs import EpochRecord, MemoryRun
from deepmix.training import SilentReporter, Trainer, choose_device, evaluate_rows

__all__ = ["train_nested"]


class _EpochsAsSteps(SilentReporter):
    """A reporter of a training that is a step of another one: pretraining is taken to be half of it."""

    def __init__(self, progress: Progress) -> None:
        self._halves = {"pretrain": progress.part(0.0, 0.5), "train": progress.part(0.5, 1.0)}
        self._n_epochs = 0

    def start(self, stage: str, n_epochs: int) -> None:
        """Take the number of epochs."""
        self._n_epochs = n_epochs

    def epoch(self, stage: str, row: EpochRecord) -> None:
        """Report the fraction of the epochs that are done."""
        self._halves[stage].step(stage, row.epoch / self._n_epochs)


def train_nested(
    model_name: str,
    x_ND: Any,
    initial_labels: Callable[[Array], Array],
    *,
    n_components: int,
    seed: int,
    settings: Mapping[str, str],
    device: str = "auto",
    progress: Progress | None = None,
) -> Array:
    """Train a model on rows that are already scaled and return its latents; nothing is written.

    Args:
        model_name: name of the model, as `--model` takes it.
        x_ND: the rows, dense or CSR, float32; they are used without further scaling.
        initial_labels: returns the initial clusters, (N,) int64, of the pretrained codes, (N, M).
        n_components: K.
        seed: makes the result reproducible.
        settings: options by `key` or `part.key`, as `--set` takes them.
        device: the device to train on, as `--device` takes it.
        progress: where the epochs are reported as steps, if anywhere.

    Returns:
        The latent of each row's most probable component, (N, M) float32.

    Raises:
        UsageError: the model or a setting is unknown, or there is no such device.
        DeepmixError: training diverged, or a plugin can't be loaded.

    """
    parts = resolve(ExperimentConfig(model=model_name, settings=settings))
    split = arrange_rows(x_ND, None, SplitOptions(scale="none"))
    rows = Rows(split.x, np.arange(split.x.shape[0]), choose_device(device))
    model = build_model(parts, split, n_components, seed).to(rows.device)
    options = parts.options["training"], parts.options["objective"]
    trainer = Trainer(model, rows, *options, seed, MemoryRun(), _EpochsAsSteps(progress or Progress()))
    trainer.run(initial_labels)
    return evaluate_rows(model, rows, "fp32", seed)[0].latent_NM
