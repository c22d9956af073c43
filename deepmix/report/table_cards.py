"""The report's section on what sets the clusters of a table's rows apart: a heat map and a card for each cluster."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepmix.maths import Array
from deepmix.report.distributions import distribution
from deepmix.report.heat import heat_map
from deepmix.report.html import plots
from deepmix.report.html.markup import Child, Markup, details, element, join, number, paragraph, table
from deepmix.report.html.page import Section
from deepmix.report.looks import NAME_LENGTH, REACH, card, row_names, signed
from deepmix.report.material import Material
from deepmix.report.phrases import cell_text, percent_text, sentence, value_text, value_texts
from deepmix.report.profiles import ClusterProfile, ColumnProfile, Difference, Summary
from deepmix.report.tallies import LEAST_DIFFERENCE

LISTED = 6
"""Differences in a card's table."""


CHARTS = 3
"""Columns of a card whose distribution is drawn."""


MOST_CHARTS = 120
"""Charts in all cards; if there would be more, each card has fewer."""


MOST_COLUMNS = 100
"""Columns of a typical row that are listed."""


MOST_ENTRIES = 3000
"""Entries in all lists of typical rows; if there would be more, each list is shorter."""


def table_looks(material: Material) -> Section:
    """Return the section on what sets each cluster of a table's rows apart."""
    assert material.profiles is not None
    clusters = material.shown
    cards = [_card(material, material.profiles[k]) for k in clusters]
    opening = paragraph(
        "Each card says in which columns the cluster's rows differ most from all other rows, in the table's own units. "
        "In the charts, blue bars are the cluster; orange bars, or the orange outline, are all other rows."
    )
    measured = details(
        "How the differences are measured",
        paragraph(
            "All differences are in standard deviations over all rows, so that columns of all kinds can be compared: "
            "around 0.2 is small, above 0.8 large (Cohen 1988). Of a number or a date it is the difference of the "
            "means; where the values are skewed, of the mean ranks, and the card then shows the median with the "
            "quartiles in brackets. Of a level, or of missing cells, it is the difference of the shares. Differences "
            f"below {LEAST_DIFFERENCE:g}, and those that clusters drawn at random would show too, are left out."
        ),
    )
    repeats = [one for one in material.profiles[0].columns if one.repeats is not None]
    names = [
        f"{plots.short(one.column.name, NAME_LENGTH)} repeats {plots.short(one.repeats or '', NAME_LENGTH)}"
        for one in repeats[:LISTED]
    ]
    names += [f"and {len(repeats) - LISTED} more"] if len(repeats) > LISTED else []
    repeated = f"Columns that repeat another one are left out of the sentences, names and cards: {'; '.join(names)}."
    parts = [opening, measured, paragraph(repeated) if repeats else None, material.left_out(len(clusters))]
    heat = heat_map(material.profiles, clusters)
    return Section("What sets each cluster apart", join([*parts, heat, element("div", *cards, class_="cards wide")]))


def _card(material: Material, profile: ClusterProfile) -> Markup:
    """Return a cluster's card: a sentence, its differences, small charts and a typical row."""
    if not profile.n_rows:
        return card(material, profile.cluster)
    parts: list[Child] = [paragraph(sentence(profile))]
    if profile.differences:
        parts.append(_differences(profile))
    parts += _charts(material, profile)
    typical = material.typical(profile.cluster)
    parts.append(_typical_row(material, profile, int(typical[0])))
    least = "Least certain" if material.is_mixture else "Farthest from its centre"
    text = f"Most typical rows: {row_names(material, typical)}. "
    text += f"{least}: {row_names(material, material.doubtful(profile.cluster))}."
    return card(material, profile.cluster, *parts, paragraph(text, class_="quiet"))


def _differences(profile: ClusterProfile) -> Markup:
    by_name = {one.column.name: one for one in profile.columns}
    rows: list[list[Child]] = []
    for difference in profile.differences[:LISTED]:
        here, others = _sides(difference, by_name[difference.column.name])
        bar = element("td", plots.difference_bar(difference.effect, REACH), signed(difference.effect))
        rows.append([_subject(difference), bar, here, others])
    caption = f"What sets cluster {profile.cluster} apart"
    return table(caption, ["column", "difference", "here", "others"], rows)


def _subject(difference: Difference) -> str:
    name = plots.short(difference.column.name, NAME_LENGTH)
    if difference.aspect == "missing":
        return f"{name}: missing"
    return name if difference.level is None else f"{name}: {plots.short(difference.level, NAME_LENGTH)}"


def _sides(difference: Difference, profile: ColumnProfile) -> tuple[Child, Child]:
    """Return a difference's two figures, numbers with their spread below them."""
    if difference.aspect in ("level", "missing"):
        return percent_text(difference.here), percent_text(difference.others)
    here, others = value_texts(difference.column, difference.here, difference.others)
    spread_here, spread_others = (_spread_text(profile, summary) for summary in (profile.here, profile.others))
    return (
        element("td", here, element("small", spread_here)),
        element("td", others, element("small", spread_others)),
    )


def _spread_text(profile: ColumnProfile, summary: Summary) -> str:
    """Return the standard deviation beside a mean, or the quartiles beside a median."""
    if summary.quartiles is not None:
        low, high = (value_text(profile.column, end) for end in summary.quartiles)
        return f"[{low}, {high}]"
    if profile.column.kind == "datetime":
        return f"\N{PLUS-MINUS SIGN} {summary.spread:,.0f} days"
    spread = number(summary.spread) if np.isfinite(summary.spread) else "-"
    return f"\N{PLUS-MINUS SIGN} {spread}"


def _charts(material: Material, profile: ClusterProfile) -> list[Markup]:
    assert material.frame is not None
    n_each = min(CHARTS, max(MOST_CHARTS // len(material.shown), 1))
    places = {one.column.name: i for i, one in enumerate(profile.columns)}
    said = [one.column.name for one in profile.differences if one.aspect != "missing"]
    inside_N = material.cluster_N == profile.cluster
    weight_N = np.ones(len(inside_N)) if material.weight_N is None else material.weight_N
    charts = []
    for name in list(dict.fromkeys(said))[:n_each]:
        title = f"Cluster {profile.cluster}, column {places[name] + 1}: {plots.short(name, NAME_LENGTH)}"
        column = profile.columns[places[name]]
        charts.append(distribution(title, column, material.frame[name], inside_N, weight_N))
    return charts


def _typical_row(material: Material, profile: ClusterProfile, row: int) -> Markup:
    """Return the values of a cluster's most typical row beside what is usual in the cluster."""
    assert material.frame is not None
    n_listed = max(min(MOST_COLUMNS, MOST_ENTRIES // len(material.shown)), 1)
    rows: list[Sequence[Child]] = []
    for one in profile.columns[:n_listed]:
        cell = cell_text(one.column, material.frame[one.column.name].iloc[row])
        rows.append([plots.short(one.column.name, NAME_LENGTH), plots.short(cell, NAME_LENGTH), usual(one)])
    caption = (
        f"Cluster {profile.cluster}: row {plots.short(material.row_name(row), NAME_LENGTH)}, nearest to its centre"
    )
    more = len(profile.columns) - len(rows)
    rest = paragraph(f"{more} more columns are in clusters.csv.") if more else None
    return details(
        "A typical row in full",
        table(caption, ["column", "this row", "usual here"], rows, text_columns=(0, 1, 2)),
        rest,
    )


def usual(profile: ColumnProfile) -> str:
    """Return what is usual in a cluster: the mean or median with its spread, or the most frequent level."""
    summary = profile.here
    if profile.measure == "share":
        shares: Array = np.array(summary.shares)
        if not len(shares) or np.isnan(shares).all():
            text = "-"
        else:
            most = int(shares.argmax())
            text = f"{plots.short(profile.levels[most], NAME_LENGTH)} ({percent_text(shares[most])})"
    else:
        text = value_text(profile.column, summary.centre)
        text = text if text == "-" else f"{text} {_spread_text(profile, summary)}"
    return f"{text}; {percent_text(summary.missing)} missing" if summary.missing > 0.0 else text
