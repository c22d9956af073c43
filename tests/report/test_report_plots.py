from __future__ import annotations

import re

import numpy as np
import pytest

from deepmix.report.html import compared, plots
from deepmix.report.html.markup import Markup, element, fixed, number, percent
from deepmix.report.html.plots import Group, Series


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.93333, "0.933"),
        (-24.7, "\N{MINUS SIGN}24.7"),
        (1797, "1,797"),
        (None, "-"),
        (1.2e-9, "1.20e\N{MINUS SIGN}09"),
    ],
)
def test_numbers_have_three_digits_and_a_true_minus(value, text):
    assert number(value) == text


def test_fixed_and_percent():
    assert fixed(1.0) == "1.000"
    assert fixed(-0.5, 1) == "\N{MINUS SIGN}0.5"
    assert percent(0.9412) == "94.1 %"


def test_text_and_attributes_are_escaped_and_markup_is_not():
    inner = element("b", "<i>")
    assert element("p", "a & b", inner, title='"<') == Markup('<p title="&#34;&lt;">a &amp; b<b>&lt;i&gt;</b></p>')
    assert element("br") == "<br>"
    assert element("td", None, 0, class_=None, hidden=True) == "<td hidden>0</td>"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.0, 1.0, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]), (-30.2, -24.9, ["-30", "-28", "-26"]), (3.0, 3.0, ["3"])],
)
def test_ticks_are_round_and_within_the_range(low, high, expected):
    assert [text.replace("\N{MINUS SIGN}", "-") for text in plots.tick_texts(plots.ticks(low, high))] == expected


def test_points_are_drawn_where_they_are():
    points = np.array([[0.0, 0.0], [1.0, 1.0]])
    chart = plots.scatter("Map", "Two points.", [Group("a", points, 0, "dot")], "x", "y")
    (path,) = re.findall(r'd="([^"]*h0)"', chart)
    (ax, ay), (bx, by) = [tuple(map(float, pair)) for pair in re.findall(r"M([\d.]+),([\d.]+)h0", path)]
    assert ax < bx
    assert ay > by  # up is more
    assert bx - ax == pytest.approx(ay - by, abs=0.11)


def test_a_line_of_one_epoch_is_a_point():
    chart = plots.line_chart("Curve", "One epoch.", [Series("a", [1], [2.0])], "epoch")
    assert chart.count("<circle") == 1


def test_names_at_line_ends_keep_their_order_and_distance():
    assert plots.apart([50.0, 48.0, 120.0], 13, 160) == [61.0, 48.0, 120.0]
    assert plots.apart([158.0, 159.0], 13, 160) == [147.0, 160.0]


def test_bars_are_as_long_as_their_values():
    chart = plots.bars("Bars", "Two.", ["a", "b"], [10, 5], 7.5, "equal")
    widths = [float(width) for width in re.findall(r'<rect[^>]* width="([\d.]+)"', chart)]
    assert widths[0] == pytest.approx(2 * widths[1], abs=0.2)


def test_each_bar_of_two_has_its_own_share_at_its_end():
    chart = compared.compared_bars("Island", "Shares.", ["Biscoe", "Dream"], [0.0, 1.0], [0.6, 0.21])
    widths = [float(width) for width in re.findall(r'<rect [^>]*width="([\d.]+)"', chart)]
    labels = re.findall(r'<text x="([\d.]+)"[^>]*>(\d+ %)<', chart)
    assert [text for _, text in labels] == ["0 %", "60 %", "100 %", "21 %"]
    assert [float(x) for x, _ in labels] == pytest.approx(
        [compared.NAME_WIDTH + 5 + (width if width > 0.5 else 0.0) for width in widths], abs=0.01
    )
