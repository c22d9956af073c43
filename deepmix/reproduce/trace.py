"""Accuracy after every epoch (VaDE Figure 2), which training itself does not record because it knows no labels."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from deepmix import metrics
from deepmix.contracts import Batch, Model
from deepmix.data import Rows
from deepmix.experiment import Experiment, Watch
from deepmix.runs import EpochRecord
from deepmix.training import EVALUATION_ROWS


def trace_path(run: Path) -> Path:
    """Return the path of a run's trace, beside the run's folder, which holds only what every run holds."""
    return run.with_name(f"{run.name}-accuracy.jsonl")


def read_trace(run: Path) -> dict[int, float]:
    """Return the accuracy on the test rows by epoch; if a resumed run did an epoch twice, the last one counts."""
    lines = trace_path(run).read_text("utf-8").splitlines()
    return {row["epoch"]: row["acc"] for row in map(json.loads, lines)}


def tracer(prepared: Experiment, run: Path) -> Watch:
    """Return a function that scores the test rows' most probable components after each epoch of training."""
    rows = Rows(prepared.split.rows, prepared.split.test, prepared.device)

    def watch(model: Model, stage: str, row: EpochRecord) -> None:
        if stage != "train" or prepared.split.labels is None:
            return
        was_training = model.training
        model.eval()
        with torch.no_grad():
            predicted = [model.infer(Batch.of(tensors))[0].argmax(-1) for tensors in rows.in_order(EVALUATION_ROWS)]
        model.train(was_training)
        labels = prepared.split.labels[prepared.split.test]
        accuracy = metrics.clustering_accuracy(labels, torch.cat(predicted).cpu().numpy())
        with trace_path(run).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"epoch": row.epoch, "acc": accuracy}) + "\n")

    return watch
