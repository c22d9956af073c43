"""Cells that a spreadsheet would run are neutralised, and all other cells stay as they are."""

from __future__ import annotations

import pytest

from deepmix.data import spreadsheet_safe


@pytest.mark.parametrize(
    "cell",
    [
        "=1+1",
        '=HYPERLINK("http://x")',
        "+cmd|' /C calc'!A0",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        " =1",
        "\uff1d1+1",
        "-1\n",
        "+1_0",
        "-\u0663",
    ],
)
def test_a_formula_gets_an_apostrophe(cell):
    assert spreadsheet_safe(cell) == "'" + cell


@pytest.mark.parametrize(
    "cell", ["", "-", "=", "-1.5", "+2e-3", "-inf", "plain", "a=b", "1+1", "'x", "2020-01-01", " x"]
)
def test_any_other_cell_stays_as_it_is(cell):
    assert spreadsheet_safe(cell) == cell
