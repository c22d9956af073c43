"""The training curves of one run, or of several drawn over each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deepmix.report.clusters import caption
from deepmix.report.html import plots
from deepmix.report.html.markup import Child, Markup, details, element, figure, join, number, paragraph, table
from deepmix.report.html.page import Section
from deepmix.report.html.plots import Series
from deepmix.report.sections import term_name
from deepmix.runs import EpochRecord
from deepmix.training import IN_USE_SHARE

Epochs = Sequence[EpochRecord]
"""The epochs of a run."""


TABLE_EPOCHS = 20
"""Number of epochs in the tables behind the curves."""


TERMS = {
    "reconstruction": ("Reconstruction", "log-likelihood of a row given its latents, in nats; higher is better"),
    "kl_latent": ("KL of the latents", "what the latents cost against their prior, in nats per row"),
    "kl_assignment": ("KL of the assignment", "what the assignment to clusters costs, in nats per row"),
}
"""Titles and explanations of the terms of our own losses; terms that are not listed here are drawn too."""


@dataclass(frozen=True)
class Curve:
    """One chart: what it shows, and how its values are read from an epoch."""

    title: str
    explanation: str
    lines: Mapping[str, Callable[[EpochRecord], float | None]]
    """The lines by name: functions that return an epoch's value, or None if it has none."""
    stage: str = "train"
    whole: bool = False
    """Whether its values are whole numbers."""
    mixture: bool = False
    """Whether it is meaningless for a model with one component."""


BOUND = Curve(
    "Evidence lower bound (ELBO)",
    "nats per row; higher is better. Training maximised the objective, which weights its terms and may have more",
    {"ELBO": lambda row: row.elbo, "objective": lambda row: row.objective},
)
OTHERS = (
    Curve(
        "Clusters in use",
        f"components that hold at least {IN_USE_SHARE:g} of an equal share of the rows",
        {"clusters": lambda row: row.clusters_in_use},
        whole=True,
        mixture=True,
    ),
    Curve(
        "Certainty while training",
        "mean of the largest q(y|x), with the noise of training",
        {"certainty": lambda row: row.confidence},
        mixture=True,
    ),
    Curve(
        "Pretraining",
        "log-likelihood of a row under the plain autoencoder, in nats",
        {"pretraining": lambda row: row.elbo},
        "pretrain",
    ),
)
"""The charts that are not of the loss, in their order."""


def curves_of(runs: Iterable[Epochs]) -> list[Curve]:
    """Return the charts of runs: the bound, one for each term of the loss, and the others."""
    names = dict.fromkeys(name for rows in runs for row in rows if row.stage == "train" for name in row.terms)
    return [BOUND, *map(_term, names), *OTHERS]


def _term(name: str) -> Curve:
    words = term_name(name)
    unknown = f"{words[:1].upper()}{words[1:]}", f"the term '{name}' of the loss, in nats per row"
    title, explanation = TERMS.get(name, unknown)
    return Curve(title, explanation, {words: lambda row: row.terms.get(name)})


def training(runs: Mapping[str, Epochs], *, is_mixture: bool) -> Section | None:
    """Return the section with the training curves of one run, or of several by name."""
    charts = [curve for curve in curves_of(runs.values()) if is_mixture or not curve.mixture]
    figures = [drawn for curve in charts for drawn in _figures(curve, runs)]
    if not figures:
        return None
    opening = paragraph(
        "An epoch passes once through the training rows. If the ELBO still climbs at the end, train for more epochs."
    )
    return Section("Training", join([opening, element("div", *figures, class_="grid")]))


def _figures(curve: Curve, runs: Mapping[str, Epochs]) -> list[Markup]:
    """Return a curve's chart or, for several runs, one chart per line."""
    if len(runs) == 1:
        (rows,) = runs.values()
        series = [_series(name, rows, curve.stage, value) for name, value in curve.lines.items()]
        return _figure(curve, curve.title, series, named=True)
    charts = []
    for name, value in curve.lines.items():
        title = f"{curve.title}: {name}" if len(curve.lines) > 1 else curve.title
        series = [_series(run, rows, curve.stage, value) for run, rows in runs.items()]
        charts += _figure(curve, title, series, named=False)
    return charts


def _series(name: str, rows: Epochs, stage: str, value: Callable[[EpochRecord], float | None]) -> Series:
    points = [(row.epoch, y) for row in rows if row.stage == stage and (y := value(row)) is not None]
    return Series(name, [epoch for epoch, _ in points], [y for _, y in points])


def _figure(curve: Curve, title: str, series: list[Series], *, named: bool) -> list[Markup]:
    """Return a chart with its table, or an empty list if there is nothing to draw."""
    series = [one for one in series if one.y]
    if not series:
        return []
    described = "; ".join(
        f"{one.name}: {number(one.y[0])} in epoch {one.x[0]}, {number(one.y[-1])} in epoch {one.x[-1]}"
        for one in series
    )
    chart = plots.line_chart(title, f"{described}.", series, "epoch", whole=curve.whole, named=named)
    longest = max((one.x for one in series), key=len)
    places = sorted({round(place) for place in np.linspace(0, len(longest) - 1, TABLE_EPOCHS)})
    rows: list[list[Child]] = [
        [f"{longest[i]:g}", *(number(one.y[i], 4) if i < len(one.y) else "-" for one in series)] for i in places
    ]
    listed = table(f"{title}: {curve.explanation}", ["epoch", *(one.name for one in series)], rows)
    explanation = curve.explanation if named else f"{curve.explanation}; each line is a run"
    return [figure(chart, caption(title, explanation), details("The figures behind it", listed))]
