"""The report on runs of several seeds, which shows how much their results depend on chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from deepmix import runs
from deepmix.data import write_atomically
from deepmix.errors import UsageError
from deepmix.maths import Array
from deepmix.metrics import ACCURACY, METRICS, SILHOUETTE, Metric
from deepmix.report import analysis, curves, sections, words
from deepmix.report.clusters import caption, shade
from deepmix.report.html import plots
from deepmix.report.html.markup import Child, Markup, element, figure, fixed, join, number, paragraph, percent, table
from deepmix.report.html.page import Section, page
from deepmix.report.material import MOST_CLUSTERS, data_name
from deepmix.runs import Baseline, Consensus, EpochRecord, Metrics, RunConfig, Scores

STABLE_AGREEMENT = 0.9
"""Fraction of rows on which two seeds must agree on average: below it more than one row in ten changes by chance."""


@dataclass(frozen=True)
class SeedRun:
    """The run of one seed."""

    seed: int
    metrics: Metrics
    epochs: Sequence[EpochRecord]
    cluster_N: Array
    """Clusters of all rows by the first head."""

    @property
    def methods(self) -> Mapping[str, Baseline]:
        """The plain methods beside the run; none where they were left out."""
        return {} if self.metrics.baselines is None else self.metrics.baselines.methods


@dataclass(frozen=True)
class SeedMaterial:
    """What the report of several seeds is made from."""

    config: RunConfig
    """Configuration of the first seed's run."""
    runs: Sequence[SeedRun]
    consensus: Consensus | None = None
    """The consensus of the seeds, where it was made."""
    consensus_scores: Scores | None = None
    """Its metrics on the held-out rows; None without labels."""

    @property
    def head(self) -> str:
        """The head whose clusters are compared: the first."""
        return self.config.requested.heads[0]

    @property
    def data(self) -> str:
        """The data set's name, or the file's name without its folder."""
        return data_name(self.config.requested)

    @property
    def heads(self) -> Sequence[str]:
        """The names of the heads."""
        return self.config.requested.heads

    @property
    def metric(self) -> Metric:
        """The main metric: the accuracy if there are labels, else the silhouette."""
        return ACCURACY if ACCURACY.name in self.runs[0].metrics.score_names() else SILHOUETTE

    @property
    def is_mixture(self) -> bool:
        """Whether the model has several components; only such models start from an initial clustering."""
        return self.runs[0].metrics.initial_labels is not None

    def baseline_values(self, metric: Metric) -> list[float]:
        """Return the initial clustering's metric on the held-out rows for each seed that has it."""
        values = [(run.metrics.baseline or {}).get(metric.name) for run in self.runs]
        return [value for value in values if value is not None]

    def values(self, head: str, metric: Metric) -> list[float]:
        """Return a head's metric on the held-out rows for each seed that has it."""
        values = [run.metrics.score(head, metric.name) for run in self.runs]
        return [value for value in values if value is not None]

    @cached_property
    def agreement_SS(self) -> Array:
        """Fraction of the rows that two seeds put in matching clusters, (S, S)."""
        return analysis.pairwise_agreement([run.cluster_N for run in self.runs])

    @property
    def mean_agreement(self) -> float:
        """Mean of that agreement over all pairs of different seeds."""
        return float(self.agreement_SS[np.triu_indices(len(self.runs), 1)].mean())


def seed_folders(path: Path) -> dict[int, runs.RunFolder]:
    """Return the finished runs of a folder of seeds.

    Raises:
        UsageError: a run is not finished.
        DeepmixError: summary.json is damaged.

    """
    numbers = runs.RunFolder(path).read(runs.Summary).seeds
    folders = {seed: runs.RunFolder(path / f"seed-{seed}") for seed in numbers}
    missing = [seed for seed, folder in folders.items() if not folder.has(runs.METRICS)]
    if missing:
        raise UsageError(
            f"the run of seed {missing[0]} in '{path}' is not finished; finish it with: "
            f"deepmix train --resume --out {path}"
        )
    return folders


def write_seeds(path: Path) -> None:
    """Write the report of a folder of seeds from the files of its runs.

    Raises:
        UsageError: a run is not finished.
        DeepmixError: a file is missing or damaged.

    """
    write_atomically(path / runs.REPORT, render(collect(path)).encode())


def collect(path: Path) -> SeedMaterial:
    """Return the material for the report on a folder of seeds; raises what `write_seeds` raises."""
    folders = seed_folders(path)
    config = next(iter(folders.values())).read(RunConfig)
    seed_runs = []
    for seed, folder in folders.items():
        cluster_N = runs.read_assignments(folder, folder.read(RunConfig))[config.requested.heads[0]]
        seed_runs.append(SeedRun(seed, folder.read(Metrics), folder.read_epochs(), cluster_N))
    consensus = runs.RunFolder(path / runs.CONSENSUS_FOLDER)
    if not consensus.has(runs.CONSENSUS):
        return SeedMaterial(config, seed_runs)
    return SeedMaterial(config, seed_runs, consensus.read(runs.Consensus), runs.read_consensus_scores(consensus))


def render(material: SeedMaterial) -> str:
    """Return the report of several seeds as an HTML document."""
    clusters, model = material.config.n_clusters, material.config.requested.model
    parts = (
        _cautions(material),
        _results(material),
        _agreement(material),
        _consensus(material),
        curves.training({f"seed {run.seed}": run.epochs for run in material.runs}, is_mixture=material.is_mixture),
        _runs(material),
        _again(material),
    )
    title = f"{material.data}: {clusters} clusters by {model}, {len(material.runs)} seeds"
    return page(title, _lead(material), [part for part in parts if part is not None])


def _lead(material: SeedMaterial) -> Markup:
    rows = material.config.data.rows
    opening = paragraph(
        element("strong", material.config.requested.model),
        f" was trained {len(material.runs)} times on ",
        element("strong", material.data),
        f" ({rows.train:,} training and {rows.test:,} held-out rows), each time with another seed. The differences "
        "between these runs are due to chance.",
    )
    entries: list[sections.Fact] = []
    values = material.values(material.head, material.metric)
    if values:
        note = f"held-out rows, head '{material.head}'; mean ± standard deviation"
        entries.append((capitalized(material.metric.title), _mean(values), note))
    accuracies = material.baseline_values(ACCURACY)
    if accuracies:
        entries.append(("Initial clustering", _mean(accuracies), "accuracy before the mixture was trained"))
    if len(material.runs) > 1:
        entries.append(("Agreement of two seeds", percent(material.mean_agreement), "of the rows, on average"))
    entries.append(("ELBO", _mean([run.metrics.elbo["test"] for run in material.runs]), "nats per held-out row"))
    return join([opening, sections.facts(entries)])


def capitalized(title: str) -> str:
    """Return a title that begins with a capital letter."""
    return title[:1].upper() + title[1:]


def _mean(values: Sequence[float]) -> str:
    """Return mean ± standard deviation of the sample, or '-' if there is no value."""
    if not values:
        return "-"
    mean = number(float(np.mean(values)))
    return f"{mean} ± {number(float(np.std(values, ddof=1)), 2)}" if len(values) > 1 else mean


def unstable(material: SeedMaterial) -> list[str]:
    """Return the warning that the clusters change with the seed, if they do."""
    if len(material.runs) < 2 or material.mean_agreement >= STABLE_AGREEMENT:
        return []
    text = f"two seeds put only {percent(material.mean_agreement)} of the rows in matching clusters on average"
    return [f"unstable over seeds: {text}"]


def _cautions(material: SeedMaterial) -> Section:
    """Return the section with the warning about all runs, then those of single runs with their seeds."""
    seeds_by_warning: dict[str, list[str]] = {}
    for run in material.runs:
        for warning in run.metrics.warnings:
            seeds_by_warning.setdefault(warning, []).append(str(run.seed))
    single = [
        f"{warning} (seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)})"
        for warning, seeds in seeds_by_warning.items()
    ]
    return sections.caution_section([*unstable(material), *single])


def _results(material: SeedMaterial) -> Section:
    metric = material.metric
    metrics = [METRICS[name] for name in material.runs[0].metrics.score_names()]
    rows: list[list[Child]] = [
        [f"head {head}", *(_mean(material.values(head, one)) for one in metrics)] for head in material.heads
    ]
    if any(material.baseline_values(one) for one in metrics):
        rows.append(["initial clustering alone", *(_mean(material.baseline_values(one)) for one in metrics)])
    for name in dict.fromkeys(name for run in material.runs for name in run.methods):
        scores = [run.methods[name].side("test") for run in material.runs if name in run.methods]
        values = [[value for one in scores if (value := one.get(metric.name)) is not None] for metric in metrics]
        rows += [[name, *(_mean(figures) for figures in values)]] if any(values) else []
    header = ["clusters by", *(one.title for one in metrics)]
    listed = table("Held-out rows, mean ± standard deviation over seeds", header, rows)
    every = [
        [
            f"seed {run.seed}",
            *(fixed(run.metrics.score(head, metric.name)) for head in material.heads),
            number(run.metrics.elbo["test"], 4),
            number(run.metrics.seconds),
        ]
        for run in material.runs
    ]
    header = ["run", *(f"head {head}" for head in material.heads), "ELBO", "seconds"]
    single = table(f"Each seed's {metric.title} on held-out rows", header, every)
    return Section("Results over seeds", join([listed, element("div", _strips(material), single, class_="beside")]))


def _strips(material: SeedMaterial) -> Markup | None:
    """Return the chart of every seed's main metric."""
    metric, name = material.metric, material.metric.title
    rows = [(head, material.values(head, metric)) for head in material.heads]
    text = f"each dot is a seed's {name} on held-out rows; the stroke is their mean"
    if initial := material.baseline_values(metric):
        rows.append(("initial", initial))
        text += "; 'initial' is the initial clustering alone"
    rows = [(head, values) for head, values in rows if values]
    if not rows:
        return None
    described = "; ".join(f"{head} from {number(min(values))} to {number(max(values))}" for head, values in rows)
    title = f"Each seed's {name}"
    return figure(plots.strips(title, f"{described}.", rows, name), caption(title, text))


def _agreement(material: SeedMaterial) -> Section | None:
    if len(material.runs) < 2:
        return None
    names = [f"seed {run.seed}" for run in material.runs]
    rows = [
        [name, *(element("td", percent(float(value), 0), class_=shade(max(2 * value - 1, 0.0))) for value in agreement)]
        for name, agreement in zip(names, material.agreement_SS, strict=True)
    ]
    text = paragraph(
        "The clusters of two seeds are matched one to one; the seeds agree on a row if they put it in matching "
        f"clusters. On average they agree on {percent(material.mean_agreement)} of the rows, and the worst pair agrees "
        f"on {percent(float(material.agreement_SS.min()))}. Clusters that change with the seed are not much of a "
        "finding, however good each run looks."
    )
    title = f"Rows on which two seeds agree, head '{material.head}'"
    return Section("Agreement of the seeds", join([text, table(title, ["run", *names], rows, class_="confusion")]))


def _consensus(material: SeedMaterial) -> Section | None:
    """Return the section on the consensus of the seeds."""
    consensus = material.consensus
    if consensus is None:
        return None
    folder = runs.CONSENSUS_FOLDER
    text = (
        f"The clusters of every seed are matched to those of seed {consensus.central}, which agrees best with the "
        "others, and each row is in the cluster that most seeds vote for. Its certainty is the fraction of the seeds "
        f"that do: {consensus.mean_certainty:.2f} on average. {folder}/{runs.ASSIGNMENTS} has each row's cluster and "
        f"certainty, and deepmix predict takes the folder {folder} for new rows."
    )
    scores = material.consensus_scores or {}
    metrics = [METRICS[name] for name in material.runs[0].metrics.score_names() if scores.get(name) is not None]
    parts: list[Markup] = [paragraph(text)]
    if metrics:
        rows: list[list[Child]] = [
            ["consensus", *(fixed(scores[one.name]) for one in metrics)],
            [f"one seed, head {material.head}", *(_mean(material.values(material.head, one)) for one in metrics)],
        ]
        parts.append(table("Held-out rows", ["clusters by", *(one.title for one in metrics)], rows))
    figures = list(enumerate(zip(consensus.sizes, consensus.certainty, strict=True)))[:MOST_CLUSTERS]
    clusters: list[list[Child]] = [[str(k), f"{size:,}", fixed(certainty, 2)] for k, (size, certainty) in figures]
    parts.append(table("Clusters of the consensus", ["cluster", "rows", "certainty"], clusters))
    return Section("Consensus of the seeds", join(parts))


def _runs(material: SeedMaterial) -> Section:
    links = [
        element("li", element("a", f"Report of seed {run.seed}", href=f"seed-{run.seed}/{runs.REPORT}"))
        for run in material.runs
    ]
    text = paragraph("Each run has its own report, with the map, the clusters and what they look like:")
    return Section("Reports of the runs", join([text, element("ul", *links)]))


def _again(material: SeedMaterial) -> Section:
    environment = material.config.environment
    text = paragraph(
        "This command repeats all runs; with the same data, versions and number of threads it gives the same bits:"
    )
    command = sections.code("Command", words.command(material.config.requested, seeds=len(material.runs)))
    versions = (
        f"deepmix {environment.deepmix}, torch {environment.torch}, device {environment.device}, "
        f"threads {environment.threads}"
    )
    return Section(
        "Run it again", join([text, command, paragraph(f"Ran with {versions}; each run's report lists everything.")])
    )
