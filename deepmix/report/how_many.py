"""The report's section on how many clusters were chosen, with the curve and the runners-up."""

from __future__ import annotations

from deepmix.report.clusters import caption
from deepmix.report.html import plots
from deepmix.report.html.markup import Child, Markup, details, element, figure, fixed, join, number, paragraph, table
from deepmix.report.html.page import Section
from deepmix.report.html.plots import Series
from deepmix.report.material import Material
from deepmix.runs import ComponentChoice, RunnerUp

DEEPEST_DRAWN = 4.0
"""Deeper valleys are drawn at this depth, so that those near 1 can be told apart."""


CRITERIA = {
    "peaks": "peaks of the density that chance does not explain",
    "step": "the next clearest step in the depth of valleys",
    "modes": "separate peaks of the Gaussian mixture's density",
    "bic": "Gaussians in the mixture with the least BIC",
    "icl": "Gaussians in the mixture with the least ICL",
}


def how_many(material: Material) -> Section | None:
    """Return the section; None where the number of clusters was not chosen from the rows."""
    choice = material.config.component_choice
    if choice is None:
        return None
    parts: list[Child] = [paragraph(element("strong", _reason(choice)), " ", _range(choice))]
    if choice.depth:
        parts.append(_curve(choice))
    if choice.runners_up:
        items = [element("li", _runner_up(other)) for other in choice.runners_up]
        parts += [paragraph("Other criteria give other numbers:"), element("ul", *items)]
    parts.append(
        paragraph(
            f"{choice.n_rows:,} training rows were compared, which fill about {number(choice.dimensions, 2)} "
            "dimensions. A group is a region where rows are dense, with a valley of lower density around it. Two "
            "groups that overlap so far that no valley is left count as one, and so do groups of very few rows."
        )
    )
    return Section("How many clusters", join(parts))


def _reason(choice: ComponentChoice) -> str:
    """Return the choice in a sentence."""
    number = choice.n_components
    if number == 1:
        return "These rows show no groups, so there is one cluster."
    if choice.criterion == "peaks":
        return f"{number} clusters: the rows' density has {number} peaks, with valleys deeper than chance makes."
    if choice.criterion == "modes":
        return f"{number} clusters: the density of a Gaussian mixture of the rows has {number} separate peaks."
    return f"{number} clusters: the rows show {choice.n_groups} groups, which is outside the range."


def _range(choice: ComponentChoice) -> str:
    """Return what could have been chosen."""
    text = f"The range was {choice.lowest} to {choice.highest}"
    return text + (", or 1 where there are no groups." if choice.lowest > 1 else ".")


def _curve(choice: ComponentChoice) -> Markup:
    """Return the chart of the depths, with its table."""
    numbers = [int(k) for k in choice.depth]
    depths = [min(depth, DEEPEST_DRAWN) for depth in choice.depth.values()]
    name = "Depth of the shallowest valley, by number of groups"
    series = [Series("depth", numbers, depths), Series("chance", numbers, [1.0] * len(numbers))]
    description = f"Depths for {numbers[0]} to {numbers[-1]} groups, beside 1, which chance hardly exceeds."
    chart = plots.line_chart(name, description, series, "number of groups")
    explanation = (
        "relative to the valleys that chance makes in a single group, which hardly reach 1; deeper valleys than "
        f"{DEEPEST_DRAWN:g} are drawn there"
    )
    all_numbers = sorted({*numbers, *(int(g) for g in choice.bic)})
    rows: list[list[Child]] = [[str(k), fixed(choice.depth.get(str(k)), 2)] for k in all_numbers]
    title, header = "How deep the valleys are", ["groups", "depth"]
    if choice.bic:
        title, header = f"{title}, and the BIC of as many Gaussians (smaller is better)", [*header, "BIC"]
        rows = [[*row, fixed(choice.bic.get(str(k)), 0)] for row, k in zip(rows, all_numbers, strict=True)]
    listed = table(title, header, rows)
    return figure(chart, caption(name, explanation), details("The figures behind it", listed))


def _runner_up(other: RunnerUp) -> str:
    """Return a runner-up in words."""
    return f"{other.n_components}: {' and '.join(CRITERIA.get(name, name) for name in other.criteria)}"
