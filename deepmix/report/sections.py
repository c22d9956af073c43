"""The sections of a run's report that are mostly words and tables: opening, warnings, results, how to run it again.

As in `clusters`, `looks` and `curves`, each function takes the material and returns a section, or None if the section
does not apply.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from deepmix.metrics import ACCURACY, METRICS, SILHOUETTE
from deepmix.report import words
from deepmix.report.html.markup import (
    Child,
    Markup,
    details,
    element,
    fixed,
    join,
    number,
    paragraph,
    percent,
    scrolled,
    table,
)
from deepmix.report.html.page import Section
from deepmix.report.material import Material

Fact = tuple[str, str, str]
"""A figure at the top of the page: its name, its value and a note."""


def facts(entries: Iterable[Fact]) -> Markup:
    """Return the figures at the top of the page."""
    cells = [
        element("div", element("dt", name), element("dd", value, element("small", note)))
        for name, value, note in entries
    ]
    return element("dl", *cells, class_="facts")


def lead(material: Material) -> Markup:
    """Return the text below the title: what was done, what the result is, and the main figures."""
    metrics, rows = material.metrics, material.config.data.rows
    opening = paragraph(
        element("strong", material.config.requested.model),
        f" sorted the {rows.total:,} rows of ",
        element("strong", material.data),
        f"{_columns(material)} into {cluster_count(material)}. It learned from "
        f"{rows.train:,} of them; the other {rows.test:,} were held out, to see how it does on new rows.",
        ""
        if metrics.sample is None
        else f" The rows stayed on disk: the figures and pictures here are of a random sample of "
        f"{metrics.sample.train:,} training and {metrics.sample.test:,} held-out rows; assignments.csv has all.",
    )
    accuracy, silhouette = (material.test.get(metric.name) for metric in (ACCURACY, SILHOUETTE))
    start = words.initial_accuracy(material)
    entries: list[Fact] = []
    if accuracy is not None:
        entries.append(("Accuracy", percent(accuracy), f"held-out rows, head '{material.head}'"))
        if start is not None:
            entries.append(("Initial clustering", percent(start), "accuracy before the mixture was trained"))
    elif silhouette is not None:
        entries.append(("Silhouette", fixed(silhouette, 2), "held-out rows; 1 at best"))
    least, most = int(material.size_K.min()), int(material.size_K.max())
    filled = int((material.size_K > 0).sum())
    entries.append(
        ("Clusters with rows", f"{filled} of {material.n_clusters}", f"largest {most:,} rows, smallest {least:,}")
    )
    if material.is_mixture:
        entries.append(
            ("Mean certainty", fixed(float(material.confidence_N.mean()), 2), "largest q(y|x) of a row; 1 at best")
        )
    stability = metrics.stability
    if stability is not None:
        entries.append(
            (
                "Stability",
                percent(stability.agreement),
                f"of the rows keep their cluster when {stability.title} runs on samples",
            )
        )
    if material.frame is not None:
        n_missing, n_cells = int(material.frame.isna().to_numpy().sum()), material.frame.size
        note = f"{percent(n_missing / max(n_cells, 1))} of {n_cells:,}; left out of the likelihood, not filled in"
        entries.append(("Missing cells", f"{n_missing:,}", note if n_missing else "every cell has a value"))
    entries.append(("ELBO", number(metrics.elbo["test"], 4), "nats per held-out row"))
    return join([opening, paragraph(words.rival(material), words.outcome(material)), facts(entries)])


def cluster_count(material: Material) -> str:
    """Return the number of clusters in words."""
    return "1 cluster" if material.n_clusters == 1 else f"{material.n_clusters} clusters"


def _columns(material: Material) -> str:
    """Return the number of columns in words: of a table, how many of the file's the model sees."""
    if material.schema is None or material.frame is None:
        return f", {material.x_ND.shape[1]:,} columns each,"
    n_seen, n_columns = material.frame.shape[1], len(material.schema.columns)
    return f", by {f'{n_seen:,} of' if n_seen < n_columns else 'all'} their {n_columns:,} columns,"


def cautions(material: Material) -> Section:
    """Return the section with the run's warnings in plain words."""
    return caution_section(list(dict.fromkeys([*words.worse_than_start(material), *material.metrics.warnings])))


def caution_section(warnings: Sequence[str]) -> Section:
    """Return the section with warnings in plain words, or a statement that there are none."""
    parts = []
    for warning in warnings:
        heading, text, meaning = words.advice(warning)
        parts.append(
            element(
                "div",
                element("h3", "Warning: ", heading),
                paragraph(text),
                meaning and paragraph(meaning),
                class_="warning",
            )
        )
    if not parts:
        parts.append(
            paragraph(
                "Nothing stood out. deepmix looks for empty clusters, a model that is unsure of most rows or too sure "
                "of them, a plain method that does better, latent dimensions that carry nothing, and constant columns."
            )
        )
    return Section("What to watch out for", join(parts))


def results(material: Material) -> Section:
    """Return the section with every head's metrics beside those of the initial clustering."""
    metrics = material.metrics
    scores_shown = [METRICS[name] for name in metrics.score_names()]
    header = ["clusters by", *(metric.title for metric in scores_shown)]
    parts = []
    for side, caption in (("test", "Held-out rows"), ("train", "Training rows")):
        rows: list[list[Child]] = [
            [f"head {head}", *(fixed(sides[side].scores.get(metric.name)) for metric in scores_shown)]
            for head, sides in metrics.heads.items()
        ]
        baseline = {} if metrics.initial_labels is None else metrics.initial_labels.side(side)
        if baseline:
            rows.append(["initial clustering alone", *(fixed(baseline.get(metric.name)) for metric in scores_shown)])
        parts.append(table(caption, header, rows))
    if material.baseline is not None:
        parts.append(
            paragraph(
                "Training starts from an initial clustering, whose labels are the baseline; each held-out row takes "
                "the label that most of its nearest training rows have. Most of the accuracy comes from it: only "
                "what exceeds it is due to the mixture."
            )
        )
    heads = "A head turns the model's inference on a row into a cluster; 'posterior' takes the most probable component."
    if len(metrics.heads) > 1:
        heads += f" The clusters below are those of '{material.head}'."
    terms = [element("dt", metric.title) + element("dd", metric.explanation) for metric in scores_shown]
    sides = metrics.elbo_parts
    names = dict.fromkeys(name for parts_of_side in sides.values() for name in parts_of_side)
    bound = [
        [term_name(name), *(number(sides[side][name], 4) if name in sides[side] else "-" for side in ("train", "test"))]
        for name in names
    ]
    parts += [
        paragraph(heads),
        details("What these figures mean", element("dl", *terms, class_="terms")),
        details(
            "The evidence lower bound (ELBO) and its parts",
            table(
                "Nats per row; the ELBO is the reconstruction minus the other terms",
                ["part", "training", "held out"],
                bound,
            ),
            paragraph(
                "The ELBO bounds the log-probability of a row from below and compares models of the same data: higher "
                "is better. Held-out rows far below the training rows would mean that the model learned rows by heart."
            ),
        ),
    ]
    return Section("Results", join(parts))


def again(material: Material) -> Section:
    """Return the section on what was run, with the command that runs it again."""
    config = material.config
    requested, data, environment = config.requested, config.data, config.environment
    entries: list[tuple[str, Any]] = [
        ("data set", requested.dataset),
        ("preparation", data.preprocessing),
        ("rows", f"{data.rows.train:,} for training, {data.rows.test:,} held out"),
        ("labels", "used for scoring only" if data.labels else "none"),
        ("fingerprint of the data", data.fingerprint),
        ("model", f"{requested.model}, {config.n_parameters:,} parameters"),
        ("likelihood", config.likelihood),
        ("initial clustering", config.initializer),
        ("seed", requested.seed),
        (
            "time",
            f"{number(material.metrics.seconds)} s on {environment.device}, threads: {environment.threads}, updates in "
            f"{environment.update_precision}",
        ),
        ("versions", ", ".join(f"{name} {version}" for name, version in environment.versions.items())),
        ("platform", environment.platform),
        ("git commit", environment.git_commit),
    ]
    options = [(f"{part}.{name}", value) for part, values in config.resolved.items() for name, value in values.items()]
    parts = [
        paragraph(
            "This command repeats the run; with the same data, versions and number of threads it gives the same bits:"
        ),
        code("Command", words.command(requested)),
        described("What was run", entries),
        details("The resolved value of every option", described("Options of the model and its parts", options)),
        details(
            "The whole config.json",
            paragraph("Saved to a file, this also repeats the run: deepmix train --config FILE"),
            code("config.json", json.dumps(config.to_json(), indent=2, ensure_ascii=False)),
        ),
    ]
    return Section("Run it again", join(parts))


def term_name(name: str) -> str:
    """Return the report's name for a term of the loss."""
    return name.replace("_", " ")


def code(name: str, text: str) -> Markup:
    """Return text to be copied, unchanged."""
    return scrolled(name, element("pre", element("code", text)))


def described(caption: str, entries: Iterable[tuple[str, Any]]) -> Markup:
    """Return a table of names and values, without those that are None."""
    rows = [[name, str(value)] for name, value in entries if value is not None]
    return table(caption, ["what", "value"], rows, text_columns=(0, 1))
