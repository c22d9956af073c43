"""The names of a run folder's files."""

from __future__ import annotations

from pathlib import Path

CONFIG, EPOCHS, METRICS, MODEL, INFERENCE, ASSIGNMENTS = (
    "config.json",
    "metrics.jsonl",
    "metrics.json",
    "model.safetensors",
    "inference.safetensors",
    "assignments.csv",
)


CHECKPOINT = Path("checkpoint") / "state.safetensors"


NEIGHBOURS = CHECKPOINT.with_name("neighbours.safetensors")
"""The graph a run is trained with, if it has one; beside the state, as resuming needs it."""


SUMMARY, REPORT = "summary.json", "report.html"


EXPORTS = ("model.onnx", "model.pt2")


OWN_NAMES = frozenset(
    {CONFIG, EPOCHS, METRICS, MODEL, INFERENCE, ASSIGNMENTS, SUMMARY, REPORT, *EXPORTS, CHECKPOINT.parent.name}
)
"""What deepmix writes in a run folder; anything else there is the user's."""
