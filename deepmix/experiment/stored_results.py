"""The results of a run whose rows stay on disk: every row is assigned, a sample is measured."""

from __future__ import annotations

from deepmix.data import Split
from deepmix.errors import UsageError, option
from deepmix.experiment.parts import Parts, n_labelled


def check_stored(parts: Parts, heads: tuple[str, ...]) -> None:
    """Raise a UsageError if a part needs all rows in memory."""
    cure = f"keep them in memory with {option('storage', 'memory')}"
    if n_labelled(parts):
        raise UsageError(f"a model that learns from labels does not take rows that stay on disk; {cure}")
    for head in heads:
        if parts.classes[f"head.{head}"].refits:
            raise UsageError(
                f"head '{head}' clusters all rows of a side together, which does not work with rows that stay on "
                f"disk; use {option('head', 'gmm')}, or {cure}"
            )


def sample_note(sample: Split) -> str:
    """Return a sentence about the rows that are analysed."""
    return (
        f"the rows stay on disk; the initial clustering, the heads and the figures use a sample of {len(sample.train)} "
        f"training and {len(sample.test)} test rows, and every row is trained on and assigned to a cluster"
    )
