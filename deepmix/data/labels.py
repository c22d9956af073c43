"""Labels a model learns from: which are known, and whether they can be used."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from deepmix.data.split import Split
from deepmix.errors import UsageError, option
from deepmix.maths import Array

UNKNOWN_LABEL = -1
"""Label that means an unknown class, as a number or as text, where a model learns from labels; so does no label."""


def revealed_labels(labels: Array, known: Array, n_revealed: int, seed: int) -> Array:
    """Return the class numbers of some rows and -1 for the others, (N,) int64.

    Args:
        labels: (N,) labels of any type.
        known: (N,) whether each label is known.
        n_revealed: how many to reveal, spread evenly over the classes (Kingma et al. 2014).
        seed: decides which labels are revealed.

    """
    numbers = np.full(len(labels), -1, dtype=np.int64)
    classes = np.unique(labels[known])
    random = np.random.default_rng(seed)
    for number, value in enumerate(classes):
        members = random.permutation(np.flatnonzero(known & (labels == value)))
        share = n_revealed // len(classes) + (number < n_revealed % len(classes))
        numbers[members[:share]] = number
    return numbers


def known_labels(n_labelled: int, labels: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return whether each label is a class, (N,): empty text is none, nor is -1 where the model learns from labels."""
    values, positions = np.unique(labels.astype(str), return_inverse=True)
    known: npt.NDArray[np.bool_] = np.array([not _is_unknown(value, n_labelled) for value in values])[positions]
    return known


def _is_unknown(label: str, n_labelled: int) -> bool:
    """Whether a label is empty or, for a model that learns from labels, -1, however it is written."""
    if n_labelled == 0 or not label:
        return not label
    try:
        return float(label) == UNKNOWN_LABEL
    except ValueError:
        return False


def with_known_labels(split: Split, n_labelled: int, n_components: int | None) -> Split:
    """Return the split with its unknown labels marked, where the model learns from the others.

    Args:
        split: the data.
        n_labelled: number of training rows whose labels the model learns from; 0 returns the split unchanged.
        n_components: the requested number of components, or None.

    Raises:
        UsageError: there is nothing to learn from, or there are more classes than components.

    """
    if n_labelled == 0:
        return split
    if split.labels is None:
        raise UsageError(
            f"there are no labels to learn from; name them with {option('label_column')}, "
            f"or leave out {option('labelled')}"
        )
    known = known_labels(n_labelled, split.labels)
    n_classes = len(np.unique(split.labels[split.train][known[split.train]]))
    if n_classes == 0:
        raise UsageError(
            f"every training row has the label {UNKNOWN_LABEL}, for unknown, or none; leave out {option('labelled')}"
        )
    if n_components is not None and n_components < n_classes:
        raise UsageError(
            f"the labels have {n_classes} classes; give at least as many {option('components')}, or leave them out"
        )
    return dataclasses.replace(split, known=known)
