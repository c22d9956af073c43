"""Reports of runs some of whose rows have no label."""

from __future__ import annotations

import dataclasses

import numpy as np

from deepmix.report.clusters import confusion, views
from deepmix.report.looks import card
from deepmix.report.words import n_scored, outcome
from deepmix.report.writing import render
from tests.report.conftest import make_material


def partly_labelled(fraction=0.25):
    """Return the material of a run whose labels are unknown, and empty, for a fraction of the rows."""
    material = make_material()
    known_N = np.random.default_rng(3).random(len(material.cluster_N)) >= fraction
    return dataclasses.replace(material, label_N=np.where(known_N, material.label_N, ""), known_N=known_N)


def test_an_unknown_label_is_not_a_class():
    material = partly_labelled()
    assert material.classes == ["0", "1", "2", "3"]
    assert set(material.meaning.values()) <= set(material.classes)
    scored_N = material.test_N & material.known_N
    assert n_scored(material) == scored_N.sum() < material.test_N.sum()
    assert int(material.reliability.counts.sum()) == scored_N.sum()
    assert f"of the {scored_N.sum()} held-out rows that have a label" in outcome(material)


def test_the_confusion_table_leaves_unlabelled_rows_out_and_says_so():
    material = partly_labelled()
    text = str(confusion(material).body)
    scored_N = material.test_N & material.known_N
    assert f"of {scored_N.sum()}, an accuracy of" in text
    assert f"The {material.test_N.sum() - scored_N.sum()} held-out rows without a label are left out." in text
    assert confusion(dataclasses.replace(material, known_N=~material.test_N)) is None


def test_the_map_by_label_shows_unlabelled_rows_apart():
    material = partly_labelled()
    by_label = {view.name: view for view in views(material)}["by label"]
    rows = {name: int(chosen.sum()) for name, _, _, chosen in by_label.groups}
    assert rows["no label"] == int((~material.known_N[material.drawn]).sum())
    assert rows["other labels"] == 0
    assert sum(rows.values()) == len(material.drawn)


def test_cards_count_labelled_rows():
    material = partly_labelled()
    inside = material.label_N[(material.cluster_N == 0) & material.known_N]
    assert f"of the {len(inside)} with a label are labelled {material.meaning[0]}" in str(card(material, 0))


def test_a_report_without_any_known_label_is_written():
    material = partly_labelled(1.0)
    assert material.meaning == {}
    assert "Clusters against labels" not in render(material)
