"""Accuracy after every epoch (VaDE's Figure 2), read off the checkpoint that training leaves: training knows no labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from deepmix import metrics
from deepmix.configuration import build_model
from deepmix.data import Rows
from deepmix.experiment import Experiment
from deepmix.runs import CHECKPOINT, RunFolder
from deepmix.training import EVALUATION_ROWS


def trace_path(run: Path) -> Path:
    """Return where a run's trace is: beside its folder, which is deepmix's own."""
    return run.with_name(f"{run.name}-accuracy.jsonl")


def read_trace(run: Path) -> dict[int, float]:
    """Return the accuracy on the test rows by epoch; of an epoch done twice (a resumed run), the last."""
    lines = trace_path(run).read_text("utf-8").splitlines()
    return {row["epoch"]: row["acc"] for row in map(json.loads, lines)}


class TracingReporter:
    """Passes everything on to another reporter and, after each epoch of training, measures the accuracy."""

    def __init__(self, inner: Any, prepared: Experiment, run: Path) -> None:
        self._inner, self._split, self._folder = inner, prepared.split, RunFolder(run)
        self._model = build_model(prepared.parts, prepared.split, prepared.n_components, prepared.config.seed)
        self._model.to(prepared.device).eval()
        self._rows = Rows(prepared.split.x, prepared.split.test, prepared.device)

    def start(self, stage: str, n_epochs: int) -> None:
        """Pass it on."""
        self._inner.start(stage, n_epochs)

    def note(self, text: str) -> None:
        """Pass it on."""
        self._inner.note(text)

    def epoch(self, stage: str, row: dict[str, Any]) -> None:
        """Pass it on; in training, read the weights just saved and score the test rows' most probable components."""
        self._inner.epoch(stage, row)
        if stage != "train" or self._split.labels is None:
            return
        tensors, _ = self._folder.read_tensors(CHECKPOINT)
        prefix = "model."
        weights = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        self._model.load_state_dict(weights)
        with torch.no_grad():
            found = [self._model.infer(x_ND)[0].argmax(-1) for x_ND in self._rows.in_order(EVALUATION_ROWS)]
        clusters = torch.cat(found).cpu().numpy()
        accuracy = metrics.clustering_accuracy(self._split.labels[self._split.test], clusters)
        with trace_path(self._folder.path).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"epoch": row["epoch"], "acc": accuracy}) + "\n")
