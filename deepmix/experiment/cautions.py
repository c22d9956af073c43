"""Warnings that come from comparing a finished run with its start, with plain methods and with refits of its clusters.

Each begins with the words that the report knows its heading and meaning by.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from deepmix.experiment.baselines import BY_UMAP
from deepmix.maths import Inference
from deepmix.metrics import ACCURACY
from deepmix.runs import Baseline, Baselines, HeadFigures, InitialChoice, InitialLabels, Stability

BETTER_BASELINE = "better baseline"

WORTH_A_WARNING = 0.01
"""Fraction of the held-out rows that training may lose against its start before there is a warning."""

FEWEST_ROWS = 5
"""Rows that it must lose at least. Fewer may be chance: a sign test has p = 1/32 for five losses without a gain, and
1/16 for four."""

COHESION_MARGIN = 0.02
"""By how much the cohesion of a plain method must exceed the run's. On the shared half of Gagolewski's suite and four
real tables the better of the two had the larger adjusted Rand index in 29 of 34 cases; without a margin, in 52 of 80.
"""

TOTAL_MARGIN = 1.0
"""The same of the total."""

OVERCONFIDENT_KIND = "overconfident"

OVERCONFIDENT = 0.2
"""By how much the mean certainty may exceed the accuracy, or the stability, before there is a warning. k-means clusters
of one Gaussian cloud in five or ten columns have a stability of 0.5 to 0.6."""


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
    n_lost = round(losses["test"] * n_test)
    if losses["train"] <= 0.0 or n_lost < FEWEST_ROWS or n_lost <= WORTH_A_WARNING * n_test:
        return []
    return [
        f"worse than the start: {n_lost:,} fewer of {n_test:,} held-out rows are right than in the initial clustering"
    ]


def unclear_clusters(choice: InitialChoice | None) -> list[str]:
    """Return the warning that the methods compared by the initial clustering disagree about the rows."""
    if choice is None or not choice.is_simplest:
        return []
    others = [one.agreement for method, one in choice.candidates.items() if method != choice.method]
    return [
        f"unclear clusters: {len(others) + 1} methods divide the rows in different ways, so that the simplest one, "
        f"{choice.method}, was taken; the others agree with it to an adjusted Rand index of {np.mean(others):.2f}, of "
        "at most 1"
    ]


def better_baseline(baselines: Baselines, head: str, n_clusters: int) -> tuple[str, Baseline] | None:
    """Return the plain method with as many clusters that is better than a head's clusters by the margin.

    The total of the criteria by which `auto` chooses decides where it was computed, else the cohesion. That of UMAP's
    clusters does not count: its layout is made to keep neighbours together, whether or not they belong together.
    """
    rivals = [(name, one) for name, one in baselines.methods.items() if one.n_clusters == n_clusters]
    own_total = baselines.totals.get(head)
    if own_total is not None:
        totals = [(one.total, name, one) for name, one in rivals if one.total is not None]
        total, name, best = max(totals, key=lambda rival: rival[0], default=(-np.inf, "", None))
        return None if best is None or total <= own_total + TOTAL_MARGIN else (name, best)
    others = [(name, one) for name, one in rivals if name != BY_UMAP]
    best_rival = max(others, key=lambda rival: rival[1].cohesion, default=None)
    if best_rival is None or best_rival[1].cohesion <= baselines.cohesion[head] + COHESION_MARGIN:
        return None
    return best_rival


def warnings_on_baselines(baselines: Baselines | None, head: str, n_clusters: int) -> list[str]:
    """Return the warning that a plain method has better clusters than the run by a criterion without labels."""
    rival = None if baselines is None else better_baseline(baselines, head, n_clusters)
    if baselines is None or rival is None:
        return []
    name, figures = rival
    if figures.total is not None and head in baselines.totals:
        return [
            f"{BETTER_BASELINE}: the clusters of {name} are better than those of the run by the criteria of "
            f"the initial clustering 'auto', which use no labels (total {figures.total:.1f} against "
            f"{baselines.totals[head]:.1f})"
        ]
    return [
        f"{BETTER_BASELINE}: the clusters of {name} keep neighbours together better than those of the run, without "
        f"looking at labels (cohesion {figures.cohesion:.2f} against {baselines.cohesion[head]:.2f}, 1 at best)"
    ]


def overconfident(
    inferences: Mapping[str, Inference],
    stability: Stability | None,
    figures: Mapping[str, HeadFigures],
    n_labels: int | None,
) -> list[str]:
    """Return the warning that the model is surer of its clusters than they are right, or else than they are stable.

    Labels decide where there is one cluster for each of them. Without them, refits of the stand-in do. What it gets
    wrong on all rows it gets wrong on samples too; that is the stand-in's fault, and is left out.

    Args:
        inferences: the model's inference by side.
        stability: of the first head's clusters of the training rows.
        figures: what the first head's clusters are measured by, by side.
        n_labels: number of different labels; None without labels.

    """
    n_components = inferences["train"].log_q_NK.shape[1]
    if n_components < 2:
        return []
    accuracy = figures["test"].scores.get(ACCURACY.name)
    if accuracy is not None and n_labels == n_components:
        certainty = _certainty(inferences["test"])
        if certainty - accuracy <= OVERCONFIDENT:
            return []
        return [
            f"{OVERCONFIDENT_KIND}: the largest q(y|x) of a held-out row is {certainty:.2f} on average, but only "
            f"{100 * accuracy:.0f} % of these rows are in the cluster that stands for their label"
        ]
    certainty = _certainty(inferences["train"])
    if stability is None or certainty - _relative_agreement(stability) <= OVERCONFIDENT:
        return []
    return [
        f"{OVERCONFIDENT_KIND}: the largest q(y|x) of a row is {certainty:.2f} on average, but where "
        f"{stability.title} clusters samples of the rows, only {100 * stability.agreement:.0f} % of them are in the "
        "matching cluster"
    ]


def _certainty(inference: Inference) -> float:
    """Return the mean of the rows' largest q(y|x)."""
    return float(np.average(np.exp(inference.log_q_NK.max(axis=1)), weights=inference.weight_N))


def _relative_agreement(stability: Stability) -> float:
    """Return the agreement of the refits as a fraction of that of the stand-in on all rows, at most 1."""
    if not stability.whole_agreement:
        return stability.agreement
    return min(stability.agreement / stability.whole_agreement, 1.0)
