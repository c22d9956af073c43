"""Plain words about a run: its result, its warnings, and the command that runs it again."""

from __future__ import annotations

import shlex

from deepmix import experiment
from deepmix.errors import plain, spell_stored
from deepmix.metrics import ACCURACY, SILHOUETTE
from deepmix.report.html.markup import fixed, percent
from deepmix.report.material import Material
from deepmix.runs import Requested

ADVICE = {
    "collapsed components": (
        "Some clusters are empty or nearly so",
        "The model was given more clusters than it used. Fewer clusters (components), a larger anchor or "
        "more pretraining may spread the rows again; or the data may simply have fewer groups.",
    ),
    "diffuse clustering": (
        "The model is unsure of most rows",
        "Many rows belong to several clusters about equally, so take the cluster of a single row with care.",
    ),
    "no groups": (
        "These rows show no groups",
        "Clusters of such rows are like regions drawn on a map: rows on both sides of a border are much alike, and "
        "another seed may draw the borders elsewhere. Groups that overlap, or have few rows, may have been missed.",
    ),
    "unclear clusters": (
        "The methods see no common clusters",
        "Different methods divide these rows differently, as they do where groups overlap or there are none. The "
        "clusters are one way to divide the rows; look at what tells them apart before you name them.",
    ),
    "posterior collapse": (
        "Part of the latent space is unused",
        "Those dimensions carry nothing about the data within a cluster; what the model generates will vary little.",
    ),
    "unstable over seeds": (
        "The clusters depend on the seed",
        "Another seed gives other clusters, so a single run says as much about chance as about the data. Fewer "
        "clusters, more pretraining or another initial clustering (init) may make them stable.",
    ),
    "better baseline": (
        "A plain method may be better",
        "On the training rows a criterion that needs no labels prefers its clusters. The criterion can be wrong, so "
        "look at both clusterings; the run's table of plain methods has the figures.",
    ),
    "overconfident": (
        "The model is too sure of its clusters",
        "Probabilities near 1 do not mean that a row is in the right cluster, or that other rows of the same kind "
        "would give the same clusters. The stability of a row, in assignments.csv, is the more careful figure.",
    ),
    "worse than the start": (
        "Training made it worse",
        "The initial clustering alone is the better clustering of these rows. A larger anchor keeps the model "
        "closer to it; fewer epochs, or another initial clustering (init), may help too.",
    ),
}
"""Headings and meanings of the warnings of `training.diagnose` and of reports, by the words before their colon."""


def advice(warning: str) -> tuple[str, str, str | None]:
    """Return a warning's heading, its text and, if it is known, its meaning."""
    kind, colon, rest = warning.partition(": ")
    if colon and kind in ADVICE:
        heading, meaning = ADVICE[kind]
        rest = spell_stored(rest, plain)
        return heading, f"{rest[:1].upper()}{rest[1:]}.", meaning
    return "About the data", f"{warning[:1].upper()}{warning[1:]}.", None


def outcome(material: Material) -> str:
    """Return a sentence or two on what the run achieved, compared with what its start had already achieved."""
    accuracy, silhouette = (material.test.get(metric.name) for metric in (ACCURACY, SILHOUETTE))
    if accuracy is None:
        text = "There are no labels to compare the clusters with, so nothing here shows that they are the right ones. "
        if silhouette is None:
            return text + "The held-out rows lie in a single cluster."
        apart = separation(silhouette)
        return text + f"In the latent space they lie {apart}: a silhouette of {fixed(silhouette, 2)}."
    n_test = n_scored(material)
    which = "held-out rows" if n_test == material.test_N.sum() else "held-out rows that have a label"
    which += "" if material.weight_N is None else ", by weight,"
    text = f"{percent(accuracy)} of the {n_test:,} {which} are in the cluster that stands for their label. "
    start, gained = initial_accuracy(material), rows_gained(material)
    if start is None or gained is None:
        return text
    text += f"The initial clustering, from which training started, reaches {percent(start)} by itself: "
    if gained == 0:
        return text + "training got just as many rows right."
    rows = f"{abs(gained):,} {'more' if gained > 0 else 'fewer'} row{'s' if abs(gained) > 1 else ''}"
    return text + f"training got {rows} right."


def n_scored(material: Material) -> int:
    """Return how many held-out rows have a label to be scored by."""
    return int((material.test_N & material.labelled_N).sum())


def initial_accuracy(material: Material) -> float | None:
    """Return the accuracy of the initial clustering on the held-out rows, or None if it has none."""
    return None if material.baseline is None else material.baseline.get(ACCURACY.name)


def rows_gained(material: Material) -> int | None:
    """Return how many more held-out rows are right than by the initial clustering; None if either has no accuracy."""
    accuracy, start = material.test.get(ACCURACY.name), initial_accuracy(material)
    if accuracy is None or start is None:
        return None
    return round((accuracy - start) * n_scored(material))


def worse_than_start(material: Material) -> list[str]:
    """Return the warning that training lost accuracy against the initial clustering, as newer runs record it."""
    figures = material.metrics.heads[material.head]
    return experiment.worse_than_start(figures, material.metrics.initial_labels, n_scored(material))


def rival(material: Material) -> str:
    """Return a sentence on the plain method that seems better than the run; empty if none does."""
    kind = f"{experiment.BETTER_BASELINE}: "
    texts = [text.removeprefix(kind) for text in material.metrics.warnings if text.startswith(kind)]
    return "".join(f"{text[:1].upper()}{text[1:]}. " for text in texts)


def separation(silhouette: float) -> str:
    """Return what a silhouette means in words, by the steps of Kaufman and Rousseeuw (1990, table 4)."""
    steps = ((0.71, "far apart"), (0.51, "well apart"), (0.26, "weakly apart"))
    return next((phrase for least, phrase in steps if silhouette >= least), "hardly apart")


def command(requested: Requested, seeds: int | None = None) -> str:
    """Return the command line that repeats a run, or a folder of runs."""
    words = ["deepmix", "train"]
    flags = ("model", "prior", "posterior", "encoder", "decoder", "init")
    words += [
        word for name in flags if (value := getattr(requested, name)) is not None for word in (f"--{name}", value)
    ]
    for head in requested.heads:
        words += ["--head", head]
    for tracker in requested.trackers:
        words += ["--track", tracker]
    for name in ("dataset", "label_column", "data_dir"):
        if (value := getattr(requested, name)) is not None:
            words += [f"--{name.replace('_', '-')}", value]
    for key, value in requested.settings.items():
        words += ["--set", f"{key}={value}"]
    words += ["--seeds", str(seeds)] if seeds is not None else ["--seed", str(requested.seed)]
    words += ["--no-baselines"] if requested.baselines is False else []
    if requested.device != "auto":
        words += ["--device", requested.device]
    lines = [words[0] + " " + words[1]]
    for word in words[2:]:
        quoted = shlex.quote(word)
        if word.startswith("--"):
            lines.append(quoted)
        else:
            lines[-1] += " " + quoted
    return " \\\n  ".join(lines)
