"""The section on the number of clusters: the sentence, the curve with its figures, and the runners-up."""

from __future__ import annotations

import dataclasses

import pytest

from deepmix.report.writing import render
from deepmix.runs import ComponentChoice, RunnerUp
from tests.report.conftest import make_material
from tests.report.test_report_page import Page

CHOICE = ComponentChoice(
    n_components=4,
    lowest=2,
    highest=20,
    criterion="modes",
    n_groups=4,
    n_rows=204,
    dimensions=4.6,
    depth={"2": 99.0, "3": 1.5, "4": 0.8, "5": 0.1, "6": 0.0},
    bic={"3": 1000.4, "4": 900.0, "5": 930.0},
    n_gaussians=5,
    n_modes=4,
    runners_up=[RunnerUp(3, ["peaks", "step"]), RunnerUp(5, ["bic"])],
)


def page_of(choice: ComponentChoice, **options) -> Page:
    material = make_material(labels=None, **options)
    return Page(render(dataclasses.replace(material, config=with_choice(material.config, choice))))


def with_choice(config, choice):
    return dataclasses.replace(config, component_choice=choice)


def test_the_section_names_the_choice_the_range_and_the_runners_up():
    text = page_of(CHOICE).text
    assert "4 clusters: the density of a Gaussian mixture of the rows has 4 separate peaks." in text
    assert "The range was 2 to 20, or 1 where there are no groups." in text
    peaks = "peaks of the density that chance does not explain"
    assert f"3: {peaks} and the next clearest step in the depth of valleys" in text
    assert "5: Gaussians in the mixture with the least BIC" in text
    assert "204 training rows were compared, which fill about 4.6 dimensions." in text


def test_the_curve_has_its_figures():
    page = page_of(CHOICE)
    (rows,) = (rows for caption, rows in page.tables.items() if caption.startswith("How deep the valleys are"))
    assert rows[0] == ["groups", "depth", "BIC"]
    assert rows[1:4] == [["2", "99.00", "-"], ["3", "1.50", "1,000"], ["4", "0.80", "900"]]
    without = page_of(dataclasses.replace(CHOICE, bic={}))
    assert without.tables["How deep the valleys are"][0] == ["groups", "depth"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"criterion": "peaks"}, "4 clusters: the rows' density has 4 peaks, with valleys deeper than chance makes."),
        ({"criterion": "range", "n_groups": 9}, "4 clusters: the rows show 9 groups, which is outside the range."),
        ({"n_components": 1, "n_groups": 1, "lowest": 1}, "These rows show no groups, so there is one cluster."),
    ],
)
def test_each_criterion_has_its_sentence(change, sentence):
    assert sentence in page_of(dataclasses.replace(CHOICE, **change)).text


def test_one_cluster_is_called_one_cluster():
    page = page_of(dataclasses.replace(CHOICE, n_components=1, n_groups=1), n_clusters=1, one_component=True)
    assert "into 1 cluster." in page.text
    assert "1 clusters" not in page.text


def test_a_requested_number_has_no_section():
    assert "How many clusters" not in Page(render(make_material())).text
