"""The report of a run on a table: heat map, charts, typical and strange rows, columns, and the table of clusters."""

from __future__ import annotations

import base64
import dataclasses
import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from deepmix.data import ColumnSchema, TableSchema
from deepmix.report import writing
from deepmix.report.cluster_table import cluster_table
from deepmix.report.distributions import N_BARS, bin_edges, shares_of_bins
from deepmix.report.heat import MOST_LINES, heat_lines, heat_map
from deepmix.report.phrases import sentence
from deepmix.report.profiles import profile_clusters
from deepmix.report.strange_rows import strange_values
from deepmix.report.writing import render
from tests.report.conftest import make_hostile_table, make_material, make_table_material, rendered
from tests.report.test_report_page import Page

MINUS = "\N{MINUS SIGN}"


def table_of(page: Page, start: str) -> list[list[str]]:
    (rows,) = (rows for caption, rows in page.tables.items() if caption.startswith(start))
    return rows


def test_each_card_has_a_name_a_sentence_and_the_differences():
    material, page = make_table_material(), Page(rendered("mixed-table"))
    assert len(set(material.names)) == 4
    for profile, name in zip(material.profiles, material.names, strict=True):
        assert f"Cluster {profile.cluster}: {name}" in page.text
        assert sentence(profile) in page.text
        header, *rows = table_of(page, f"What sets cluster {profile.cluster} apart")
        assert header == ["column", "difference", "here", "others"]
        effects = [float(row[1].replace(MINUS, "-")) for row in rows]
        assert effects == pytest.approx([one.effect for one in profile.differences[:6]], abs=0.005)
    assert "yearly_charges repeats monthly_charges" in page.text
    assert all("yearly" not in name for name in material.names)


def test_the_heat_map_shows_differences_shares_and_missing_cells():
    material, page = make_table_material(), Page(rendered("mixed-table"))
    header, *rows = table_of(page, "Clusters by columns")
    lines = {row[0]: row[1:] for row in rows}
    assert header == ["column", "0", "1", "2", "3"]
    cluster_N = material.cluster_N
    since = (material.frame.customer_since - pd.Timestamp(0)) / pd.Timedelta(days=1)
    no_income = material.frame.income.isna()
    yes = (material.frame.contract == "yes").astype(float).where(material.frame.contract.notna())
    for k in range(4):
        inside = cluster_N == k
        apart = (since[inside].mean() - since[~inside].mean()) / since.std(ddof=0)
        assert float(lines["customer_since"][k].replace(MINUS, "-")) == pytest.approx(apart, abs=0.05)
        assert lines["income: missing"][k] == f"{100 * no_income[inside].mean():.0f} %"
        points = 100 * (yes[inside].mean() - yes[~inside].mean())
        assert float(lines["contract: yes"][k].removesuffix(" pp").replace(MINUS, "-")) == pytest.approx(
            points, abs=0.5
        )
    assert "contract: no" not in lines
    assert {"payment method: card", "payment method: cheque", "payment method: transfer"} <= set(lines)
    assert "calls: missing" not in lines


def test_the_heat_map_of_many_columns_shows_those_that_differ_most():
    random = np.random.default_rng(0)
    cluster_N = np.arange(100) % 2
    frame = pd.DataFrame({f"c{i}": random.normal(size=100) + 0.05 * i * cluster_N for i in range(60)})
    schema = TableSchema(tuple(ColumnSchema(name, "continuous", "", "gaussian") for name in frame))
    profiles = profile_clusters(frame, schema, cluster_N, 2)
    page = Page(str(heat_map(profiles, [0, 1])))
    (rows,) = page.tables.values()
    weights = {line.name: line.weight for line in heat_lines(profiles)}
    shown = [row[0] for row in rows[1:]]
    assert len(shown) == MOST_LINES
    assert min(weights[name] for name in shown) >= max(weights[name] for name in weights if name not in shown)
    assert shown == sorted(shown, key=lambda name: int(name[1:]))


def test_the_typical_row_is_the_one_nearest_to_the_centre():
    material, page = make_table_material(), Page(rendered("mixed-table"))
    row = int(material.typical(2)[0])
    listed = {cells[0]: cells[1:] for cells in table_of(page, f"Cluster 2: row C-{1000 + row}, nearest")}
    cells = material.frame.iloc[row]
    assert listed["contract"][0] == (cells.contract or "missing")
    assert listed["customer_since"][0] == cells.customer_since.date().isoformat()
    assert float(listed["monthly_charges"][0]) == cells.monthly_charges
    assert listed["income"][0] == ("missing" if np.isnan(cells.income) else f"{cells.income:,.0f}")
    assert listed["income"][1].endswith("35 % missing")


def test_bins_hold_every_row():
    value_N = np.concatenate([np.random.default_rng(0).normal(size=500), [1e6, np.nan]])
    edges, is_cut = bin_edges(value_N, whole=False)
    assert is_cut
    assert len(edges) == N_BARS + 1
    assert edges[-1] < 10.0
    shares = shares_of_bins(value_N, np.ones(502), edges)
    assert shares.sum() == pytest.approx(1.0)
    assert shares[-1] == pytest.approx((value_N >= edges[-2]).sum() / 501)
    whole, is_cut = bin_edges(np.array([1.0, 2.0, 2.0, 5.0]), whole=True)
    assert (whole.tolist(), is_cut) == ([0.5, 1.5, 2.5, 3.5, 4.5, 5.5], False)
    assert shares_of_bins(np.array([1.0, 2.0, 2.0, 5.0]), np.array([1.0, 1.0, 2.0, 1.0]), whole) == pytest.approx(
        [0.2, 0.6, 0.0, 0.0, 0.2]
    )
    constant, _ = bin_edges(np.full(3, 7.0), whole=False)
    assert shares_of_bins(np.full(3, 7.0), np.ones(3), constant) == pytest.approx([1.0])


def test_the_table_of_clusters_has_pandas_figures():
    material = make_table_material(labels=("0", "1", "2", "3"))
    clusters = pd.read_csv(io.BytesIO(cluster_table(material)))
    grouped = material.frame.groupby(material.cluster_N)
    assert clusters.cluster.tolist() == [0, 1, 2, 3]
    assert clusters.name.tolist() == list(material.names)
    assert clusters.rows.tolist() == [60] * 4
    assert clusters.share.tolist() == [0.25] * 4
    assert clusters["stands for"].tolist() == [int(material.meaning[k]) for k in range(4)]
    certainty = [material.confidence_N[material.cluster_N == k].mean() for k in range(4)]
    assert clusters.certainty.to_numpy() == pytest.approx(certainty, rel=1e-5)
    assert clusters["income, median"].to_numpy() == pytest.approx(grouped.income.median().to_numpy(), rel=1e-5)
    assert clusters["income, missing"].to_numpy() == pytest.approx(
        material.frame.income.isna().groupby(material.cluster_N).mean().to_numpy(), abs=1e-6
    )
    assert clusters["yearly_charges, mean"].to_numpy() == pytest.approx(
        grouped.yearly_charges.mean().to_numpy(), rel=1e-5
    )
    shares = grouped["payment method"].value_counts(normalize=True).unstack()
    assert clusters["payment method = card"].to_numpy() == pytest.approx(shares["card"].to_numpy(), rel=1e-5)
    since = grouped.customer_since.mean().dt.date.astype(str).tolist()
    assert clusters["customer_since, mean"].tolist() == since


def test_the_page_and_the_run_folder_hold_the_same_table(tmp_path, monkeypatch):
    material = make_table_material()
    monkeypatch.setattr(writing, "collect", lambda *_, **__: material)
    writing.write_report(SimpleNamespace(path=tmp_path), None, None, {}, {})
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    (link,) = (link for link in page.all("a") if "download" in link)
    content = base64.b64decode(link["href"].removeprefix("data:text/csv;base64,"))
    assert content == (tmp_path / "clusters.csv").read_bytes() == cluster_table(material)


def test_an_array_has_no_table_of_clusters(tmp_path, monkeypatch):
    material = make_material()
    monkeypatch.setattr(writing, "collect", lambda *_, **__: material)
    writing.write_report(SimpleNamespace(path=tmp_path), None, None, {}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    text = Page((tmp_path / "report.html").read_text("utf-8")).text
    assert "How the columns were used" not in text
    assert "Rows that fit no cluster well" not in text


def test_no_cell_of_the_table_of_clusters_is_a_formula():
    clusters = pd.read_csv(io.BytesIO(cluster_table(make_hostile_table())), dtype=str, keep_default_na=False)
    cells = [*clusters.columns, *clusters.to_numpy().ravel()]
    assert "'=1+1, mean" in clusters.columns
    assert any(cell.startswith("'=f() = ") for cell in cells)
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@", "\t", "\r"))]


def test_names_of_columns_levels_and_rows_are_text():
    document = rendered("hostile-table")
    page = Page(document)
    assert "<script" not in document
    assert "<img src=x" not in document
    assert "\u202e" not in document
    assert "because of </style><script>alert(4)</script>" in page.text


def test_strange_rows_are_listed_with_the_values_that_make_them_strange():
    material, page = make_table_material(), Page(rendered("mixed-table"))
    header, *rows = table_of(page, "The 10 strangest rows")
    assert header == ["row", "score", "cluster", "unusual values"]
    order = np.argsort(-material.outlier_N, kind="stable")[:10]
    assert [row[0] for row in rows] == [f"C-{1000 + i}" for i in order]
    assert [row[2] for row in rows] == [str(i % 4) for i in order]
    assert rows[0][:2] == ["C-1007", "1.000"]
    assert "monthly_charges 400 (median of its cluster: 103)" in rows[0][3]
    assert "income 9,000,000" in rows[0][3]
    unlabelled = dataclasses.replace(make_material(), outlier_N=material.outlier_N)
    header, first, *_ = table_of(Page(render(unlabelled)), "The 10 strangest rows")
    assert header == ["row", "score", "cluster"]
    assert first[0] == "8"


def test_strangeness_is_the_distance_from_the_median_or_the_rarity_of_a_level():
    even_N = np.linspace(-1.0, 1.0, 101)
    frame = pd.DataFrame({"v": even_N, "l": ["a"] * 101, "p": np.exp(even_N)})
    frame.loc[0, "v"], frame.loc[1, "l"], frame.loc[2, "v"] = 9.0, "b", np.nan
    frame.loc[3, "p"] = np.exp(6.0)
    schema = TableSchema(
        (
            ColumnSchema("v", "continuous", "", "gaussian"),
            ColumnSchema("l", "categorical", "", "categorical"),
            ColumnSchema("p", "positive", "", "log-normal"),
        )
    )
    rows = np.array([0, 1, 2, 3, 50])
    number, level, missing, positive, ordinary = strange_values(frame, schema, np.zeros(101, dtype=int), rows)
    seen = frame.v.dropna()
    low, middle, high = np.quantile(seen, [0.25, 0.5, 0.75])
    assert [value.strangeness for value in number] == pytest.approx([(9.0 - middle) / ((high - low) / 1.349)])
    assert level[0].strangeness == pytest.approx(2.5785, abs=1e-3)  # a normal value is beyond in 1 of 101 cases
    assert level[0].text == "l b (1 % of its cluster)"
    assert missing[0].text == "v missing (1 % of its cluster)"
    low, middle, high = np.quantile(np.log(frame.p), [0.25, 0.5, 0.75])
    assert positive[0].strangeness == pytest.approx((6.0 - middle) / ((high - low) / 1.349))
    assert ordinary == []


def test_rows_that_fit_no_cluster_count_as_others():
    material = make_table_material()
    cluster_N = np.where(np.arange(240) < 20, -1, material.cluster_N)
    material = dataclasses.replace(material, cluster_N=cluster_N)
    page = Page(render(material))
    rows = page.tables["Each cluster in figures, training and held-out rows together"][1:]
    assert [row[:3] for row in rows] == [[str(k), name, "55"] for k, name in enumerate(material.names)]
    assert table_of(page, "The 10 strangest rows")[1][2] == "none"


def test_how_the_columns_were_used():
    material, page = make_table_material(), Page(rendered("mixed-table"))
    n_missing = int(material.frame.isna().sum().sum())
    assert "The model sees 8 of the table's 10 columns." in page.text
    assert f"{n_missing} of their 1,920 cells are missing" in page.text
    assert "customer (text that differs in every row names the rows); notes (free text is left out)" in page.text
    header, *rows = table_of(page, "The table's columns")
    assert header == ["column", "kind", "likelihood", "missing", "why"]
    assert rows[2] == ["income", "positive", "log-normal", "10 %", "numbers over several decades"]
    assert rows[0][2] == "-"
    assert [row[0] for row in rows] == [column.name for column in material.schema.columns]
    assert "by 8 of their 10 columns" in page.text
    assert "Missing cells" in page.text


def test_a_table_without_gaps_and_with_roles():
    material = make_table_material()
    frame = material.frame[["calls"]]
    schema = TableSchema(
        (
            ColumnSchema("calls", "count", "whole numbers", "poisson"),
            ColumnSchema("w", "weight", "you named it"),
            ColumnSchema("batch", "condition", "you named it"),
        )
    )
    weight_N = 1.0 + (material.cluster_N == 0)
    material = dataclasses.replace(material, frame=frame, schema=schema, weight_N=weight_N, row_names=None)
    text = Page(render(material)).text
    assert "None of their cells is missing." in text
    assert "Not modelled, but used: w (you named it); batch (you named it)." in text
    assert "No column was left out." in text
    assert material.profiles[0].share == pytest.approx(0.4)
    assert f"Most typical rows: {material.typical(0)[0] + 1}, " in text
