"""The report's sections on what a run was compared with: candidates of its initial clustering, and plain methods."""

from __future__ import annotations

import numpy as np

from deepmix.metrics import METRICS
from deepmix.report.html.markup import Child, details, element, fixed, join, number, paragraph, table
from deepmix.report.html.page import Section
from deepmix.report.material import Material
from deepmix.runs import INITIAL, SIMPLEST, TOTAL, InitialChoice

CRITERIA = {
    "cut": "how few links between nearest neighbours join two clusters (minus the mean conductance)",
    "gap": "how wide the gaps between clusters are beside the distances inside them (density-based validity)",
    "likelihood": "how likely held-out rows are under one Gaussian per cluster (nats per row)",
    "agreement": "how far the partition agrees with all others (mean adjusted Rand index)",
    "gaussian": "1 for the mixture of K Gaussians that describes held-out rows as well as more of them do, and better "
    "than one; it outweighs the other criteria",
    SIMPLEST: "1 for k-means, where the partition that leads by the other criteria hardly agrees with the rest; it "
    "outweighs them",
    TOTAL: "the sum of the criteria, each scaled so that the median candidate has 0 and the best 1, the agreement "
    "counted twice; it decides",
}
"""What the criteria of the built-in initial clusterings mean; larger is better."""


def initial_choice(material: Material) -> Section | None:
    """Return the section on how the initial clusters were chosen; None where nothing was compared."""
    choice = material.metrics.initial_choice
    if choice is None:
        return None
    names = list(dict.fromkeys(name for one in choice.candidates.values() for name in one.criteria))
    has_labels = any(one.ari is not None for one in choice.candidates.values())
    header = ["method", *names, "ARI with the chosen", *(["ARI with the labels"] if has_labels else [])]
    rows: list[list[Child]] = []
    for method, one in choice.candidates.items():
        title = f"{method} (chosen)" if method == choice.method else method
        labelled = [fixed(one.ari)] if has_labels else []
        rows.append([title, *(fixed(one.criteria.get(name)) for name in names), fixed(one.agreement), *labelled])
    terms = [element("dt", name) + element("dd", CRITERIA[name]) for name in names if name in CRITERIA]
    meanings = details("What the criteria mean", element("dl", *terms, class_="terms")) if terms else None
    listed = table("Candidates for the initial clustering, best first", header, rows)
    return Section("How the initial clusters were chosen", join([paragraph(_reasons(choice)), listed, meanings]))


def _reasons(choice: InitialChoice) -> str:
    """Return in words what was chosen, by what, and how far the candidates agree."""
    n_methods, chosen = len(choice.candidates), choice.candidates[choice.method]
    text = (
        f"{n_methods} method{'s' if n_methods > 1 else ''} clustered {choice.n_rows:,} training rows, and their "
        f"clusters were compared without looking at labels. Those of {choice.method} were chosen"
    )
    leads = [
        name
        for name, value in chosen.criteria.items()
        if name != TOTAL and value >= max(one.criteria.get(name, -np.inf) for one in choice.candidates.values())
    ]
    others = [one.agreement for method, one in choice.candidates.items() if method != choice.method]
    if choice.is_simplest:
        text += ": the methods disagree, so that none of them shows clear clusters, and this is the simplest one. "
    elif TOTAL in chosen.criteria:
        text += " because the sum of all criteria is largest"
    if not choice.is_simplest:
        text += f"; no candidate is better by {' or '.join(leads)}. " if leads else ". "
    if others:
        text += f"The other candidates agree with them to an adjusted Rand index of {np.mean(others):.2f} on average"
        text += f", from {min(others):.2f} to {max(others):.2f}; 1 would be the same clusters."
    ari_by_method = {method: one.ari for method, one in choice.candidates.items() if one.ari is not None}
    if chosen.ari is not None:
        best = max(ari_by_method, key=lambda method: ari_by_method[method])
        text += f" By the labels, which played no part, the chosen clusters have an index of {chosen.ari:.2f}"
        text += (
            "."
            if ari_by_method[best] <= chosen.ari
            else f" and the best candidate, {best}, has {ari_by_method[best]:.2f}."
        )
    return text


def plain_methods(material: Material) -> Section | None:
    """Return the section with the methods that a user would try first; None where they were left out."""
    metrics = material.metrics
    baselines = metrics.baselines
    if baselines is None:
        return None
    scored = [METRICS[name] for name in metrics.score_names() if METRICS[name].needs_labels]
    has_totals = bool(baselines.totals)
    header = ["clusters by", "clusters", *(f"{one.title}" for one in scored), "cohesion"]
    header += [*(["total"] if has_totals else []), "seconds"]

    def criteria(cohesion: float | None, total: float | None) -> list[Child]:
        return [fixed(cohesion), *([fixed(total)] if has_totals else [])]

    rows: list[list[Child]] = []
    for head, sides in metrics.heads.items():
        scores = sides["test"].scores
        n_clusters = sum(size > 0 for size in sides["train"].sizes)
        cells = [fixed(scores.get(one.name)) for one in scored]
        judged = criteria(baselines.cohesion.get(head), baselines.totals.get(head))
        rows.append([f"this run, head {head}", str(n_clusters), *cells, *judged, number(metrics.seconds)])
    if INITIAL in baselines.cohesion:
        start = metrics.baseline or {}
        cells = [fixed(start.get(one.name)) for one in scored]
        judged = criteria(baselines.cohesion[INITIAL], baselines.totals.get(INITIAL))
        rows.append(["initial clustering", "", *cells, *judged, ""])
    for name, method in baselines.methods.items():
        cells = [fixed(method.side("test").get(one.name)) for one in scored]
        judged = criteria(method.cohesion, method.total)
        rows.append([name, str(method.n_clusters), *cells, *judged, number(method.seconds)])
    opening = paragraph(
        f"These are the methods that one would try first, on {baselines.n_rows:,} training rows and on the features "
        "that the initial clustering uses. "
        + (
            "Metrics with labels are those of the held-out rows, which take their neighbours' cluster. "
            if scored
            else ""
        )
        + "HDBSCAN chooses the number of clusters itself, and rows that it calls noise join their nearest neighbour's "
        "cluster."
    )
    meaning = paragraph(
        "Cohesion needs no labels: it is the fraction of the links between nearest neighbours that stay inside a "
        "cluster, corrected for chance; 1 is best, 0 is chance. Clusterings with the same number of clusters can be "
        "compared by it; fewer clusters cut fewer links."
        + (
            " The total needs no labels either: it is the sum of the criteria by which the initial clustering 'auto' "
            "chooses; of clusterings with the same number of clusters, the one with the larger total is better by them."
            if has_totals
            else ""
        ),
        class_="quiet",
    )
    listed = table("Plain methods beside this run", header, rows)
    return Section("Beside plain methods", join([opening, listed, meaning]))
