"""The parts of one run's report, each a function from its material to a section, or None where it does not apply."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np

from deepmix.report import analysis, plots, words
from deepmix.report.markup import Child, Markup, details, element, figure, join, number, percent, scrolled, table
from deepmix.report.material import Material
from deepmix.report.page import Section
from deepmix.report.plots import Group, Series
from deepmix.types import Array

MOST_CLASSES = 60
"""Labels, and clusters, that tables list; more are summed up in a last line."""
CERTAINTIES = (
    (0.99, "over 0.99", 6, "dot"),
    (0.9, "0.90 to 0.99", 0, "square"),
    (0.6, "0.60 to 0.90", 4, "plus"),
    (0.0, "below 0.60", 1, "cross"),
)
"""Steps of q(y|x) on the map: least value, name, colour and marker; the last are drawn on top."""
TABLE_EPOCHS = 20
"""Epochs listed in the tables behind the training curves."""


def paragraph(*children: Child, class_: str | None = None) -> Markup:
    """Return a paragraph."""
    return element("p", *children, class_=class_)


def lead(material: Material) -> Markup:
    """Return what stands below the title: what was done and what came of it, and the main figures."""
    config, metrics = material.config, material.metrics
    data = config["resolved"]["data"]
    rows = data["rows"]
    opening = paragraph(
        element("strong", config["model"]),
        f" sorted the {rows['train'] + rows['test']:,} rows of ",
        element("strong", material.data),
        f", {data['columns']:,} columns each, into {material.n_clusters} clusters. It learned from {rows['train']:,} of them; the other "
        f"{rows['test']:,} were held out to see how it does on rows it does not know.",
    )
    test = metrics["heads"][material.head]["test"]
    facts: list[tuple[str, str, str]] = []
    if "acc" in test:
        facts.append(("Accuracy", percent(test["acc"]), f"held-out rows, head '{material.head}'"))
        if "test" in metrics.get("initial_labels", {}):
            facts.append(("Initial clustering", percent(metrics["initial_labels"]["test"]["acc"]), "accuracy without the mixture"))
    elif test["silhouette"] is not None:
        facts.append(("Silhouette", number(test["silhouette"], 2), "held-out rows, -1 to 1".replace("-", "\N{MINUS SIGN}")))
    filled = int((material.size_K > 0).sum())
    facts.append(("Clusters with rows", f"{filled} of {material.n_clusters}", f"largest {int(material.size_K.max()):,}, smallest {int(material.size_K.min()):,} rows"))
    if material.is_mixture:
        facts.append(("Mean certainty", number(float(material.confidence_N.mean()), 2), "largest q(y|x) of a row"))
    facts.append(("ELBO", number(metrics["elbo"]["test"], 4), "nats a held-out row"))
    cells = [element("div", element("dt", name), element("dd", value, element("small", note))) for name, value, note in facts]
    return join([opening, paragraph(words.outcome(material)), element("dl", *cells, class_="facts")])


def cautions(material: Material) -> Section | None:
    """Return the run's warnings in plain words."""
    return caution_section(list(material.metrics["warnings"]))


def caution_section(warnings: list[str]) -> Section:
    """Return warnings in plain words, or that there are none."""
    parts = []
    for warning in warnings:
        heading, told, meaning = words.advice(warning)
        parts.append(element("div", element("h3", "\N{WARNING SIGN}\N{VARIATION SELECTOR-15} ", heading), paragraph(told), meaning and paragraph(meaning), class_="warning"))
    if not parts:
        parts.append(paragraph("Nothing: no cluster is empty, no latent dimension unused, and the model is sure of most rows."))
    return Section("What to watch out for", join(parts))


def results(material: Material) -> Section:
    """Return every head's metrics beside the initial clustering's."""
    metrics = material.metrics
    known = [name for name in words.METRICS if name in next(iter(metrics["heads"].values()))["test"]]
    header = ["", *(words.METRICS[name][0] for name in known)]
    parts = []
    for side, told in (("test", "Held-out rows"), ("train", "Training rows")):
        rows: list[list[Child]] = []
        for head, sides in metrics["heads"].items():
            rows.append([f"head {head}", *(number(sides[side][name]) for name in known)])
        baseline = metrics.get("initial_labels", {}).get(side)
        if baseline is not None:
            rows.append(["initial clustering alone", *(number(baseline.get(name)) for name in known)])
        parts.append(table(told, header, rows))
    if "test" in metrics.get("initial_labels", {}):
        parts.append(
            paragraph(
                "Training starts from an initial clustering; its labels alone are the baseline. On held-out rows they are those of the "
                "nearest training rows, by vote. In this field the start decides most of the accuracy: only what "
                "exceeds it is the mixture's own."
            )
        )
    parts.append(paragraph(
        "A head turns what the model says of a row into a cluster; 'posterior' takes the model's most probable component. "
        f"All figures below are of '{material.head}'." if len(metrics["heads"]) > 1 else
        "A head turns what the model says of a row into a cluster; 'posterior' takes the model's most probable component."
    ))
    terms = join(element("dt", words.METRICS[name][0]) + element("dd", words.METRICS[name][1]) for name in known)
    elbo = metrics["elbo_parts"]
    bound = [[name.replace("_", " "), number(elbo["train"][name], 4), number(elbo["test"][name], 4)] for name in elbo["train"]]
    parts.append(details("What these figures mean", element("dl", terms, class_="terms")))
    parts.append(details(
        "The evidence lower bound (ELBO) and its parts",
        table("Nats a row; the ELBO is the reconstruction less the two divergences", ["", "training", "held out"], bound),
        paragraph("The ELBO compares models of the same data: higher is better. It bounds the log-probability of a row from below. "
        "Held-out rows much below the training rows would mean that the model learned rows by heart."),
    ))
    return Section("Results", join(parts))


def sizes(material: Material) -> Section:
    """Return how many rows each cluster has, how sure the model is of them, and the label they share."""
    counts = material.size_K
    shown = _largest(material)
    n_rows = int(counts.sum())
    chart = plots.bars(
        "Rows of each cluster",
        f"The largest cluster has {int(counts.max()):,} rows and the smallest {int(counts.min()):,}; equal clusters would have {n_rows / len(counts):,.0f}.",
        [str(k) for k in shown],
        [int(counts[k]) for k in shown],
        n_rows / len(counts),
        "equal clusters",
    )
    header: list[Child] = ["cluster", "rows", "share", "training", "held out"]
    if material.is_mixture:
        header.append("certainty")
    if material.label_N is not None:
        header += ["stands for", "rows of that label"]
    rows = []
    for k in shown:
        inside = material.cluster_N == k
        held = int((inside & material.test_N).sum())
        row: list[Child] = [f"{k}", f"{int(counts[k]):,}", percent(counts[k] / n_rows), f"{int(counts[k]) - held:,}", f"{held:,}"]
        if material.is_mixture:
            row.append(number(float(material.confidence_N[inside].mean()), 2) if inside.any() else "-")
        if material.label_N is not None:
            name = material.meaning.get(k)
            pure = percent(float((material.label_N[inside] == name).mean())) if name is not None else "-"
            row += [element("td", name if name is not None else "-", class_="text"), pure]
        rows.append(row)
    note = _left_out(material, len(shown))
    known = table("Each cluster in figures, training and held-out rows together", header, rows)
    terms = "Certainty is the mean of the largest q(y|x) of the cluster's rows, at most 1. " if material.is_mixture else ""
    if material.label_N is not None:
        terms += "A cluster stands for the label it is matched to on the training rows, one to one; clusters left over stand for their most frequent label."
    return Section("Clusters", join([note, element("div", figure(chart, "Rows of each cluster, all rows."), element("div", known, paragraph(terms, class_="quiet")), class_="grid")]))


def _largest(material: Material) -> list[int]:
    """Return the clusters that are shown, in their order: all, or the largest where there are many."""
    order = np.argsort(-material.size_K, kind="stable")[:MOST_CLASSES]
    return sorted(order.tolist())


def _left_out(material: Material, n_shown: int) -> Markup | None:
    if n_shown == material.n_clusters:
        return None
    return paragraph(f"The {n_shown} largest of {material.n_clusters} clusters are shown.")


def latent_map(material: Material) -> Section:
    """Return maps of the latent space by cluster, by label and by certainty."""
    rows = material.drawn
    ways: list[tuple[str, str, list[tuple[str, int, str, Array]], bool]] = []
    by_cluster = [(str(k), k, plots.SHAPES[k % 4], material.cluster_N[rows] == k) for k in range(material.n_clusters)]
    ways.append(("by cluster", "the clusters' numbers stand at their middles", by_cluster, True))
    if material.label_N is not None:
        names = material.classes
        by_label = [(name, i, plots.SHAPES[i % 4], material.label_N[rows] == name) for i, name in enumerate(names[:MOST_CLASSES])]
        if len(names) > MOST_CLASSES:
            by_label.append(("other labels", 6, "dot", ~np.isin(material.label_N[rows], names[:MOST_CLASSES])))
        ways.append(("by label", "the labels stand at their middles", by_label, True))
    if material.is_mixture:
        sure, above = material.confidence_N[rows], np.inf
        steps = []
        for least, name, colour, shape in CERTAINTIES:
            steps.append((name, colour, shape, (sure >= least) & (sure < above)))
            above = least
        ways.append(("by certainty", "the least certain rows are drawn on top", steps, False))
    parts: list[Markup] = []
    for view in material.maps:
        figures = []
        for way, told, looks, labelled in ways:
            groups = [Group(name, view.points[chosen], colour % plots.N_COLOURS, shape, labelled) for name, colour, shape, chosen in looks if chosen.any()]
            chart = plots.scatter(f"{view.name} map {way}", f"{len(rows):,} rows in {len(groups)} groups; {told}.", groups, view.x_label, view.y_label)
            legend = element("ul", *(element("li", plots.swatch(g.colour, g.shape), f"{plots.short(g.name)} ({len(g.points):,})") for g in groups), class_="legend")
            below = legend if len(groups) <= 12 else details("Legend", legend)
            figures.append(figure(chart, f"{view.name}, {way}: {told}.", below))
        parts += [element("h3", view.name), element("div", *figures, class_="grid")]
    subset = f"{len(rows):,} of {len(material.cluster_N):,} rows, drawn at random" if len(rows) < len(material.cluster_N) else f"all {len(rows):,} rows"
    opening = paragraph(
        f"The model places each row in a latent space of {material.latent_NM.shape[1]} dimensions; these are two-dimensional views of it, of {subset}. "
        "PCA keeps distances as well as a plane can. t-SNE shows which rows are neighbours; sizes of groups and gaps between them mean little there."
    )
    closing = None
    if material.is_mixture:
        closing = paragraph(
            "Each row is drawn where its own cluster's component places it. Where components do not share one latent space (k-dvae, "
            "or a standard prior), clusters may lie on top of each other here and still be told apart.", class_="quiet")
    return Section("Map of the latent space", join([opening, *parts, closing]))


def confusion(material: Material) -> Section | None:
    """Return clusters against labels on the held-out rows."""
    if material.label_N is None:
        return None
    test = material.test_N
    classes = material.classes[:MOST_CLASSES]
    position = {name: i for i, name in enumerate(classes)}
    meaning = analysis.match(material.label_N[test], material.cluster_N[test], material.n_clusters)
    one_to_one = analysis.matched_pairs(material.label_N[test], material.cluster_N[test])
    shown = sorted(_largest(material), key=lambda k: (position.get(meaning.get(k, ""), len(classes)), k))
    left_out = len(material.classes) > len(classes)
    header: list[Child] = ["cluster", *(plots.short(name) for name in classes), *(["other"] if left_out else [])]
    rows = []
    for k in shown:
        inside = material.label_N[test & (material.cluster_N == k)]
        counts = [int((inside == name).sum()) for name in classes]
        counts += [len(inside) - sum(counts)] if left_out else []
        cells: list[Child] = [str(k)]
        for name, n in zip([*classes, None], counts, strict=False):
            share = n / max(len(inside), 1)
            looks = f"h{int(np.ceil(5 * share))}" + (" matched" if one_to_one.get(k) == name else "")
            cells.append(element("td", f"{n:,}", class_=looks))
        rows.append(cells)
    whole = table("Held-out rows of each cluster (down) by label (across); darker is a larger share of the cluster's rows, framed is the label it is matched to", header, rows, class_="confusion", text_columns=())
    right = sum(int((material.label_N[test & (material.cluster_N == k)] == name).sum()) for k, name in one_to_one.items())
    told = paragraph(f"Clusters and labels are matched one to one so that as many rows as possible agree: {right:,} of {int(test.sum()):,}, the accuracy of {percent(right / test.sum())}. Clusters are ordered by the label they hold most of or are matched to.")
    more = None
    if material.n_clusters != len(material.classes):
        more = paragraph(f"There are {material.n_clusters} clusters for {len(material.classes)} labels, so {'some clusters' if material.n_clusters > len(material.classes) else 'some labels'} have no partner and count as wrong in the accuracy; homogeneity and completeness say more here.")
    return Section("Clusters against labels", join([told, more, _left_out(material, len(shown)), whole]))


def certainty(material: Material) -> Section | None:
    """Return how sure the model is of its clusters and, with labels, how often it is right to be."""
    if not material.is_mixture:
        return None
    test = material.test_N
    sure = material.confidence_N[test]
    edges = np.linspace(0.0, 1.0, analysis.N_BINS + 1)
    counts = np.histogram(np.clip(sure, 0, 1), edges)[0]
    spread = plots.histogram("How sure the model is", f"Held-out rows by their largest q(y|x); {percent(float((sure >= 0.9).mean()))} are above 0.9.", edges, counts, "largest q(y|x) of a row")
    listed = table("Held-out rows by largest q(y|x)", ["q(y|x)", "rows"], [[f"{a:.1f} to {b:.1f}", f"{n:,}"] for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)])
    figures = [figure(spread, "Held-out rows by their largest q(y|x).", details("The figures behind it", listed))]
    opening = "For each row the model gives the probability of every cluster, q(y|x). The largest says how sure it is of the row's cluster."
    if material.label_N is not None:
        found = material.reliability
        gap = float(((found.said - found.seen) * found.counts).sum() / found.counts.sum())
        verdict = "about as sure as it is right" if abs(gap) < 0.02 else "surer than it is right" if gap > 0 else "less sure than it is right"
        chart = plots.reliability_chart("Reliability diagram", f"Expected calibration error {number(found.error, 2)}; the model is {verdict}.", found.said, found.seen, found.low, found.high, found.counts)
        listed = table(
            "Held-out rows by how sure the model was of them",
            ["sure (mean)", "right", "95 % interval", "rows"],
            [[number(a), number(b), f"{c:.2f} to {d:.2f}", f"{n:,}"] for a, b, c, d, n in zip(found.said, found.seen, found.low, found.high, found.counts, strict=True)],
        )
        figures.append(figure(chart, "On the dashed line the model is right as often as it says. Larger dots are more rows; strokes are 95 % intervals.", details("The figures behind it", listed)))
        opening += (
            f" On held-out rows it is {percent(float((found.said * found.counts).sum() / found.counts.sum()))} sure on average and right about {percent(float((found.seen * found.counts).sum() / found.counts.sum()))} "
            f"of them: {verdict}. The expected calibration error, the mean gap between the two, is {number(found.error, 2)}. A component is right where it stands for the row's label, matched on the training rows."
        )
    return Section("How sure the model is", join([paragraph(opening), element("div", *figures, class_="grid")]))


def training(material: Material) -> Section | None:
    """Return the training curves."""
    return training_section([("this run", list(material.epochs))])


CURVES: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    ("Evidence lower bound", "ELBO in nats a row: higher is better", (("elbo", "ELBO"),)),
    ("Reconstruction", "log-likelihood of a row given its latents, nats", (("reconstruction", "reconstruction"),)),
    ("KL divergences", "what latents and assignment cost, nats a row", (("kl_latent", "latent"), ("kl_assignment", "assignment"))),
    ("Clusters in use", "components that hold a fair share of rows", (("clusters_in_use", "clusters"),)),
    ("Certainty in training", "mean of the largest q(y|x)", (("confidence", "certainty"),)),
)
"""Training curves: title, what it shows, and the keys of metrics.jsonl with their names."""


def training_section(runs: list[tuple[str, list[dict[str, float]]]]) -> Section | None:
    """Return the training curves of one run, or of several laid over each other."""
    several = len(runs) > 1
    figures = []
    stages = [(name, [row for row in rows if row["stage"] == "train"], [row for row in rows if row["stage"] == "pretrain"]) for name, rows in runs]
    for title, told, keys in (*CURVES, ("Pretraining", "the plain autoencoder's log-likelihood, nats a row", (("elbo", "pretraining"),))):
        source = 2 if title == "Pretraining" else 1
        for key, name in keys if several else (keys[0],):
            wanted = [(key, name)] if several else list(keys)
            series = [
                Series(run[0] if several else label, [row["epoch"] for row in run[source]], [row[k] for row in run[source]])
                for run in stages for k, label in wanted if run[source] and all(k in row for row in run[source])
            ]
            if not series or (title == "Clusters in use" and all(max(one.y) == 1 for one in series)):
                continue
            full = f"{title}, {name}" if several and len(keys) > 1 else title
            described = "; ".join(f"{one.name} from {number(one.y[0])} to {number(one.y[-1])} in {len(one.y)} epochs" for one in series) + "."
            chart = plots.line_chart(full, described, series, "epoch", whole=key == "clusters_in_use", named=not several)
            chosen = sorted({round(i) for i in np.linspace(0, max(len(one.x) for one in series) - 1, TABLE_EPOCHS)})
            rows = [[f"{series[0].x[i]:g}" if i < len(series[0].x) else f"{i + 1}", *(number(one.y[i], 4) if i < len(one.y) else "-" for one in series)] for i in chosen]
            behind = details("The figures behind it", table(f"{full}: {told}", ["epoch", *(one.name for one in series)], rows))
            figures.append(figure(chart, f"{full}: {told}.", behind))
    if not figures:
        return None
    opening = paragraph("Each epoch goes once through the training rows. ", "Curves that still climb at their end ask for more epochs (--epochs).")
    return Section("Training", join([opening, element("div", *figures, class_="grid")]))


def again(material: Material) -> Section:
    """Return what was run, and the command that runs it again."""
    config = material.config
    resolved, environment = config["resolved"], config["environment"]
    data = resolved["data"]
    facts: list[list[Child]] = [
        ["data set", config["dataset"]],
        ["preparation", data["preprocessing"]],
        ["rows", f"{data['rows']['train']:,} for training, {data['rows']['test']:,} held out"],
        ["labels", "used for scoring only" if data["labels"] else "none"],
        ["fingerprint of the data", data["fingerprint"]],
        ["model", f"{config['model']}, {resolved['n_parameters']:,} parameters"],
        ["likelihood", resolved["model"].get("likelihood", "-")],
        ["initial clustering", config.get("init") or "-"],
        ["seed", str(config["seed"])],
        ["time", f"{number(material.metrics['seconds'])} s on {environment['device']}, {environment['threads']} thread{'s' if environment['threads'] != 1 else ''}"],
        ["versions", f"deepmix {environment['deepmix']}, torch {environment['torch']}, scikit-learn {environment['scikit-learn']}, Python {environment['python']}"],
        ["platform", environment["platform"]],
    ]
    if environment.get("git_commit"):
        facts.append(["git commit", environment["git_commit"]])
    settings = [[f"{part}.{name}", element("td", json.dumps(value) if not isinstance(value, str) else value, class_="text")] for part, options in resolved.items() if isinstance(options, dict) and part not in ("data", "parts") for name, value in options.items()]
    cells = [[name, element("td", value, class_="text")] for name, value in facts]
    stored = json.dumps(config, indent=2, ensure_ascii=False)
    parts = [
        paragraph("This command repeats the run; with the same data, versions and number of threads it gives the same bits:"),
        scrolled("Command", element("pre", element("code", words.command(config)))),
        table("What was run", ["", element("span", "value")], cells, text_columns=(0, 1)),
        details("Every option as it was resolved", table("Options", ["option", "value"], settings, text_columns=(0, 1))),
        details("config.json", paragraph("Saved to a file, this repeats the run with: deepmix train --config FILE"), scrolled("config.json", element("pre", element("code", stored)))),
    ]
    return Section("Run it again", join(parts))
