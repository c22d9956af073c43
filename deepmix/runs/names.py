"""The names of a run folder's files."""

from __future__ import annotations

from pathlib import Path

CONFIG, EPOCHS, METRICS, MODEL, INFERENCE, ASSIGNMENTS, CLUSTERS = (
    "config.json",
    "metrics.jsonl",
    "metrics.json",
    "model.safetensors",
    "inference.safetensors",
    "assignments.csv",
    "clusters.csv",
)


CHECKPOINT = Path("checkpoint") / "state.safetensors"


PREVIOUS = CHECKPOINT.with_name("previous.safetensors")
"""The checkpoint before the last, for a run whose last one is damaged."""


NEIGHBOURS = CHECKPOINT.with_name("neighbours.safetensors")
"""The graph a run is trained with, if it has one; beside the state, because resuming needs it."""


CHOICE = CHECKPOINT.with_name("choice.json")
"""What the initial clustering compared, for a run that is resumed after it."""


SUMMARY, REPORT = "summary.json", "report.html"


EXPORTS = ("model.onnx", "model.pt2")


RUN_FILES = (
    CONFIG,
    EPOCHS,
    METRICS,
    MODEL,
    INFERENCE,
    ASSIGNMENTS,
    CLUSTERS,
    REPORT,
    *EXPORTS,
    CHECKPOINT,
    PREVIOUS,
    NEIGHBOURS,
    CHOICE,
)
"""What deepmix writes in a run folder, the record that makes it one first; any other file there is the user's."""


SEEDS_FILES = (SUMMARY, REPORT)
"""What deepmix writes in a folder of seeds beside the runs, the record that makes it one first."""


SEED_FOLDER = r"seed-\d+"
"""What the run folders in a folder of seeds are called, as a regular expression."""


CONSENSUS, CONSENSUS_FOLDER = "consensus.json", "consensus"


CONSENSUS_FILES = (CONSENSUS, ASSIGNMENTS, METRICS)
"""What deepmix writes in the folder `consensus` of a folder of seeds, the record that makes it one first."""
