"""A run's figures in plain words: what is measured, what is worth a warning, and how to run it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from deepmix.report.markup import number, percent
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
        "The model was given more clusters than it used. Fewer clusters (--components), a larger --set anchor or "
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
}
"""What `training.diagnose` warns of, by the words before its colon: a heading and what it means for a reader."""


def advice(warning: str) -> tuple[str, str, str | None]:
    """Return a warning's heading, its own words and what it means, if that is known."""
    kind, colon, rest = warning.partition(": ")
    if colon and kind in ADVICE:
        heading, meaning = ADVICE[kind]
        return heading, f"{rest[:1].upper()}{rest[1:]}.", meaning
    return "About the data", f"{warning[:1].upper()}{warning[1:]}.", None


def outcome(material: Material) -> str:
    """Return in a sentence or three what the run achieved, beside what its start had achieved already."""
    head = material.metrics["heads"][material.head]["test"]
    n_test = int(material.test_N.sum())
    if "acc" not in head:
        told = "There are no labels to compare the clusters with, so nothing here says that they are the right ones. "
        if head["silhouette"] is None:
            return told + "The held-out rows lie in a single cluster."
        return told + f"In the latent space their silhouette is {number(head['silhouette'], 2)} ({separation(head['silhouette'])})."
    told = f"{percent(head['acc'])} of the {n_test:,} held-out rows are in the cluster that stands for their label. "
    baseline = material.metrics.get("initial_labels", {}).get("test")
    if baseline is None:
        return told
    gained = round((head["acc"] - baseline["acc"]) * n_test)
    told += f"The initial clustering, from which training started, reaches {percent(baseline['acc'])} by itself: "
    if gained == 0:
        return told + "training neither gained nor lost a row against it."
    rows = f"{abs(gained):,} row{'s' if abs(gained) > 1 else ''}"
    return told + f"training {'gained' if gained > 0 else 'lost'} {rows} against it."


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
