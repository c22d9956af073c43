"""The training curves of a run, or of several laid over each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepmix.report.clusters import caption
from deepmix.report.html import plots
from deepmix.report.html.markup import Child, Markup, details, element, figure, join, number, paragraph, table
from deepmix.report.html.page import Section
from deepmix.report.html.plots import Series
from deepmix.training import IN_USE_SHARE

Epochs = Sequence[Mapping[str, Any]]
"""The lines of a run's metrics.jsonl."""


TABLE_EPOCHS = 20
"""Epochs in the tables behind the curves."""


@dataclass(frozen=True)
class Curve:
    """One chart: what it shows and where in metrics.jsonl that stands."""

    title: str
    told: str
    keys: Mapping[str, str]
    """Keys of metrics.jsonl and what their lines are called."""
    stage: str = "train"
    whole: bool = False
    """Whether its values are whole numbers."""
    mixture: bool = False
    """Whether it says nothing of a model of one component."""


CURVES = (
    Curve("Evidence lower bound (ELBO)", "nats a row; higher is better", {"elbo": "ELBO"}),
    Curve("Reconstruction", "log-likelihood of a row given its latents, in nats", {"reconstruction": "reconstruction"}),
    Curve(
        "KL divergences",
        "what the latents and the assignment to clusters cost, in nats a row",
        {"kl_latent": "latents", "kl_assignment": "assignment"},
    ),
    Curve(
        "Clusters in use",
        f"components that hold at least {IN_USE_SHARE:g} of an equal share of the rows",
        {"clusters_in_use": "clusters"},
        whole=True,
        mixture=True,
    ),
    Curve(
        "Certainty while training",
        "mean of the largest q(y|x), with the noise of training",
        {"confidence": "certainty"},
        mixture=True,
    ),
    Curve(
        "Pretraining",
        "log-likelihood of a row under the plain autoencoder, in nats",
        {"elbo": "pretraining"},
        "pretrain",
    ),
)
"""The charts, in their order."""


def training(runs: Mapping[str, Epochs], *, is_mixture: bool) -> Section | None:
    """Return the training curves of one run, or of several by name."""
    figures = [drawn for curve in CURVES if is_mixture or not curve.mixture for drawn in _figures(curve, runs)]
    if not figures:
        return None
    opening = paragraph(
        "An epoch goes once through the training rows. An ELBO that still climbs at its end asks for more epochs."
    )
    return Section("Training", join([opening, element("div", *figures, class_="grid")]))


def _figures(curve: Curve, runs: Mapping[str, Epochs]) -> list[Markup]:
    """Return a curve's chart; of several runs one for each of its keys."""
    if len(runs) == 1:
        (rows,) = runs.values()
        series = [_series(name, rows, curve.stage, key) for key, name in curve.keys.items()]
        return _figure(curve, curve.title, series, named=True)
    charts = []
    for key, name in curve.keys.items():
        title = f"{curve.title}: {name}" if len(curve.keys) > 1 else curve.title
        series = [_series(run, rows, curve.stage, key) for run, rows in runs.items()]
        charts += _figure(curve, title, series, named=False)
    return charts


def _series(name: str, rows: Epochs, stage: str, key: str) -> Series:
    known = [row for row in rows if row["stage"] == stage and key in row]
    return Series(name, [row["epoch"] for row in known], [row[key] for row in known])


def _figure(curve: Curve, title: str, series: list[Series], *, named: bool) -> list[Markup]:
    """Return a chart with its table, or nothing where there is nothing to draw."""
    series = [one for one in series if one.y]
    if not series:
        return []
    told = "; ".join(
        f"{one.name}: {number(one.y[0])} in epoch {one.x[0]}, {number(one.y[-1])} in epoch {one.x[-1]}"
        for one in series
    )
    chart = plots.line_chart(title, f"{told}.", series, "epoch", whole=curve.whole, named=named)
    longest = max((one.x for one in series), key=len)
    chosen = sorted({round(place) for place in np.linspace(0, len(longest) - 1, TABLE_EPOCHS)})
    rows: list[list[Child]] = [
        [f"{longest[i]:g}", *(number(one.y[i], 4) if i < len(one.y) else "-" for one in series)] for i in chosen
    ]
    listed = table(f"{title}: {curve.told}", ["epoch", *(one.name for one in series)], rows)
    shown = curve.told if named else f"{curve.told}; a line is a run"
    return [figure(chart, caption(title, shown), details("The figures behind it", listed))]
