"""The report is a well-formed, escaped, self-contained HTML document with the figures of metrics.json."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest

from deepmix.metrics import METRICS
from deepmix.report import words
from deepmix.report.html.markup import fixed, percent
from deepmix.report.writing import render
from deepmix.runs import InitialLabels
from tests.report.conftest import CASES, HOSTILE_COLUMNS, HOSTILE_LABELS, make_material, rendered

VOID = {"meta", "link", "img", "br"}


LANDMARKS = {"header", "nav", "main", "footer"}


class Page(HTMLParser):
    """The elements of a page; fails on tags that do not nest."""

    def __init__(self, document: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.text = ""
        self._cells: list[str] = []
        self._rows: list[list[str]] = []
        self._caption = ""
        self.feed(document)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        assert len({name for name, _ in attrs}) == len(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._rows, self._caption = [], ""
        if tag == "tr":
            self._cells = []
        if tag in ("th", "td"):
            self._cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "tr":
            self._rows.append(self._cells)
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data
        if "caption" in self.open:
            self._caption += data
        elif {"th", "td"} & set(self.open):
            self._cells[-1] += data

    def all(self, *tags):
        return [attributes for tag, attributes in self.elements if tag in tags]


def test_the_page_is_whole_and_has_landmarks_and_headings_in_order(document):
    page = Page(document)
    tags = [tag for tag, _ in page.elements]
    for landmark in LANDMARKS:
        assert tags.count(landmark) == 1
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    identifiers = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    for link in page.all("a"):
        is_download = link["href"].startswith("data:text/csv;base64,") and link["download"] == "clusters.csv"
        assert is_download or link["href"].removeprefix("#") in identifiers
    for picture in page.all("svg"):
        is_described = picture.get("aria-hidden") == "true" or picture["aria-labelledby"] in identifiers
        assert is_described, picture
    assert all(image["alt"] for image in page.all("img"))
    assert tags.count("table") == tags.count("caption") == len(page.tables)


def test_nothing_can_be_run_or_fetched(document):
    page = Page(document)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "iframe", "object", "embed", "form", "base", "use", "foreignobject", "image"}
    for _, attributes in page.elements:
        assert not any(name.startswith("on") or name in ("style", "srcset", "xlink:href") for name in attributes)
        if "src" in attributes:
            assert attributes["src"].startswith("data:image/png;base64,")
    assert "://" not in re.sub(r'data:image/png;base64,[^"]*', "", document)
    assert "url(" not in document
    (policy,) = (meta["content"] for meta in page.all("meta") if meta.get("http-equiv"))
    style = document.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:;")


def test_hostile_names_are_text():
    document = rendered("hostile-names")
    page = Page(document)
    for name in (*HOSTILE_LABELS[:3], *HOSTILE_COLUMNS):
        assert name in page.text
    assert "<script" not in document
    assert "<img src=x" not in document
    assert "onmouseover=" not in {name for _, attributes in page.elements for name in attributes}
    assert "\u202e" not in document
    assert "\N{REPLACEMENT CHARACTER}turned round & " in page.text


@pytest.mark.parametrize("case", CASES)
def test_figures_are_those_of_metrics_json_beside_the_initial_clustering(case):
    material, page = CASES[case](), Page(rendered(case))
    for side, caption in (("test", "Held-out rows"), ("train", "Training rows")):
        rows = {row[0]: row[1:] for row in page.tables[caption]}
        head = material.metrics.heads["posterior"][side].scores
        names = [key for key in METRICS if key in head]
        assert rows["clusters by"] == [METRICS[key].title for key in names]
        assert rows["head posterior"] == [fixed(head[key]) for key in names]
        if material.metrics.initial_labels is not None:
            start = material.metrics.initial_labels.side(side)
            assert rows["initial clustering alone"] == [fixed(start.get(key)) for key in names]
        else:
            assert "initial clustering alone" not in rows
    if material.label_N is not None:
        assert percent(material.metrics.score("posterior", "acc")) in page.text


def test_outcome_says_what_training_added_to_its_start():
    material = make_material()
    accuracy = material.metrics.score("posterior", "acc")
    start = material.baseline["acc"]
    gained = round(35 * (accuracy - start))
    assert gained > 1
    assert words.outcome(material).endswith(
        f"reaches {percent(start)} by itself: training got {gained} more rows right."
    )
    better = dataclasses.replace(
        material.metrics, initial_labels=InitialLabels(train={"acc": 1.0}, test={"acc": accuracy + 6 / 35})
    )
    material = dataclasses.replace(material, metrics=better)
    assert "training got 6 fewer rows right." in words.outcome(material)
    page = Page(render(material))
    assert "Training made it worse" in page.text
    assert "6 fewer of 35 held-out rows are right than in the initial clustering" in page.text


def test_confusion_counts_the_held_out_rows_and_its_matched_cells_are_the_accuracy():
    material = make_material()
    page = Page(render(material))
    (caption,) = (name for name in page.tables if name.startswith("Held-out rows of each cluster by label"))
    header, *rows = page.tables[caption]
    assert header[1:] == ["0", "1", "2", "3"]
    counts = np.array([[int(cell) for cell in row[1:]] for row in rows])
    assert counts.sum() == 35
    matched = [attributes for attributes in page.all("td") if "matched" in (attributes.get("class") or "")]
    assert len(matched) == 4
    accuracy = material.metrics.score("posterior", "acc")
    assert np.trace(counts) / counts.sum() == pytest.approx(accuracy)  # ordered by the labels they are matched to
    for row, count in zip(rows, counts, strict=True):
        inside = material.label_N[material.test_N & (material.cluster_N == int(row[0]))]
        assert count.tolist() == [int((inside == name).sum()) for name in header[1:]]


def test_what_does_not_apply_is_left_out():
    headings = {case: Page(rendered(case)).text for case in ("table-without-labels", "one-component")}
    assert "Clusters against labels" not in headings["table-without-labels"]
    assert "Reliability" not in headings["table-without-labels"]
    assert "nothing here shows that they are the right ones" in headings["table-without-labels"]
    assert "How sure the model is" not in headings["one-component"]
    assert "Clusters in use" not in headings["one-component"]
    assert "images the model generates".capitalize() in headings["one-component"]


def test_images_decoded_from_latents_of_rows_are_named_as_such():
    material = make_material(images=True)
    by_prior = Page(render(material)).text
    by_rows = Page(render(dataclasses.replace(material, generates_from_rows=True))).text
    assert "Generated by component 2" in by_prior
    assert "aggregate posterior" not in by_prior
    assert "Generated like the rows of component 2" in by_rows
    assert "the latents of the component's training rows, its aggregate posterior" in by_rows


def test_certainty_is_not_judged_by_more_labels_than_components():
    labels = tuple("abcdefgh")
    assert "Reliability" in Page(render(make_material(n_clusters=8, labels=labels))).text
    text = Page(render(make_material(n_clusters=2, labels=labels))).text
    assert "There are fewer components than labels" in text
    assert "Reliability" not in text
    assert "confident" not in text


def test_cluster_sizes_are_listed():
    page = Page(rendered("fifty-clusters"))
    _, *rows = page.tables["Each cluster in figures, training and held-out rows together"]
    assert [row[0] for row in rows] == [str(k) for k in range(50)]
    assert [row[1] for row in rows] == ["12"] * 50


def test_features_of_a_cluster_are_ranked_with_their_means():
    material, page = CASES["table-without-labels"](), Page(rendered("table-without-labels"))
    _, *rows = page.tables["What sets cluster 2 apart"]
    inside = material.cluster_N == 2
    apart = (material.x_ND[inside].mean(axis=0) - material.x_ND[~inside].mean(axis=0)) / material.x_ND.std(axis=0)
    order = np.argsort(-np.abs(apart))[:5]
    assert [row[0] for row in rows] == ["abcdef"[i] for i in order]
    assert [float(row[1].replace("\N{MINUS SIGN}", "-")) for row in rows] == pytest.approx(apart[order], abs=0.005)
    assert [float(row[2].replace("\N{MINUS SIGN}", "-")) for row in rows] == pytest.approx(
        material.x_ND[inside].mean(axis=0)[order], rel=0.01
    )


def test_the_command_repeats_the_run():
    page = Page(render(make_material()))
    command = " ".join(
        page.text.partition("gives the same bits:")[2].partition("What was run")[0].replace("\\", "").split()
    )
    assert command == (
        "deepmix train --model mvae-emv2 --init graph --head posterior --dataset '/somewhere/rows & more.csv' "
        "--set size.components=4 --seed 0"
    )


@pytest.mark.parametrize(
    ("warning", "heading"),
    [
        ("collapsed components: only 1 of 3 are used", "Some clusters are empty or nearly so"),
        ("diffuse clustering: the largest q(y|x) is 0.4", "The model is unsure of most rows"),
        ("posterior collapse: 3 of 5 latent dimensions", "Part of the latent space is unused"),
        ("2 constant column(s) carry no information", "About the data"),
    ],
)
def test_warnings_are_told_in_plain_words(warning, heading):
    material = make_material()
    material.metrics.warnings.append(warning)
    text = Page(render(material)).text
    assert f"Warning: {heading}" in text
    assert warning.rpartition(": ")[2][1:] in text
    assert "Nothing stood out" not in text


def test_every_term_of_the_loss_is_drawn_and_listed():
    material = make_material()
    epochs = [
        dataclasses.replace(row, terms={**row.terms, "tie_strength": 0.125 * row.epoch})
        if row.stage == "train"
        else row
        for row in material.epochs
    ]
    parts = {side: {**terms, "tie_strength": 7.25} for side, terms in material.metrics.elbo_parts.items()}
    metrics = dataclasses.replace(material.metrics, elbo_parts=parts)
    page = Page(render(dataclasses.replace(material, epochs=epochs, metrics=metrics)))
    (curve,) = (rows for name, rows in page.tables.items() if name.startswith("Tie strength: the term 'tie_strength'"))
    assert curve[0] == ["epoch", "tie strength"]
    assert (curve[1], curve[-1]) == (["1", "0.1250"], ["30", "3.750"])
    (bound,) = (rows for name, rows in page.tables.items() if name.startswith("Evidence lower bound (ELBO): nats"))
    assert bound[0] == ["epoch", "ELBO", "objective"]
    assert bound[-1] == ["30", "\N{MINUS SIGN}20.30", "\N{MINUS SIGN}21.30"]
    (listed,) = (rows for name, rows in page.tables.items() if name.startswith("Nats per row"))
    assert ["tie strength", "7.250", "7.250"] in listed
