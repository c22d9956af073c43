"""Warnings that come from comparing a finished run with its start, with plain methods and with refits of its clusters.

Each begins with the words that the report knows its heading and meaning by.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from deepmix.maths import Inference
from deepmix.metrics import ACCURACY
from deepmix.runs import Baseline, Baselines, HeadFigures, InitialLabels, Stability

BETTER_BASELINE = "better baseline"

WORTH_A_WARNING = 0.01
"""Fraction of the held-out rows that training may lose against its start before there is a warning."""

FEWEST_ROWS = 2
"""Rows that it must lose at least, as a single row is chance."""

COHESION_MARGIN = 0.02
"""By how much the cohesion of a plain method must exceed the run's. On the shared half of Gagolewski's suite and four
real tables the better of the two had the larger adjusted Rand index in 29 of 34 cases; without a margin, in 52 of 80.
"""

OVERCONFIDENT = 0.2
"""By how much the mean certainty may exceed the stability before there is a warning. k-means clusters of one Gaussian
cloud in five or ten columns have a stability of 0.5 to 0.6."""


def worse_than_start(figures: Mapping[str, HeadFigures], initial: InitialLabels | None, n_test: int) -> list[str]:
    """Return the warning that training lost accuracy against its initial clustering.

    It must have lost on the training rows too, as held-out rows take their initial cluster from their neighbours, which
    alone makes a difference.

    Args:
        figures: what the first head's clusters are measured by, by side.
        initial: what the initial clustering is measured by.
        n_test: number of held-out rows that have a known label.

    """
    losses = {}
    for side in ("train", "test"):
        accuracy = figures[side].scores.get(ACCURACY.name)
        start = None if initial is None else initial.side(side).get(ACCURACY.name)
        if accuracy is None or start is None:
            return []
        losses[side] = start - accuracy
    lost = round(losses["test"] * n_test)
    if losses["train"] <= 0.0 or lost < FEWEST_ROWS or lost <= WORTH_A_WARNING * n_test:
        return []
    return [
        f"worse than the start: {lost:,} fewer of {n_test:,} held-out rows are right than in the initial clustering"
    ]


def better_baseline(baselines: Baselines, head: str, n_clusters: int) -> tuple[str, Baseline] | None:
    """Return the plain method with as many clusters whose cohesion exceeds that of a head's clusters by the margin."""
    rivals = [(name, one) for name, one in baselines.methods.items() if one.n_clusters == n_clusters]
    if not rivals:
        return None
    best = max(rivals, key=lambda rival: rival[1].cohesion)
    return best if best[1].cohesion > baselines.cohesion[head] + COHESION_MARGIN else None


def warnings_on_baselines(baselines: Baselines | None, head: str, n_clusters: int) -> list[str]:
    """Return the warning that a plain method keeps neighbours together better than the run."""
    rival = None if baselines is None else better_baseline(baselines, head, n_clusters)
    if baselines is None or rival is None:
        return []
    name, figures = rival
    return [
        f"{BETTER_BASELINE}: the clusters of {name} keep neighbours together better than those of the run, without "
        f"looking at labels (cohesion {figures.cohesion:.2f} against {baselines.cohesion[head]:.2f}, 1 at best)"
    ]


def overconfident(inference: Inference, stability: Stability | None) -> list[str]:
    """Return the warning that the model is surer of its clusters than they are stable.

    Args:
        inference: the model's inference on the training rows.
        stability: of the first head's clusters of these rows.

    """
    if stability is None or inference.log_q_NK.shape[1] < 2:
        return []
    certainty = float(np.average(np.exp(inference.log_q_NK.max(axis=1)), weights=inference.weight_N))
    if certainty - stability.agreement <= OVERCONFIDENT:
        return []
    return [
        f"overconfident: the largest q(y|x) of a row is {certainty:.2f} on average, but where {stability.method} "
        f"clusters samples of the rows, only {100 * stability.agreement:.0f} % of them are in the matching cluster"
    ]
