"""The report's sections on the clusters: their sizes, their map, their labels, and how sure the model is of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from deepmix.maths import Array
from deepmix.report import analysis
from deepmix.report.analysis import Projection
from deepmix.report.cluster_table import download
from deepmix.report.html import plots
from deepmix.report.html.markup import Child, Markup, details, element, figure, fixed, join, paragraph, percent, table
from deepmix.report.html.page import Section
from deepmix.report.html.plots import Group
from deepmix.report.material import Material
from deepmix.runs import Stability

MOST_LABELS = 60
"""Number of labels that are listed; the others are counted together."""


CELL_LENGTH = 40
"""Characters of a label in a table; the cards of the clusters show the whole label."""


MOST_IN_LEGEND = 12
"""Most entries of a legend that is shown open."""


CERTAINTIES = (
    (0.99, "over 0.99", 6, "dot"),
    (0.9, "0.90 to 0.99", 0, "square"),
    (0.6, "0.60 to 0.90", 4, "plus"),
    (0.0, "below 0.60", 1, "cross"),
)
"""Steps of q(y|x) on the map: least value, name, colour and marker; later ones are drawn on top."""


UNSTABLE, STABLE = 0.6, 0.85
"""Mean Jaccard indices below which a cluster should not be trusted and above which it is highly stable (Hennig 2008,
Dissolution point and isolation robustness)."""


CALIBRATED_GAP = 0.02
"""Difference between mean certainty and accuracy below which neither is called too large."""


def sizes(material: Material) -> Section:
    """Return the section on each cluster's size, the model's certainty, and the label that the cluster stands for."""
    counts, shown = material.size_K, material.shown
    n_rows = int(counts.sum())
    equal = n_rows / len(counts)
    description = (
        f"The largest cluster has {counts.max():,} rows and the smallest {counts.min():,}; clusters of equal size "
        f"would have {equal:,.0f}."
    )
    names, values = [str(k) for k in shown], [int(counts[k]) for k in shown]
    chart = plots.bars("Rows of each cluster", description, names, values, equal, "equal clusters")
    header: list[Child] = ["cluster", "rows", "share", "training", "held out"]
    if material.names is not None:
        header.insert(1, "name")
    header += ["certainty"] if material.is_mixture else []
    stability = material.metrics.stability
    header += ["stability"] if stability is not None else []
    header += ["stands for", "rows so labelled"] if material.label_N is not None else []
    rows = []
    for k in shown:
        inside = material.cluster_N == k
        n_test = int((inside & material.test_N).sum())
        row: list[Child] = [
            str(k),
            f"{counts[k]:,}",
            percent(counts[k] / n_rows),
            f"{counts[k] - n_test:,}",
            f"{n_test:,}",
        ]
        if material.names is not None:
            row.insert(1, material.names[k])
        if material.is_mixture:
            row.append(fixed(float(material.confidence_N[inside].mean()), 2) if inside.any() else "-")
        if stability is not None:
            row.append(fixed(material.cluster_stability(k), 2))
        if material.label_N is not None:
            name = material.meaning.get(k)
            row.append("-" if name is None else plots.short(name, CELL_LENGTH))
            labelled = material.label_N[inside & material.labelled_N]
            row.append("-" if name is None or not len(labelled) else percent(float((labelled == name).mean())))
        rows.append(row)
    listed = table(
        "Each cluster in figures, training and held-out rows together",
        header,
        rows,
        text_columns=(0, *(header.index(name) for name in ("name", "stands for") if name in header)),
    )
    terms = (
        "Certainty is the mean of the largest q(y|x) of the cluster's rows, 1 at best. " if material.is_mixture else ""
    )
    if stability is not None:
        terms += (
            f"Stability is the mean Jaccard index of the cluster with the most similar one that {stability.title} "
            f"finds in samples of the rows (Hennig 2007): below {UNSTABLE:g} the cluster should not be trusted, above "
            f"{STABLE:g} it is stable. {stability_remark(stability)}"
        )
    if material.label_N is not None:
        terms += (
            "A cluster stands for the label it is matched to, one to one, on the training rows; a cluster left "
            "unmatched stands for its most frequent label."
        )
    link = None
    if material.names is not None:
        terms = f"{terms.strip()} Names come from the columns that set the clusters apart, as in the next section."
        link = download(material)
    picture = figure(chart, caption("Rows of each cluster", "training and held-out rows together"))
    explained = paragraph(terms, class_="quiet") if terms else None
    beside = element("div", picture, element("div", listed, explained, link), class_="beside")
    return Section("Clusters", join([material.left_out(len(shown)), beside]))


def stability_remark(stability: Stability) -> str:
    """Return a sentence, with a space behind it, on how far the method stands in for the run; or nothing."""
    if stability.space == "latents":
        return (
            "No plain method finds such clusters in the features, so the latents were sampled; training arranged them, "
            "so the stability is an upper bound. "
        )
    return (
        "On all rows, the method's clusters agree with the run's to an adjusted Rand index of "
        f"{stability.resemblance:.2f}. "
    )


def caption(title: str, text: str) -> Markup:
    """Return a figure's caption: its title, and a text that begins with a capital letter."""
    return element("strong", title, ".") + f" {text[:1].upper()}{text[1:]}."


class View(NamedTuple):
    """A way to colour a map."""

    name: str
    remark: str
    groups: list[tuple[str, int, str, Array]]
    """For each group: its name, its colour, its marker, and which of the drawn rows belong to it."""
    labelled: bool


def views(material: Material) -> list[View]:
    """Return the ways to colour a map: by cluster and, where the run has them, by label and by certainty."""
    points = material.drawn
    cluster_n = material.cluster_N[points]
    by_cluster = [(str(k), k, _shape(k), cluster_n == k) for k in range(material.n_clusters)]
    ways = [View("by cluster", "numbers stand where a cluster is densest", by_cluster, True)]
    if material.label_N is not None:
        names, label_n = material.classes[:MOST_LABELS], material.label_N[points]
        by_label = [(name, i, _shape(i), label_n == name) for i, name in enumerate(names)]
        labelled_n = material.labelled_N[points]
        by_label = [(name, colour, shape, chosen & labelled_n) for name, colour, shape, chosen in by_label]
        others_n = ~np.isin(label_n, names) & labelled_n
        by_label.append(("other labels", plots.N_COLOURS - 1, "dot", others_n))
        by_label.append(("no label", plots.N_COLOURS - 2, "cross", ~labelled_n))
        ways.append(View("by label", "names stand where a label is densest", by_label, True))
    if material.is_mixture:
        steps, above = [], np.inf
        for least, name, colour, shape in CERTAINTIES:
            sure_n = material.confidence_N[points]
            steps.append((name, colour, shape, (sure_n >= least) & (sure_n < above)))
            above = least
        ways.append(View("by certainty", "the least certain rows are drawn on top", steps, False))
    return ways


def _shape(number: int) -> str:
    return plots.SHAPES[number % len(plots.SHAPES)]


def latent_map(material: Material) -> Section:
    """Return the section with maps of the latent space by cluster, by label and by certainty."""
    parts: list[Markup] = []
    for projection in material.maps:
        figures = [_map_figure(projection, view) for view in views(material)]
        parts += [element("h3", projection.name), element("div", *figures, class_="grid")]
    n_drawn, n_rows = len(material.drawn), len(material.cluster_N)
    subset = f"{n_drawn:,} of the {n_rows:,} rows, taken at random" if n_drawn < n_rows else f"all {n_rows:,} rows"
    opening = paragraph(
        f"The model places each row in a latent space of {material.latent_NM.shape[1]} dimensions; these are "
        f"flat views of it, showing {subset}. PCA keeps distances as well as a plane can. "
        "t\N{NON-BREAKING HYPHEN}SNE (and UMAP, drawn by 'deepmix report --umap') shows which rows are "
        "neighbours; the sizes of groups and the gaps between them mean little there."
    )
    if not material.is_mixture:
        return Section("Map of the latent space", join([opening, *parts]))
    closing = paragraph(
        "Each row stands where its own cluster's component places it. Where components do not share one latent space "
        "(k-dvae, or a standard prior), clusters may lie on top of each other here and still be told apart.",
        class_="quiet",
    )
    return Section("Map of the latent space", join([opening, *parts, closing]))


def _map_figure(projection: Projection, view: View) -> Markup:
    """Return one map in one colouring, with its legend."""
    groups = [
        Group(name, projection.points[chosen], colour % plots.N_COLOURS, shape, view.labelled)
        for name, colour, shape, chosen in view.groups
        if chosen.any()
    ]
    title = f"{projection.name} map {view.name}"
    description = f"{len(projection.points):,} rows in {len(groups)} groups; {view.remark}."
    chart = plots.scatter(title, description, groups, projection.x_label, projection.y_label)
    entries = [
        element("li", plots.swatch(group.colour, group.shape), f"{plots.short(group.name)} ({len(group.points):,})")
        for group in groups
    ]
    legend = element("ul", *entries, class_="legend")
    below = legend if len(groups) <= MOST_IN_LEGEND else details("Legend", legend)
    return figure(chart, caption(f"{projection.name}, {view.name}", view.remark), below)


def confusion(material: Material) -> Section | None:
    """Return the section on clusters against labels on the held-out rows."""
    scored_N = material.test_N & material.labelled_N
    if material.label_N is None or not scored_N.any():
        return None
    label_n, cluster_n = material.label_N[scored_N], material.cluster_N[scored_N]
    names = material.classes[:MOST_LABELS]
    partner, meaning = analysis.matched_pairs(label_n, cluster_n), analysis.match(label_n, cluster_n)
    place = {name: i for i, name in enumerate(names)}
    order = sorted(material.shown, key=lambda k: (place.get(meaning.get(k, ""), len(names)), k not in partner, k))
    rows = []
    for k in order:
        inside = label_n[cluster_n == k]
        counts = [(name, int((inside == name).sum())) for name in names]
        if len(material.classes) > len(names):
            counts.append(("", len(inside) - sum(n for _, n in counts)))
        cells: list[Child] = [str(k)]
        for name, n in counts:
            looks = shade(n / max(len(inside), 1)) + (" matched" if name and partner.get(k) == name else "")
            cells.append(element("td", f"{n:,}", class_=looks))
        rows.append(cells)
    header: list[Child] = ["cluster", *map(plots.short, names)]
    header += ["others"] if len(material.classes) > len(names) else []
    description = (
        "Held-out rows of each cluster by label. Darker: a larger share of the cluster; framed: its matched label"
    )
    whole = table(description, header, rows, class_="confusion", text_columns=())
    right = sum(int(((cluster_n == k) & (label_n == name)).sum()) for k, name in partner.items())
    texts = [
        f"Clusters and labels are matched one to one so that as many rows as possible agree: {right:,} of "
        f"{len(label_n):,}, {'' if material.weight_N is None else 'without their weights '}an accuracy of "
        f"{percent(right / len(label_n))}."
    ]
    unlabelled = int(material.test_N.sum()) - len(label_n)
    if unlabelled:
        texts.append(f"The {unlabelled:,} held-out rows without a label are left out.")
    if material.n_clusters != len(material.classes):
        lonely = "some clusters have" if material.n_clusters > len(material.classes) else "some labels have"
        texts.append(
            f"There are {material.n_clusters} clusters and {len(material.classes)} labels, so {lonely} no partner and "
            "count as wrong; homogeneity and completeness say more here."
        )
    return Section("Clusters against labels", join([paragraph(" ".join(texts)), material.left_out(len(order)), whole]))


def shade(fraction: float) -> str:
    """Return the CSS class of a table cell for a fraction of 0 to 1."""
    return f"h{int(np.ceil(5 * fraction))}"


def certainty(material: Material) -> Section | None:
    """Return the section on how sure the model is of its clusters and, with labels, how often it is right."""
    if not material.is_mixture:
        return None
    opening = "For each row the model gives the probability of every cluster, q(y|x); the largest says how sure it is."
    figures = [_histogram(material.confidence_N[material.test_N])]
    if material.log_q_NK.shape[1] < len(material.classes):
        opening += (
            " There are fewer components than labels, so none can be right about all of its rows, and the labels can't "
            "tell whether the model is too sure."
        )
    elif material.label_N is not None and (material.test_N & material.labelled_N).any():
        drawn, verdict = _reliability(material.reliability)
        figures.append(drawn)
        opening += verdict
    return Section("How sure the model is", join([paragraph(opening), element("div", *figures, class_="grid")]))


def _histogram(sure_N: Array) -> Markup:
    edges = np.linspace(0.0, 1.0, analysis.N_BINS + 1)
    counts = np.histogram(np.clip(sure_N, 0.0, 1.0), edges)[0]
    description = f"{percent(float((sure_N >= 0.9).mean()))} of the held-out rows have a largest q(y|x) of 0.9 or more."
    chart = plots.histogram("How sure the model is", description, edges, counts, "largest q(y|x) of a row")
    rows = [[f"{low:.1f} to {high:.1f}", f"{n:,}"] for low, high, n in zip(edges[:-1], edges[1:], counts, strict=True)]
    behind = details("The figures behind it", table("Held-out rows by their largest q(y|x)", ["q(y|x)", "rows"], rows))
    return figure(chart, caption("Certainty", "held-out rows by their largest q(y|x)"), behind)


def _reliability(diagram: analysis.Reliability) -> tuple[Markup, str]:
    """Return the reliability diagram and a text that explains it."""
    confidence, accuracy = (
        float((values * diagram.counts).sum() / diagram.counts.sum())
        for values in (diagram.confidence, diagram.accuracy)
    )
    verdict = "over-confident" if confidence > accuracy else "under-confident"
    if abs(confidence - accuracy) < CALIBRATED_GAP:
        verdict = "about as confident as it should be"
    description = (
        f" On held-out rows it is {percent(confidence)} sure on average, and right about {percent(accuracy)} of them: "
        f"{verdict}. The expected calibration error, the mean gap between the two, is {fixed(diagram.error)}. The "
        "model is right about a row if its component stands for the row's label, as matched on the training rows."
    )
    described = f"The model is {verdict}; expected calibration error {fixed(diagram.error)}."
    chart = plots.reliability_chart("Reliability diagram", described, diagram)
    rows = [
        [fixed(a), fixed(b), f"{low:.2f} to {high:.2f}", f"{n:,}"]
        for a, b, low, high, n in zip(
            diagram.confidence, diagram.accuracy, diagram.low, diagram.high, diagram.counts, strict=True
        )
    ]
    header = ["sure (mean)", "right (share)", "95 % interval", "rows"]
    behind = details("The figures behind it", table("Held-out rows by how sure the model was of them", header, rows))
    explanation = (
        "on the dashed line the model is right as often as it is sure; larger dots stand for more rows, strokes for "
        "95 % intervals"
    )
    return figure(chart, caption("Reliability", explanation), behind), description
