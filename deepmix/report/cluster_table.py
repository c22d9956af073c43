"""The table of clusters to download: clusters.csv, one row per cluster of a table's rows."""

from __future__ import annotations

import base64
import csv
import io

import numpy as np

from deepmix.data import spreadsheet_safe
from deepmix.report.html.markup import Markup, element, paragraph
from deepmix.report.material import Material
from deepmix.report.phrases import date_text, sentence
from deepmix.report.profiles import ColumnProfile
from deepmix.runs import CLUSTERS

Entry = tuple[str, str]
"""A cell of the table with its column's heading."""


def cluster_table(material: Material) -> bytes:
    """Return clusters.csv: each cluster's name, size, certainty, stability, and each column's figures, as CSV in UTF-8.

    A number or a date has its mean and standard deviation, or its median and quartiles where it is skewed; levels have
    their shares; a column with missing cells has their share. Cells without a value are empty.
    """
    assert material.profiles is not None
    assert material.names is not None
    assert material.frame is not None
    incomplete = {name for name, gaps in material.frame.isna().any().items() if gaps}
    lines: list[list[Entry]] = []
    for profile, name in zip(material.profiles, material.names, strict=True):
        inside_N = material.cluster_N == profile.cluster
        line = [
            ("cluster", str(profile.cluster)),
            ("name", name),
            ("rows", str(profile.n_rows)),
            ("share", _figure(profile.share)),
        ]
        if material.is_mixture:
            certainty = float(material.confidence_N[inside_N].mean()) if profile.n_rows else np.nan
            line.append(("certainty", _figure(certainty)))
        if material.metrics.stability is not None:
            stability = material.cluster_stability(profile.cluster)
            line.append(("stability", "" if stability is None else _figure(stability)))
        if material.label_N is not None:
            line.append(("stands for", material.meaning.get(profile.cluster, "")))
        line.append(("what sets it apart", sentence(profile)))
        for column in profile.columns:
            line += _column_figures(column, has_missing=column.column.name in incomplete)
        lines.append(line)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([spreadsheet_safe(heading) for heading, _ in lines[0]])
    writer.writerows([spreadsheet_safe(cell) for _, cell in line] for line in lines)
    return text.getvalue().encode()


def download(material: Material) -> Markup:
    """Return a link to the table of clusters, which is inside the page."""
    content = base64.b64encode(cluster_table(material)).decode("ascii")
    link = element(
        "a", "Download this table with every column (CSV)", href=f"data:text/csv;base64,{content}", download=CLUSTERS
    )
    return paragraph(link, f"; it is also in the run folder, as {CLUSTERS}.")


def _column_figures(profile: ColumnProfile, *, has_missing: bool) -> list[Entry]:
    """Return a column's figures with their headings."""
    name, here = profile.column.name, profile.here
    if profile.measure == "share":
        shares = zip(profile.levels, here.shares, strict=True)
        figures = [(f"{name} = {level}", _figure(share)) for level, share in shares]
    else:
        is_date = profile.column.kind == "datetime"
        write = _date if is_date else _figure
        figures = [(f"{name}, {profile.measure}", write(here.centre))]
        if profile.measure == "median":
            low, high = here.quartiles or (np.nan, np.nan)
            figures += [(f"{name}, quartile 1", write(low)), (f"{name}, quartile 3", write(high))]
        else:
            figures.append((f"{name}, standard deviation{' in days' if is_date else ''}", _figure(here.spread)))
    if has_missing:
        figures.append((f"{name}, missing", _figure(here.missing)))
    return figures


def _figure(value: float) -> str:
    return f"{value:.6g}" if np.isfinite(value) else ""


def _date(days: float) -> str:
    return date_text(days) if np.isfinite(days) else ""
