"""Labels a model learns from: which are known, and whether they can be used."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from deepmix.configuration import Parts
from deepmix.errors import UsageError
from deepmix.types import Split

UNKNOWN_LABEL = -1
"""The label of rows whose class is unknown, where a model learns from labels; as a number or as text."""


def n_labelled(parts: Parts) -> int:
    """Return how many training rows' labels the model learns from: its option `labelled`, if it has one."""
    return int(getattr(parts.options["model"], "labelled", 0))


def known_labels(parts: Parts, labels: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return which labels are classes, (N,): all, unless the model learns from labels and takes -1 for unknown."""
    if n_labelled(parts) == 0:
        return np.ones(len(labels), dtype=bool)
    values, places = np.unique(labels.astype(str), return_inverse=True)
    known: npt.NDArray[np.bool_] = np.array([not _is_unknown(value) for value in values])[places]
    return known


def _is_unknown(label: str) -> bool:
    """Whether a label is -1, however it is written."""
    try:
        return float(label) == UNKNOWN_LABEL
    except ValueError:
        return False


def with_known_labels(parts: Parts, split: Split) -> Split:
    """Return the split with its unknown labels marked, where the model learns from the others.

    Raises:
        UsageError: there is nothing to learn from, or there are more classes than components.

    """
    if n_labelled(parts) == 0:
        return split
    if split.labels is None:
        raise UsageError(
            "there are no labels to learn from; name them with --label-column (y in Python), or leave out 'labelled'"
        )
    known = known_labels(parts, split.labels)
    n_classes = len(np.unique(split.labels[split.train][known[split.train]]))
    asked = parts.options["size"].components
    if n_classes == 0:
        raise UsageError(f"every training row has the label {UNKNOWN_LABEL}, for unknown; leave out 'labelled'")
    if asked is not None and asked < n_classes:
        raise UsageError(f"the labels have {n_classes} classes; give at least as many --components, or leave them out")
    return dataclasses.replace(split, known=known)
