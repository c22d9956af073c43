"""A run's figures in plain words: what is measured, what is worth a warning, and how to run it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from deepmix.errors import plain, spell_stored
from deepmix.report.html.markup import fixed, percent
from deepmix.report.material import Material

METRICS = {
    "acc": ("accuracy", "share of rows whose cluster stands for their label, clusters and labels matched one to one"),
    "nmi": ("NMI", "normalised mutual information: what cluster and label tell of each other, 0 to 1"),
    "ari": ("ARI", "adjusted Rand index: pairs of rows kept together or apart as the labels do; chance is 0, best 1"),
    "homogeneity": ("homogeneity", "1 where each cluster holds rows of one label only"),
    "completeness": ("completeness", "1 where all rows of a label are in one cluster"),
    "v_measure": ("V-measure", "harmonic mean of homogeneity and completeness"),
    "silhouette": ("silhouette", "how far clusters lie apart in the latent space, -1 to 1; needs no labels"),
}
"""The metrics of metrics.json: names for tables and what they mean."""


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
    "posterior collapse": (
        "Part of the latent space is unused",
        "Those dimensions carry nothing about the data within a cluster; what the model generates will vary little.",
    ),
    "unstable over seeds": (
        "The clusters depend on the seed",
        "Another seed gives other clusters, so a single run tells as much of chance as of the data. Fewer clusters, "
        "more pretraining or another initial clustering (init) may settle them.",
    ),
    "worse than the start": (
        "Training made it worse",
        "The initial clustering alone is the better clustering of these rows. A larger anchor keeps the model "
        "closer to it; fewer epochs, or another initial clustering (init), may help too.",
    ),
}
"""What `training.diagnose` and reports warn of, by the words before the colon: a heading and what it means."""


WORTH_A_WARNING = 0.01
"""Share of the held-out rows that training may lose against its start before the report warns."""


def advice(warning: str) -> tuple[str, str, str | None]:
    """Return a warning's heading, its own words and what it means, if that is known."""
    kind, colon, rest = warning.partition(": ")
    if colon and kind in ADVICE:
        heading, meaning = ADVICE[kind]
        rest = spell_stored(rest, plain)
        return heading, f"{rest[:1].upper()}{rest[1:]}.", meaning
    return "About the data", f"{warning[:1].upper()}{warning[1:]}.", None


def known_metrics(metrics: Mapping[str, Any]) -> list[str]:
    """Return the names of the metrics a run has, in the order of METRICS."""
    measured = next(iter(metrics["heads"].values()))["test"]
    return [name for name in METRICS if name in measured]


def outcome(material: Material) -> str:
    """Return in a sentence or two what the run achieved, beside what its start had achieved already."""
    head = material.metrics["heads"][material.head]["test"]
    if "acc" not in head:
        told = "There are no labels to compare the clusters with, so nothing here says that they are the right ones. "
        if head["silhouette"] is None:
            return told + "The held-out rows lie in a single cluster."
        apart = separation(head["silhouette"])
        return told + f"In the latent space they lie {apart}: a silhouette of {fixed(head['silhouette'], 2)}."
    n_test = int(material.test_N.sum())
    told = f"{percent(head['acc'])} of the {n_test:,} held-out rows are in the cluster that stands for their label. "
    if material.baseline is None:
        return told
    told += (
        f"The initial clustering, from which training started, reaches {percent(material.baseline['acc'])} by itself: "
    )
    gained = rows_gained(material)
    if gained == 0:
        return told + "training neither gained nor lost a row against it."
    rows = f"{abs(gained):,} row{'s' if abs(gained) > 1 else ''}"
    return told + f"training {'gained' if gained > 0 else 'lost'} {rows} against it."


def rows_gained(material: Material) -> int:
    """Return by how many held-out rows the accuracy exceeds the initial clustering's."""
    assert material.baseline is not None
    head = material.metrics["heads"][material.head]["test"]
    return round((head["acc"] - material.baseline["acc"]) * int(material.test_N.sum()))


def worse_than_start(material: Material) -> list[str]:
    """Return the warning that training lost against the initial clustering, if it did by more than a trifle."""
    if material.baseline is None:
        return []
    lost, n_test = -rows_gained(material), int(material.test_N.sum())
    if lost <= WORTH_A_WARNING * n_test:
        return []
    return [
        f"worse than the start: {lost:,} fewer of {n_test:,} held-out rows are right than by the initial clustering"
    ]


def separation(silhouette: float) -> str:
    """Return what a silhouette means, by the steps of Kaufman and Rousseeuw (1990, table 4)."""
    steps = ((0.71, "far apart"), (0.51, "well apart"), (0.26, "weakly apart"))
    return next((told for least, told in steps if silhouette >= least), "hardly apart")


def command(config: Mapping[str, Any], seeds: int | None = None) -> str:
    """Return the command line that repeats a run, or a folder of runs."""
    words = ["deepmix", "train"]
    for key in ("model", "prior", "posterior", "encoder", "decoder", "init"):
        if config.get(key) is not None:
            words += [f"--{key}", str(config[key])]
    for head in config["heads"]:
        words += ["--head", str(head)]
    for key, flag in (("dataset", "--dataset"), ("label_column", "--label-column"), ("data_dir", "--data-dir")):
        if config.get(key) is not None:
            words += [flag, str(config[key])]
    for key, value in config.get("settings", {}).items():
        words += ["--set", f"{key}={value}"]
    words += ["--seeds", str(seeds)] if seeds is not None else ["--seed", str(config["seed"])]
    if config.get("device", "auto") != "auto":
        words += ["--device", str(config["device"])]
    lines = [words[0] + " " + words[1]]
    for word in words[2:]:
        quoted = shlex.quote(word)
        if word.startswith("--"):
            lines.append(quoted)
        else:
            lines[-1] += " " + quoted
    return " \\\n  ".join(lines)
